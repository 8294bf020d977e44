"""One training run: rollouts, reward vectors, advantages, policy gradient, evaluations.

Everything random comes from the run's seed; with one thread the same seed gives the same numbers,
bit for bit, on the same kind of CPU, also when the run was stopped and goes on from a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import TypeAdapter

from gdpo_bench.advantages import Normalizer, compute_advantages, diagnose, keep_groups
from gdpo_bench.advantages.state import (
    check_nothing_is_hidden,
    check_state_is_offered,
    load_normalizer_state,
    normalizer_state,
    state_unchanged,
    what_it_holds,
)
from gdpo_bench.agent.backend import RolloutBackend, Sampling
from gdpo_bench.agent.checkpoint import Checkpoint, Checkpoints
from gdpo_bench.agent.collect import SHOWN_CHARACTERS, Drawn, check_failures, draw
from gdpo_bench.agent.evaluation import EVAL_SEED
from gdpo_bench.agent.learner import Learner
from gdpo_bench.agent.metrics import MetricsLog
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollout import TransformersBackend
from gdpo_bench.agent.rollouts import Rollouts, concatenate, concatenate_replies
from gdpo_bench.agent.snapshot import restore_learner, snapshot_learner
from gdpo_bench.agent.world import World
from gdpo_bench.core import DataError, GroupVectorEnv
from gdpo_bench.core.scoring import Scores
from gdpo_bench.core.vectors import Evaluation, RewardVectors, evaluate

_VECTORS = "vectors.safetensors"
_FAILURES = 3
"""So many failures of reward functions are kept, to be shown."""


@dataclass
class RunResult:
    """What a training run measured."""

    evaluations: list[Evaluation] = field(default_factory=list)
    vectors: bytes = b""
    """What the evaluations averaged, packs of `RewardVectors` one after the other; whole in the first process."""
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Means over training steps."""
    failures: list[str] = field(default_factory=list)
    """What reward functions failed on in training, the first few."""
    tokens: int = 0
    """Tokens drawn, in training and evaluation."""
    wall_s: float = 0.0


_RESULT = TypeAdapter(RunResult)

StepReport = Callable[[int, Evaluation | None], None]
"""Called after every training step with its number, and with the evaluation where there was one."""


class OpenLog(Protocol):
    """Opens the log of measures."""

    def __call__(self, *, first_step: int) -> MetricsLog:
        """The log, ready for a step."""


class Trainer:
    """Trains a policy on an environment with a normalizer."""

    def __init__(
        self,
        policy: Policy,
        env: GroupVectorEnv,
        eval_env: GroupVectorEnv,
        *,
        normalizer: Normalizer,
        options: TrainingOptions,
        weights: dict[str, float],
        seed: int,
        backend: RolloutBackend | None = None,
        checkpoints: Checkpoints | None = None,
        checkpoint_every: int = 1,
        open_log: OpenLog | None = None,
        world: World = World(),  # noqa: B008 (no state)
    ) -> None:
        """Set up a run.

        Args:
            policy: Trained in place.
            env: P·G rollouts of the training split.
            eval_env: Rollouts of the held-out split.
            normalizer: Turns reward vectors into advantages.
            options: Everything else that numbers depend on.
            weights: Reward → weight, for this normalizer.
            seed: Fixes tasks, sampling and the order of minibatches.
            backend: Draws completions; from the policy itself by default.
            checkpoints: Where to keep the run's state, and to go on from.
            checkpoint_every: Steps between checkpoints.
            open_log: Opens the log of measures at the step that the run begins with.
            world: The processes that train together: each plays its share of the prompts, and the first one writes.

        Raises:
            DeclarationError: The processes cannot share the prompts evenly.
            StateError: The normalizer has a state that checkpoints cannot hold.
        """
        if checkpoints:
            check_state_is_offered(normalizer)
        self.policy, self.world = policy, world
        self.env, self.eval_env = (one.shard(world.rank, world.size) for one in (env, eval_env))
        self.normalizer, self.weights, self.options, self.seed = normalizer, weights, options, seed
        self.backend = backend or TransformersBackend(policy)
        self.checkpoints, self.checkpoint_every, self.open_log = checkpoints, checkpoint_every, open_log
        self._held = what_it_holds(normalizer)
        self.rng = world.generator(seed)
        self.learner = Learner(policy, options, world)
        self.result = RunResult()
        self._judges: ThreadPoolExecutor | None = None
        self._diagnostics: list[dict[str, float]] = []

    def run(self, report: StepReport = lambda step, evaluation: None) -> RunResult:
        """Train to the end, from the last checkpoint where there is one.

        Args:
            report: Told of every step.

        Returns:
            Evaluations and diagnostics.

        Raises:
            ScorerFailuresError: Reward functions failed too often.
            RewardError: A reward is not what its declaration allows.
            DivergedError: The loss became NaN or infinite.
            ContextError: A prompt leaves no room for a reply.
            DataError: The last checkpoint is damaged.
            WriteError: A checkpoint or the log cannot be written.
            StateError: The normalizer has a state that checkpoints cannot hold.
        """
        with self._judging():
            return self._run(report)

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """A thread that judges, where the environment asks for one. Only one: judges need not be safe for several."""
        if not self.env.text_env.scored_elsewhere:
            yield
            return
        self._judges = ThreadPoolExecutor(1, "judge", initializer=self.world.claim_device)
        try:
            yield
        finally:
            self._judges.shutdown(wait=False, cancel_futures=True)  # after an error there is nothing to wait for

    def _run(self, report: StepReport) -> RunResult:
        first = self._restore()
        steps, result = self.options.steps, self.result
        log = self.open_log(first_step=first) if self.open_log and self.world.is_first else None
        clock = time.perf_counter()
        for step in range(first, steps + 1):
            # Drawn one after the other and first of all: meanwhile, and during the update, they are judged.
            drawn = self._draw(self.seed if step == 0 else None) if step < steps else None
            held_out = self._draw_held_out() if step % self.options.eval_every == 0 or step == steps else None
            measures = self._step(step, drawn) if drawn else {}
            evaluation = self._evaluation(step, held_out) if held_out else None
            report(step, evaluation)
            measures |= _evaluation_measures(evaluation) if evaluation else {}
            if log and measures:
                log.write(step, measures)
            result.wall_s, clock = result.wall_s + time.perf_counter() - clock, time.perf_counter()
            if self.checkpoints and step < steps and (step + 1) % self.checkpoint_every == 0:
                self._save(self.checkpoints, step + 1)
        if log:
            log.close()
        names = self._diagnostics[0] if self._diagnostics else ()
        result.diagnostics = {name: float(np.mean([one[name] for one in self._diagnostics])) for name in names}
        return result

    def _draw_held_out(self) -> Drawn:
        rng = self.world.generator(EVAL_SEED)
        return self._play(self.eval_env, self.options.eval_sampling, rng, EVAL_SEED)

    def _evaluation(self, step: int, drawn: Drawn) -> Evaluation:
        rollouts = drawn.judged()
        assert rollouts.task_ids is not None
        lengths = rollouts.lengths.cpu().numpy()
        vectors = RewardVectors(step, rollouts.scores, rollouts.task_ids, rollouts.groups, lengths)
        self.result.vectors += vectors.pack()
        self.result.evaluations.append(evaluate(rollouts.scores, self.eval_env.reward_specs, step))
        return self.result.evaluations[-1]

    def _step(self, step: int, drawn: Drawn) -> dict[str, float]:
        if self.options.dynamic_sampling:
            drawn = self._with_signal(drawn)
        started = time.perf_counter()
        self.backend.sleep()
        known = self.learner.log_probs(drawn.replies, exact=self.backend.exact)
        prepared = time.perf_counter()
        rollouts = drawn.judged()
        judged = time.perf_counter()
        advantages = self._advantages(rollouts)
        normalized = time.perf_counter()
        learned = self.learner.update(rollouts, advantages, step, self.rng, known)
        self.backend.update_weights(self.policy)
        updated = time.perf_counter()
        scores = rollouts.scores
        found = diagnose(advantages, scores.values, rollouts.groups, scores.applicable, scores.failed).as_dict()
        self._diagnostics.append(found)
        return {
            **_reward_measures(evaluate(scores, self.env.reward_specs)),
            **{f"advantages/{name}": value for name, value in found.items()},
            **learned,
            "reply_tokens": float(rollouts.lengths.double().mean()),
            "cut_off_share": float(rollouts.cut_off.double().mean()),
            "seconds/rollout": drawn.drawing_s,
            "seconds/scoring": rollouts.scoring_s,
            "seconds/waiting": drawn.judging_s + judged - prepared,
            "seconds/advantages": normalized - judged,
            "seconds/update": updated - normalized + prepared - started,
        }

    def _with_signal(self, drawn: Drawn) -> Drawn:
        """As many groups with a signal as were drawn, as far as they can be had by drawing more."""
        started = time.perf_counter()
        rollouts = drawn.judged()
        kept, wanted, drawing_s = self._those_with_signal(rollouts), _groups(rollouts), 0.0
        for _ in range(self.options.max_draws - 1):
            if _groups(kept) >= wanted:
                break
            more = self._draw(None)
            drawing_s += more.drawing_s
            kept = self._those_with_signal(concatenate([kept, more.judged()]))
        kept = kept.select(torch.from_numpy(np.isin(kept.groups, np.unique(kept.groups)[:wanted])))
        found = kept if len(kept) else rollouts
        waited_s = drawn.judging_s + time.perf_counter() - started - drawing_s
        return Drawn(found, lambda: (found.scores, found.scoring_s), drawn.drawing_s + drawing_s, waited_s)

    def _those_with_signal(self, rollouts: Rollouts) -> Rollouts:
        with state_unchanged(self.normalizer):  # which advances once a step, by what is trained on
            return rollouts.select(keep_groups(self._advantages(rollouts), rollouts.groups))

    def _draw(self, seed: int | None) -> Drawn:
        return self._play(self.env, self.options.sampling, self.rng, seed)

    def _play(self, env: GroupVectorEnv, sampling: Sampling, rng: torch.Generator, seed: int | None) -> Drawn:
        """The rollouts of all processes, in all of them."""
        mine = self.world.together(
            lambda: draw(env, self.policy, self.backend, sampling=sampling, rng=rng, seed=seed, judges=self._judges)
        )
        replies = concatenate_replies(self.world.gather(lambda: mine.replies))
        self.result.tokens += int(replies.drawn.sum())

        def rewards() -> tuple[Scores, float]:
            scores, seconds = zip(*self.world.gather(mine.rewards), strict=True)
            together = reduce(Scores.stack, scores)
            check_failures(together, self.options.max_failed_share)
            if env is self.env:
                new = together.failures[: _FAILURES - len(self.result.failures)]
                self.result.failures += [f"{failure!s:.{SHOWN_CHARACTERS}}" for failure in new]
            return together, max(seconds)

        return replace(mine, replies=replies, rewards=rewards)

    def _advantages(self, rollouts: Rollouts) -> torch.Tensor:
        # By one process: a normalizer of the user's own may hold a state, or draw random numbers.
        return self.world.first(
            lambda: compute_advantages(
                self.normalizer,
                rollouts.scores.values,
                rollouts.groups,
                specs=self.env.reward_specs,
                weights=self.weights,
                lengths=rollouts.lengths,
                applicable=rollouts.scores.applicable,
                failed=rollouts.scores.failed,
            )
        )

    def _save(self, checkpoints: Checkpoints, step: int) -> None:
        tensors, state = snapshot_learner(self.learner)
        state |= {
            "rngs": self.world.gather(lambda: self.rng.get_state().tolist()),
            "tasks": self.env.queue_state(),
            "result": asdict(self.result) | {"vectors": ""},  # which would be large in JSON
            "diagnostics": self._diagnostics,
            "normalizer": self.world.first(self._normalizer_state),
        }
        if self.world.is_first:
            tensors[_VECTORS] = {"packs": torch.frombuffer(bytearray(self.result.vectors), dtype=torch.uint8)}
        self.world.first(lambda: checkpoints.save(Checkpoint(step, tensors, state)))

    def _normalizer_state(self) -> dict[str, Any]:
        check_nothing_is_hidden(self.normalizer, self._held)
        return normalizer_state(self.normalizer)

    def _restore(self) -> int:
        """Take over the last checkpoint; returns how many steps are done."""
        checkpoints, world = self.checkpoints, self.world
        if checkpoints is None:
            return 0
        own = world.together(lambda: checkpoints.newest() if world.is_first else None)
        told = world.first(lambda: own and Checkpoint(own.step, {}, own.state))
        found = own or told
        if found is None:
            return 0
        rngs = found.state["rngs"]
        if len(rngs) != world.size:
            raise DataError(
                f"The checkpoint in {checkpoints.folder} is of {len(rngs)} processes, whose sampling noise this run "
                f"cannot go on with in {world.size}; start as many again, or delete it to start anew."
            )
        restore_learner(self.learner, found)
        self.backend.update_weights(self.policy)
        self.rng.set_state(torch.tensor(rngs[world.rank], dtype=torch.uint8))
        self.env.restore_queue(found.state["tasks"])
        self.result = _RESULT.validate_python(found.state["result"])
        if own:
            self.result.vectors = own.tensors[_VECTORS]["packs"].numpy().tobytes()
        self._diagnostics = found.state["diagnostics"]
        load_normalizer_state(self.normalizer, found.state["normalizer"])
        return found.step


def _groups(rollouts: Rollouts) -> int:
    return len(np.unique(rollouts.groups))


def _reward_measures(found: Evaluation, prefix: str = "") -> dict[str, float]:
    """Means of rewards, and the shares that they are over: where a share is 0 there is no mean."""
    means = {f"{prefix}reward/{name}": value for name, value in found.rewards.items()}
    return means | {f"{prefix}applicable/{name}": share for name, share in found.applicable.items()}


def _evaluation_measures(found: Evaluation) -> dict[str, float]:
    metrics = {f"eval/metric/{name}": value for name, value in found.metrics.items()}
    return _reward_measures(found, "eval/") | metrics
