"""One training run: rollouts, reward vectors, advantages, policy gradient, evaluations.

Everything random comes from the run's seed; with one thread the same seed gives the same numbers,
bit for bit, on the same kind of CPU, also when the run was stopped and goes on from a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import TypeAdapter

from gdpo_bench.advantages import Normalizer
from gdpo_bench.advantages.state import (
    check_nothing_is_hidden,
    check_state_is_offered,
    load_normalizer_state,
    normalizer_state,
    what_it_holds,
)
from gdpo_bench.agent.backends.decoding import backend_for
from gdpo_bench.agent.backends.protocol import RolloutBackend
from gdpo_bench.agent.checkpoint import Checkpoint, Checkpoints, restore_step, snapshot_step
from gdpo_bench.agent.evaluation import draw_held_out
from gdpo_bench.agent.metrics import MetricsLog, evaluation_measures, signal_measures, step_measures, told_apart
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Tally, check_failures
from gdpo_bench.agent.scale.overlap import scorer_for
from gdpo_bench.agent.scale.processes import World
from gdpo_bench.agent.scale.shared_step import SharedStep
from gdpo_bench.agent.step import TrainingStep
from gdpo_bench.core import DataError, GroupVectorEnv
from gdpo_bench.core.measurements import Evaluation, RewardVectors, evaluate

_VECTORS = "vectors.safetensors"


@dataclass
class RunResult(Tally):
    """What a training run measured."""

    evaluations: list[Evaluation] = field(default_factory=list)
    vectors: bytes = b""
    """What the evaluations averaged, packs of `RewardVectors` one after the other; whole in the first process."""
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Means over training steps."""
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
            DeclarationError: The processes cannot share the prompts evenly, or `max_prompt_tokens` leaves none.
            StateError: The normalizer has a state that checkpoints cannot hold.
        """
        if checkpoints:
            check_state_is_offered(normalizer)
        self.policy, self.world = policy, world
        self.env, self.eval_env = (one.shard(world.rank, world.size) for one in (env, eval_env))
        self.options, self.seed = options, seed
        if (limit := options.max_prompt_tokens) is not None:
            self.env.keep_tasks(lambda task: len(policy.encode(env.text_env.messages(task))) <= limit)
        self.backend = backend or backend_for(policy)
        self.checkpoints, self.checkpoint_every, self.open_log = checkpoints, checkpoint_every, open_log
        self.result = RunResult()
        make = partial(SharedStep, world) if world.size > 1 else TrainingStep
        self.step = make(
            policy,
            self.backend,
            self.env,
            normalizer=normalizer,
            reward_weights=weights,
            options=options,
            rng=world.generator(seed),
            tally=self.result,
        )
        self._held = what_it_holds(normalizer)
        self._told_apart: list[dict[str, float]] = []

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
        first, steps, result = self._restore(), self.options.steps, self.result
        log = self.open_log(first_step=first) if self.open_log and self.world.is_first else None
        clock = time.perf_counter()
        with scorer_for(self.env, self.world) as self.step.scorer:
            for step in range(first, steps + 1):
                evaluation = self._evaluation(step) if step % self.options.eval_every == 0 or step == steps else None
                measures: dict[str, float] = {}
                if step < steps:
                    rollouts, advantages, learned = self.step(step, self.seed if step == 0 else None)
                    self._told_apart.append(told_apart(rollouts, advantages))
                    found = {f"advantages/{name}": value for name, value in self._told_apart[-1].items()}
                    specs = self.env.reward_specs
                    signals = signal_measures(rollouts, advantages, specs) if log else {}
                    measures = step_measures(rollouts, specs) | found | signals | learned
                report(step, evaluation)
                if evaluation:
                    measures |= evaluation_measures(evaluation)
                if log and measures:
                    log.write(step, measures)
                result.wall_s, clock = result.wall_s + time.perf_counter() - clock, time.perf_counter()
                if self.checkpoints and step < steps and (step + 1) % self.checkpoint_every == 0:
                    self._save(self.checkpoints, step + 1)
        if log:
            log.close()
        names = self._told_apart[0] if self._told_apart else ()
        result.diagnostics = {name: float(np.mean([one[name] for one in self._told_apart])) for name in names}
        return result

    def _evaluation(self, step: int) -> Evaluation:
        rollouts = draw_held_out(
            self.eval_env,
            self.policy,
            self.backend,
            self.options.eval_sampling,
            self.world,
            samples=self.options.eval_samples,
        )
        self.result.tokens += int(rollouts.completion_mask.sum())
        check_failures(rollouts.scores, self.options.max_failed_share)
        assert rollouts.task_ids is not None
        lengths = rollouts.lengths.cpu().numpy()
        vectors = RewardVectors(step, rollouts.scores, rollouts.task_ids, rollouts.groups, lengths)
        self.result.vectors += vectors.pack()
        self.result.evaluations.append(evaluate(rollouts.scores, self.eval_env.reward_specs, step))
        return self.result.evaluations[-1]

    def _save(self, checkpoints: Checkpoints, step: int) -> None:
        tensors, state = snapshot_step(self.step, self.world)
        state |= {
            "rngs": self.world.all_gather(lambda: self.step.rng.get_state().tolist()),
            "tasks": self.env.queue_state(),
            "result": asdict(self.result) | {"vectors": ""},  # which would be large in JSON
            "diagnostics": self._told_apart,
            "normalizer": self.world.broadcast(self._normalizer_state),
        }
        if self.world.is_first:
            tensors[_VECTORS] = {"packs": torch.frombuffer(bytearray(self.result.vectors), dtype=torch.uint8)}
        self.world.broadcast(lambda: checkpoints.save(Checkpoint(step, tensors, state)))

    def _normalizer_state(self) -> dict[str, Any]:
        check_nothing_is_hidden(self.step.normalizer, self._held)
        return normalizer_state(self.step.normalizer)

    def _restore(self) -> int:
        """Take over the last checkpoint; returns how many steps are done."""
        checkpoints, world = self.checkpoints, self.world
        if checkpoints is None:
            return 0
        own = world.barrier(lambda: checkpoints.newest() if world.is_first else None)
        told = world.broadcast(lambda: own and Checkpoint(own.step, {}, own.state))
        found = own or told
        if found is None:
            return 0
        rngs = found.state["rngs"]
        if len(rngs) != world.size:
            raise DataError(
                f"The checkpoint in {checkpoints.folder} is of {len(rngs)} processes, whose sampling noise this run "
                f"cannot go on with in {world.size}; start as many again, or delete it to start anew."
            )
        restore_step(self.step, self.world, found)
        self.backend.update_weights(self.policy)
        self.step.rng.set_state(torch.tensor(rngs[world.rank], dtype=torch.uint8))
        self.env.restore_queue(found.state["tasks"])
        self.result = self.step.tally = _RESULT.validate_python(found.state["result"])
        if own:
            self.result.vectors = own.tensors[_VECTORS]["packs"].numpy().tobytes()
        self._told_apart = found.state["diagnostics"]
        load_normalizer_state(self.step.normalizer, found.state["normalizer"])
        return found.step
