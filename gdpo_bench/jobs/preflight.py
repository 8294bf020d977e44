"""What a job would trip over after minutes, tried on a handful of replies before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.advantages import DomainError, Normalizer, compute_advantages
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.rollouts import check_failures
from gdpo_bench.core import RewardSpec, Task, TextEnv
from gdpo_bench.core.authored import demonstrations_end, demonstrations_of, reference_of
from gdpo_bench.core.env import Script, script_replies
from gdpo_bench.core.errors import DeclarationError, GdpoBenchError
from gdpo_bench.core.foreign import defined_at, described
from gdpo_bench.core.scoring import EpisodeBatch, Scores

_PLAYED = 4
"""References and demonstrations that are scored; some rewards take seconds."""


def absent_rewards(env: TextEnv[Any], id: str, tasks: Sequence[Task]) -> NDArray[np.bool_]:
    """Which rewards say nothing of some replies, found by scoring a few.

    Args:
        env: The environment.
        id: Its id, for messages.
        tasks: Some of its tasks.

    Returns:
        (K,), True where a reward was absent; nowhere, unseen, where scoring takes other processes.

    Raises:
        RewardError: A reward is not what its declaration allows.
        ScorerFailuresError: A reward function failed on every reply.
    """
    if env.scored_elsewhere:
        return np.zeros(len(env.reward_specs), bool)
    known: Iterable[tuple[Task, Script | None]] = ((task, reference_of(env, task, id)) for task in tasks[:_PLAYED])
    pairs = [(task, script) for task, script in known if script is not None]
    pairs += islice(demonstrations_of(env, Random(0), id), _PLAYED)
    scores = _played(env, id, [*pairs, (tasks[0], "")])
    if scores.failed.all(0).any():
        check_failures(scores, 0.0)
    return np.asarray(~scores.applicable.all(0))


def _played(env: TextEnv[Any], id: str, pairs: Sequence[tuple[Task, Script]]) -> Scores:
    """Rewards (N, K) of whole episodes; empty replies follow where a script ends."""
    batch = EpisodeBatch(env, id, [task for task, _ in pairs])
    scores = Scores.empty(len(pairs), len(env.reward_specs))
    for turn in range(env.max_turns):
        if (batch.terminated | batch.truncated).all():
            break
        replies = [script_replies(script) for _, script in pairs]
        scores += batch.play([one[turn] if turn < len(one) else "" for one in replies])
    return scores


def try_normalizer(
    make: Callable[[], Normalizer],
    label: str,
    *,
    specs: Sequence[RewardSpec],
    weights: Mapping[str, float],
    absent: NDArray[np.bool_],
    training: TrainingOptions | None,
) -> None:
    """Call a normalizer on toy batches of a job's size: with all rewards, then without those that can be absent.

    Args:
        make: Makes the normalizer; what it remembers of the toys goes with it.
        label: What the job calls it.
        specs: The K rewards.
        weights: Reward → weight.
        absent: (K,), rewards that say nothing of some replies.
        training: The job's; None where nothing is trained, and replies have no lengths.

    Raises:
        DeclarationError: The normalizer raised something.
        NormalizerOutputError: It returned something else than N finite numbers.
    """
    normalizer, rng = make(), np.random.default_rng(0)
    options = training or TrainingOptions()
    shape = (options.prompts * options.group_size, len(specs))
    groups = np.repeat(np.arange(options.prompts), options.group_size)
    applicable = np.ones(shape, bool)
    for masked in (False, True) if absent.any() else (False,):
        rewards = np.stack([_toy_values(spec, shape[0], rng) for spec in specs], 1)
        rewards[groups == 0] = rewards[0]  # a group whose replies are all alike
        if masked:
            applicable = ~(absent & (rng.random(shape) < 0.5))
            applicable[groups == groups[-1]] &= ~absent
        where = f"on a toy batch of {options.prompts} × {options.group_size} rollouts with {shape[1]} rewards" + (
            f", of which {', '.join(spec.name for spec, one in zip(specs, absent, strict=True) if one)} can be absent"
            if masked
            else ""
        )
        try:
            compute_advantages(
                normalizer,
                np.where(applicable, rewards, 0.0),
                groups,
                specs=specs,
                weights=weights,
                lengths=None if training is None else rng.integers(1, options.max_new_tokens + 1, shape[0]),
                applicable=applicable,
                failed=np.zeros(shape, bool),
            )
        except DomainError:
            return  # of these values; real ones may be others
        except GdpoBenchError as error:
            code = normalizer if hasattr(normalizer, "__qualname__") else type(normalizer)
            raise type(error)(f"{label} {where}: {error}").at(defined_at(code, "def")) from error
        except (Exception, SystemExit) as error:
            raise DeclarationError(
                f"The normalizer {label} raised {described(error)} {where}, before anything was trained."
            ) from error


def _toy_values(spec: RewardSpec, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if spec.kind == "binary":
        return np.where(rng.random(count) < 0.5, spec.low, spec.high)
    return rng.uniform(spec.low, spec.high, count)


def check_demonstrations(env: TextEnv[Any], id: str, seed: int, count: int) -> bool:
    """Whether there is something to imitate; as many demonstrations are drawn as a warm start takes.

    Args:
        env: The environment.
        id: Its id.
        seed: Of the warm start.
        count: How many it takes.

    Raises:
        DeclarationError: They raise, end, or are something else than tasks and replies.
    """
    drawn = sum(1 for _ in islice(demonstrations_of(env, Random(f"{id} {seed}"), id), count))
    if 0 < drawn < count:
        raise demonstrations_end(env, id, drawn)
    return drawn > 0
