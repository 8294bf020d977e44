"""One training step: prompts → rollouts → rewards → advantages → loss → optimizer.

Written for one process; `scale.shared_step` is the same step in several. How completions are drawn is in `backends`,
what the loss is made of in `loss`, and drawing again where groups have nothing to teach in `dynamic_sampling`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise

import torch

from gdpo_bench.advantages import Normalizer, compute_advantages
from gdpo_bench.agent.backends.protocol import RolloutBackend
from gdpo_bench.agent.dynamic_sampling import draw_with_signal
from gdpo_bench.agent.errors import DivergedError, OutOfMemoryError
from gdpo_bench.agent.language_model import CausalLM
from gdpo_bench.agent.loss import Batch, Measures, Totals, added, minibatch_loss
from gdpo_bench.agent.memory import smaller
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Replies, Rollouts, Score, Tally, draw
from gdpo_bench.agent.weights import Weights
from gdpo_bench.core import GroupVectorEnv, RewardSpec

_PENALTY = RewardSpec("kl_penalty", -1e12, 1e12)
"""An estimate of a divergence may be negative."""


@dataclass(eq=False)
class TrainingStep:
    """Draws, scores and learns from P prompts × G replies, once a call."""

    policy: Policy
    backend: RolloutBackend
    env: GroupVectorEnv
    _: KW_ONLY
    normalizer: Normalizer
    reward_weights: Mapping[str, float]
    options: TrainingOptions
    rng: torch.Generator
    tally: Tally
    scorer: Executor | None = None
    """Scores replies while log-probabilities are computed."""
    weights_of: Callable[[CausalLM], Weights] = Weights

    def __post_init__(self) -> None:
        options = self.options
        self.sampling, self.learning_rates = options.sampling, options.learning_rates()
        self.micro_batch = options.micro_batch
        self.specs = (*self.env.reward_specs, *([_PENALTY] if options.kl_reward_coefficient else ()))
        self.reference = self.policy.frozen() if options.kl_coefficient or options.kl_reward_coefficient else None
        self.weights = self.weights_of(self.policy.model)
        betas = (options.adam_beta1, options.adam_beta2)
        self.optimizer = torch.optim.AdamW(
            self.weights.trained, betas=betas, eps=options.adam_epsilon, weight_decay=options.weight_decay
        )

    def __call__(self, step: int, seed: int | None = None) -> tuple[Rollouts, torch.Tensor, Measures]:
        """Take a step.

        Args:
            step: Its number, from 0.
            seed: Fixes the order of tasks from here on.

        Returns:
            What was learned from, the advantages (N,), and measures by name.

        Raises:
            ScorerFailuresError: Reward functions failed too often.
            RewardError: A reward is not what its declaration allows.
            DivergedError: The loss became NaN or infinite.
            OutOfMemoryError: Not even one rollout fits into memory.
        """
        clock = [time.perf_counter()]
        replies, rewards = draw_with_signal(self, seed) if self.options.dynamic_sampling else self.draw(seed)
        clock.append(time.perf_counter())
        own, reference = self.log_probs(replies)  # rewards may still be on their way
        clock.append(time.perf_counter())
        rollouts = replies.scored(rewards())
        clock.append(time.perf_counter())
        advantages = self.advantages(self.with_penalty(rollouts, own, reference))
        clock.append(time.perf_counter())
        learned = self.learn(Batch(rollouts, advantages, self.options, own, reference), step)
        clock.append(time.perf_counter())
        parts = zip(("rollout", "log_probs", "waiting", "advantages", "update"), pairwise(clock), strict=True)
        return rollouts, advantages, learned | {f"seconds/{part}": end - start for part, (start, end) in parts}

    def draw(self, seed: int | None) -> tuple[Replies, Score]:
        """Prompts and replies, and what gives their rewards to whoever waits for them."""
        replies, score = self.play(seed)
        self.tally.tokens += int(replies.completion_mask.sum())
        return replies, lambda: self.tally.checked(score(), self.options.max_failed_share)

    def play(self, seed: int | None) -> tuple[Replies, Score]:
        """Replies to the next prompts; a scorer begins at once."""
        replies, score = draw(self.env, self.policy, self.backend, sampling=self.sampling, rng=self.rng, seed=seed)
        return replies, self.scorer.submit(score).result if self.scorer else score

    def log_probs(self, replies: Replies) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """(N, L − 1) under the policy, where the backend's are not exactly its own, and under the reference policy."""
        self.backend.sleep()
        self.policy.model.eval()
        own = None if self.backend.exact else self.all_log_probs(self.policy, replies.token_ids)
        return own, None if self.reference is None else self.all_log_probs(self.reference, replies.token_ids)

    @torch.no_grad()
    def all_log_probs(self, policy: Policy, token_ids: torch.Tensor) -> torch.Tensor:
        """(N, L − 1) of tokens (N, L) given those before them, on the CPU."""
        columns, parts = slice(0, token_ids.shape[1] - 1), token_ids.split(self.micro_batch)
        return torch.cat([policy.log_probs(part, columns, self.options.temperature).cpu() for part in parts])

    def advantages(self, rollouts: Rollouts) -> torch.Tensor:
        """Advantages (N,); the normalizer's state advances."""
        return compute_advantages(
            self.normalizer,
            rollouts.scores.values,
            rollouts.groups,
            specs=self.specs,
            weights=self.reward_weights,
            lengths=rollouts.lengths,
            applicable=rollouts.scores.applicable,
            failed=rollouts.scores.failed,
        )

    def with_penalty(self, rollouts: Rollouts, own: torch.Tensor | None, reference: torch.Tensor | None) -> Rollouts:
        """The rollouts with their divergence from the reference policy as one more reward, where that is asked for."""
        if reference is None or not self.options.kl_reward_coefficient:
            return rollouts
        old = rollouts.log_probs[:, 1:] if own is None else own
        divergence = torch.where(rollouts.completion_mask[:, 1:], old - reference, 0.0).sum(1)
        return rollouts.scored(
            rollouts.scores.beside(-self.options.kl_reward_coefficient * divergence.double().numpy())
        )

    def learn(self, batch: Batch, step: int) -> Measures:
        """Gradient steps over a batch; returns their mean measures."""
        self.policy.model.train()
        taken: list[Measures] = []
        for _ in range(self.options.epochs):
            for rows in self.shuffled(len(batch)).chunk(self.options.minibatches):
                losses = self.backward(batch, rows)
                if not math.isfinite(losses["loss"]):
                    raise DivergedError(losses["loss"], step, batch.described(rows, self.policy.tokenizer))
                taken.append(losses | {"grad_norm": float(self.update(self.learning_rates[step]))})
        self.backend.update_weights(self.policy)
        means = {name: sum(one[name] for one in taken) / len(taken) for name in taken[0]}
        return means | batch.measures | {"learning_rate": self.learning_rates[step]}

    def backward(self, batch: Batch, rows: torch.Tensor) -> Measures:
        """Gradients of a minibatch's loss, in parts that fit into memory."""
        self.optimizer.zero_grad(set_to_none=True)
        while (found := self.passes(batch, rows, batch.totals(rows))) is None:
            self.micro_batch = smaller(min(self.micro_batch, len(rows)))
            self.weights.discard_gradients()
        return found

    def passes(self, batch: Batch, rows: torch.Tensor, totals: Totals) -> Measures | None:
        """A pass for each micro-batch of the rows; None where memory runs out."""
        try:
            return added([self.one_pass(batch, part, totals) for part in batch.parts(rows, self.micro_batch)])
        except torch.OutOfMemoryError:
            return None  # and not on from here: the error's traceback still holds the activations

    def one_pass(self, batch: Batch, rows: torch.Tensor, totals: Totals) -> Measures:
        """Forward, loss, backward."""
        columns = batch.columns(rows)
        tokens, entropy = batch.rollouts.token_ids[rows], None
        if self.options.entropy_coefficient:
            log_probs, entropy = self.policy.log_probs_and_entropy(tokens, columns, self.options.temperature)
        else:
            log_probs = self.policy.log_probs(tokens, columns, self.options.temperature)
        loss, measures = minibatch_loss(log_probs, batch, rows, columns, totals, entropy=entropy)
        loss.backward()
        return measures

    def update(self, learning_rate: float) -> torch.Tensor:
        """Clip the gradients and let the optimizer step; returns their norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        norm = torch.nn.utils.clip_grad_norm_(self.weights.trained, self.options.max_grad_norm)
        try:
            self.optimizer.step()
        except torch.OutOfMemoryError as error:  # its moments take twice the weights' memory, from the first step on
            raise OutOfMemoryError(
                "The optimizer's state does not fit into memory beside the policy; choose a smaller policy, adapters "
                "(lora_rank=16), or a larger GPU."
            ) from error
        return norm

    def shuffled(self, count: int) -> torch.Tensor:
        """Rows in the order of an epoch."""
        return torch.randperm(count, generator=self.rng)
