"""The learner: from rollouts and their advantages to new weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gdpo_bench.agent.errors import OutOfMemoryError
from gdpo_bench.agent.loss import Totals, aggregate, clipped_share, k3, log_probs_of, log_ratio, token_gains
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Replies, Rollouts
from gdpo_bench.agent.sharding import make_weights
from gdpo_bench.agent.world import World
from gdpo_bench.core import GdpoBenchError


class DivergedError(GdpoBenchError, RuntimeError):
    """The loss is no longer a number."""

    def __init__(self, loss: float, step: int, batch: list[dict[str, Any]]) -> None:
        """Compose the message.

        Args:
            loss: What it became.
            step: In which training step.
            batch: The rollouts that it was taken over, as JSON.
        """
        super().__init__(f"The loss became {loss} at step {step}; try a smaller learning_rate.")
        self.batch = batch


def learning_rate(
    step: int,
    steps: int,
    *,
    peak: float,
    schedule: Literal["constant", "linear", "cosine"] = "constant",
    warmup: int = 0,
) -> float:
    """The learning rate of a step, counted from 0: rising over `warmup` steps, then falling to 0 at the end."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "linear":
        return peak * (1 - done)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    return peak


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities (N, L − 1) of tokens that have been drawn; column t belongs to token t + 1."""

    own: torch.Tensor | None = None
    """By the policy that learns; None where the sampler's are its own."""
    reference: torch.Tensor | None = None
    """By the reference policy; None where there is none."""


class Learner:
    """Updates a policy's weights by the objective that the options describe."""

    def __init__(self, policy: Policy, options: TrainingOptions, world: World = World()) -> None:  # noqa: B008 (no state)
        """Begin with fresh optimizer state.

        Args:
            policy: Trained in place.
            options: Objective and optimizer.
            world: The processes that learn together, each from its share of every minibatch.
        """
        self.policy, self.options, self.world = policy, options, world
        self.micro_batch = options.micro_batch
        self.reference = _frozen(policy.model) if options.kl_coefficient else None
        self.weights = make_weights(policy.model, world)
        self.optimizer = torch.optim.AdamW(
            self.weights.trained,
            lr=options.learning_rate,
            betas=(options.adam_beta1, options.adam_beta2),
            eps=options.adam_epsilon,
            weight_decay=options.weight_decay,
        )

    def log_probs(self, replies: Replies, *, exact: bool) -> LogProbs:
        """What the objective needs to know of replies beside their rewards, and can be computed before those.

        Args:
            replies: Of N rollouts, of all processes.
            exact: Whether their log-probabilities are this model's own; if not, they are computed anew.

        Returns:
            Log-probabilities of the tokens.
        """
        self.policy.model.eval()
        own = None if exact else self._all_log_probs(self.policy.model, replies)
        if self.reference is None:
            return LogProbs(own)
        with self._reference_policy() as model:
            return LogProbs(own, self._all_log_probs(model, replies))

    def update(
        self, rollouts: Rollouts, advantages: torch.Tensor, step: int, rng: torch.Generator, known: LogProbs
    ) -> dict[str, float]:
        """Learn from one step's rollouts.

        Args:
            rollouts: N rollouts, of all processes.
            advantages: (N,).
            step: Number of the training step, for the schedule.
            rng: Source of the minibatches' order, in the first process.
            known: What `log_probs` found of them.

        Returns:
            Measures by name, means over the gradient steps.

        Raises:
            DivergedError: The loss became NaN or infinite.
            OutOfMemoryError: Not even one rollout fits into memory.
        """
        options = self.options
        rate = learning_rate(
            step, options.steps, peak=options.learning_rate, schedule=options.schedule, warmup=options.warmup_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.policy.model.train()
        batch = _Batch(rollouts, advantages, options, known)
        taken: list[dict[str, float]] = []
        for _ in range(options.epochs):
            order = self.world.first(lambda: torch.randperm(len(advantages), generator=rng))
            for rows in order.chunk(options.minibatches):
                taken.append(self._gradient_step(batch, rows, step))
        means = {name: sum(one[name] for one in taken) / len(taken) for name in taken[0]}
        return means | batch.measures | {"learning_rate": rate}

    def _gradient_step(self, batch: _Batch, rows: torch.Tensor, step: int) -> dict[str, float]:
        measures = self._gradients(batch, rows)
        if not math.isfinite(measures["loss"]):
            raise DivergedError(measures["loss"], step, [self._described(batch, row) for row in rows.tolist()])
        with self.world.in_step():
            self.weights.reduce_gradients()
            norm = torch.nn.utils.clip_grad_norm_(self.weights.trained, self.options.max_grad_norm)
            self.optimizer.step()
            self.weights.renew()
            return measures | {"grad_norm": float(self.weights.whole(norm))}

    def _described(self, batch: _Batch, row: int) -> dict[str, Any]:
        rollouts = batch.rollouts
        return {
            "text": self.policy.tokenizer.decode(rollouts.token_ids[row]),
            "rewards": rollouts.scores.values[row].tolist(),
            "group": int(rollouts.groups[row]),
            "advantage": float(batch.advantages[row]),
            "log_probs": batch.old[row][batch.drawn[row]].tolist(),
        }

    def _gradients(self, batch: _Batch, rows: torch.Tensor) -> dict[str, float]:
        """Fill in the gradients of a minibatch, in parts that fit into every process's memory."""
        largest = math.ceil(len(rows) / self.world.size)
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            size = min(self.micro_batch, largest)
            found = self.world.gather(lambda size=size: self._passes(batch, rows, size))  # type: ignore[misc]
            measures = [one for one in found if one is not None]
            if len(measures) == len(found):
                return _added(measures)
            if size == 1:
                raise OutOfMemoryError(
                    "One rollout alone does not fit into memory; choose a smaller max_new_tokens, a smaller "
                    "policy, or gradient_checkpointing=true for the policy."
                )
            self.micro_batch = (size + 1) // 2
            self.weights.discard_gradients()
            torch.cuda.empty_cache()

    def _passes(self, batch: _Batch, rows: torch.Tensor, size: int) -> dict[str, float] | None:
        """Gradients of this process's share of a minibatch; None where memory runs out."""
        totals, share = batch.totals(rows), batch.by_length(self.world.share(rows))
        try:
            return _added([self._backward(batch, part, totals) for part in share.split(size) if len(part)])
        except torch.OutOfMemoryError:
            return None  # and not on from here: the error's traceback still holds the activations

    def _backward(self, batch: _Batch, rows: torch.Tensor, totals: Totals) -> dict[str, float]:
        options = self.options
        columns = batch.columns(rows)
        log_probs = self._log_probs(self.policy.model, batch.rollouts, rows, columns)
        device = log_probs.device
        drawn = batch.drawn[rows, columns].to(device)
        old, advantages = batch.old[rows, columns].to(device), batch.advantages[rows].to(device)
        gains = token_gains(
            log_probs,
            old,
            drawn,
            advantages,
            surrogate=options.surrogate,
            clip_low=options.clip_low,
            clip_high=options.clip_high,
        )
        if batch.importance is not None:
            gains = gains * batch.importance[rows, columns].to(device)

        def total(tokens: torch.Tensor) -> torch.Tensor:
            return aggregate(tokens, drawn, totals, options.aggregation, options.max_new_tokens)

        loss = -total(gains)
        measures: dict[str, float] = {}
        if batch.reference is not None:
            divergence = total(k3(log_probs, batch.reference[rows, columns].to(device), drawn))
            loss = loss + options.kl_coefficient * divergence
            measures["kl"] = float(divergence.detach())
        loss.backward()
        with torch.no_grad():
            ratio = log_ratio(log_probs, old, drawn, options.surrogate).exp()
            clipped = clipped_share(ratio, advantages, options.clip_low, options.clip_high).expand_as(drawn) & drawn
            measures["clipped_share"] = float(clipped.sum()) / max(totals.tokens, 1)
        return measures | {"loss": float(loss.detach())}

    def _log_probs(self, model: Any, rollouts: Replies, rows: torch.Tensor, columns: slice) -> torch.Tensor:
        """Log-probabilities (rows, columns) of the tokens; padding stands on the right and needs no mask."""
        token_ids = rollouts.token_ids[rows, : columns.stop + 1].to(model.device)
        # What prompts predict is not needed, nor what follows the last token.
        with self.policy.precision():
            logits = model(
                input_ids=token_ids[:, :-1], use_cache=False, logits_to_keep=columns.stop - columns.start
            ).logits
        return log_probs_of(token_ids[:, columns.start + 1 :], logits, self.options.temperature)

    @torch.no_grad()
    def _all_log_probs(self, model: Any, rollouts: Replies) -> torch.Tensor:
        """Log-probabilities (N, L − 1) of all rollouts, on the CPU."""
        rows = torch.arange(len(rollouts.token_ids))
        columns = slice(0, rollouts.token_ids.shape[1] - 1)
        shares = self.world.gather(
            lambda: torch.cat(
                [
                    self._log_probs(model, rollouts, part, columns).cpu()
                    for part in self.world.share(rows).split(self.micro_batch)
                ]
            )
        )
        found = torch.empty(len(rows), columns.stop)
        for rank, part in enumerate(shares):
            found[rank :: self.world.size] = part
        return found

    @contextmanager
    def _reference_policy(self) -> Iterator[Any]:
        """The model of the policy at the start; of adapters, the one without them."""
        with self.reference.disable_adapter() if self.reference is self.policy.model else nullcontext():
            yield self.reference


def _frozen(model: Any) -> Any:
    """The model as it is now; one with adapters is its own, as they can be switched off."""
    return model if hasattr(model, "disable_adapter") else copy.deepcopy(model).eval().requires_grad_(False)


def _added(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Measures of parts as one's; a process that had no rows has none."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


class _Batch:
    """One step's rollouts as the objective sees them; column t belongs to token t + 1."""

    def __init__(self, rollouts: Rollouts, advantages: torch.Tensor, options: TrainingOptions, known: LogProbs) -> None:
        self.rollouts, self.advantages, self.reference = rollouts, advantages, known.reference
        self.drawn = rollouts.drawn[:, 1:]
        if options.overlong == "mask":
            self.drawn = self.drawn & ~rollouts.cut_off[:, None]
        self.old = rollouts.log_probs[:, 1:]
        self.importance: torch.Tensor | None = None
        self.measures: dict[str, float] = {}
        if known.own is not None:
            self._correct_sampler(known.own, options.importance_cap)

    def _correct_sampler(self, log_probs: torch.Tensor, cap: float | None) -> None:
        """Take the trainer's log-probabilities for the old ones, and weight tokens by how much likelier they are."""
        difference = torch.where(self.drawn, log_probs - self.old, 0.0)
        self.measures["sampler_difference"] = float(difference.abs().sum() / self.drawn.sum().clamp(min=1))
        self.old = log_probs
        if cap is not None:
            self.importance = difference.exp().clamp(max=cap)

    def totals(self, rows: torch.Tensor) -> Totals:
        return Totals(len(rows), int(self.drawn[rows].sum()))

    def by_length(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows in the order of their lengths, so that a part of them is little padded."""
        ends = (self.drawn[rows] * torch.arange(1, self.drawn.shape[1] + 1)).amax(1)
        return rows[ends.argsort(stable=True)]

    def columns(self, rows: torch.Tensor) -> slice:
        """The columns that hold all that counts of some rollouts."""
        counting = self.drawn[rows].any(0).nonzero()
        return slice(int(counting[0]), int(counting[-1]) + 1) if len(counting) else slice(0, 1)
