"""One training run: rollouts, reward vectors, advantages, clipped policy gradient, evaluations.

Everything random comes from the run's seed; with one thread the same seed gives the same numbers,
bit for bit, on the same kind of CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from gdpo_bench.advantages import Normalizer, compute_advantages, diagnose
from gdpo_bench.agent.collect import SHOWN_CHARACTERS, Rollouts, check_failures, collect
from gdpo_bench.agent.evaluation import Evaluation, evaluate
from gdpo_bench.agent.loss import clipped_loss, token_log_probs
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollout import RolloutBackend, Sampling, TransformersBackend
from gdpo_bench.core import GdpoBenchError, GroupVectorEnv

_EVAL_SEED = 777
"""The held-out tasks and their sampling noise are the same for all runs, which are compared in pairs."""
_FAILURES = 3
"""So many failures of reward functions are kept, to be shown."""


class DivergedError(GdpoBenchError, RuntimeError):
    """The loss is no longer a number."""


@dataclass
class RunResult:
    """What a training run measured."""

    evaluations: list[Evaluation] = field(default_factory=list)
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Means over training steps."""
    failures: list[str] = field(default_factory=list)
    """What reward functions failed on in training, the first few."""
    tokens: int = 0
    """Tokens drawn, in training and evaluation."""
    wall_s: float = 0.0


StepReport = Callable[[int, Evaluation | None], None]
"""Called after every training step with its number, and with the evaluation where there was one."""


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
    ) -> None:
        """Set up a run.

        Args:
            policy: Trained in place.
            env: P·G rollouts of the training split.
            eval_env: Rollouts of the held-out split.
            normalizer: Turns reward vectors into advantages.
            options: Everything else.
            weights: Reward → weight, for this normalizer.
            seed: Fixes tasks, sampling and the order of minibatches.
            backend: Draws completions; from the policy itself by default.
        """
        self.policy, self.env, self.eval_env = policy, env, eval_env
        self.normalizer, self.weights, self.options, self.seed = normalizer, weights, options, seed
        self.backend = backend or TransformersBackend(policy)
        self.sampling = Sampling(options.max_new_tokens, options.temperature)
        self.rng = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(
            policy.model.parameters(), lr=options.learning_rate, betas=(0.9, 0.95), weight_decay=0.0
        )

    def run(self, report: StepReport = lambda step, evaluation: None) -> RunResult:
        """Train to the end.

        Args:
            report: Told of every step.

        Returns:
            Evaluations and diagnostics.

        Raises:
            ScorerFailuresError: Reward functions failed too often.
            RewardError: A reward is not what its declaration allows.
            DivergedError: The loss became NaN or infinite.
        """
        result, started = RunResult(), time.perf_counter()
        diagnostics: list[dict[str, float]] = []
        for step in range(self.options.steps + 1):
            evaluation = None
            if step % self.options.eval_every == 0 or step == self.options.steps:
                evaluation = self._evaluate(step, result)
                result.evaluations.append(evaluation)
            report(step, evaluation)
            if step < self.options.steps:
                diagnostics.append(self._step(step, result))
        result.diagnostics = {key: float(np.mean([d[key] for d in diagnostics])) for key in diagnostics[0]}
        result.wall_s = time.perf_counter() - started
        return result

    def _evaluate(self, step: int, result: RunResult) -> Evaluation:
        rng = torch.Generator().manual_seed(_EVAL_SEED)
        rollouts = collect(self.eval_env, self.policy, self.backend, sampling=self.sampling, rng=rng, seed=_EVAL_SEED)
        check_failures(rollouts.scores, self.options.max_failed_share)
        result.tokens += int(rollouts.drawn.sum())
        return evaluate(rollouts.scores, self.eval_env.reward_specs, step)

    def _step(self, step: int, result: RunResult) -> dict[str, float]:
        seed = self.seed if step == 0 else None
        rollouts = collect(self.env, self.policy, self.backend, sampling=self.sampling, rng=self.rng, seed=seed)
        check_failures(rollouts.scores, self.options.max_failed_share)
        new = rollouts.scores.failures[: _FAILURES - len(result.failures)]
        result.failures += [f"{failure!s:.{SHOWN_CHARACTERS}}" for failure in new]
        advantages = compute_advantages(
            self.normalizer,
            rollouts.scores.values,
            rollouts.groups,
            specs=self.env.reward_specs,
            weights=self.weights,
            lengths=rollouts.lengths,
            applicable=rollouts.scores.applicable,
            failed=rollouts.scores.failed,
        )
        self._update(rollouts, advantages, step)
        result.tokens += int(rollouts.drawn.sum())
        scores = rollouts.scores
        return diagnose(advantages, scores.values, rollouts.groups, scores.applicable, scores.failed).as_dict()

    def _update(self, rollouts: Rollouts, advantages: torch.Tensor, step: int) -> None:
        model = self.policy.model
        model.train()
        order = torch.randperm(len(advantages), generator=self.rng)
        for rows in order.chunk(self.options.minibatches):
            drawn = rollouts.drawn[rows, 1:]
            width = int(drawn.any(0).nonzero()[-1]) + 2
            token_ids = rollouts.token_ids[rows, :width]
            logits = model(input_ids=token_ids, use_cache=False).logits
            loss = clipped_loss(
                token_log_probs(logits, token_ids, self.options.temperature),
                rollouts.log_probs[rows, 1:width],
                drawn[:, : width - 1],
                advantages[rows],
                self.options.clip,
            )
            if not torch.isfinite(loss):
                raise DivergedError(f"The loss became {loss.item()} at step {step}; try a smaller learning_rate.")
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.options.max_grad_norm)
            self.optimizer.step()
