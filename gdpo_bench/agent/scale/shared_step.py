"""The training step in several processes, each of which plays its share of the prompts and learns from all."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch

from gdpo_bench.agent.loss import Batch, added
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Replies, Rollouts, Score, concatenate_replies
from gdpo_bench.agent.scale.processes import World
from gdpo_bench.agent.scale.sharding import ShardedWeights
from gdpo_bench.agent.step import Measures, TrainingStep
from gdpo_bench.core.scoring import Scores


class SharedStep(TrainingStep):
    """A `TrainingStep` that all processes take at the same time, with one outcome."""

    def __init__(self, world: World, *given: Any, **options: Any) -> None:
        """Begin together.

        Args:
            world: The processes.
            *given: As for `TrainingStep`; the environment is this process's share.
            **options: Likewise.
        """
        self.world, self.processes = world, world.size
        super().__init__(*given, **options)

    def draw(self, seed: int | None) -> tuple[Replies, Score]:
        """The rollouts of all processes, in all of them."""
        mine, score = self.world.barrier(lambda: self.own_draw(seed))
        replies = concatenate_replies(self.world.all_gather(lambda: mine))
        self.tally.tokens += int(replies.completion_mask.sum() - mine.completion_mask.sum())

        def scores() -> Scores:
            everyones = reduce(Scores.stack, self.world.all_gather(score))
            return self.tally.checked(everyones, self.options.max_failed_share)

        return replies, scores

    def advantages(self, rollouts: Rollouts) -> torch.Tensor:
        """By one process: a normalizer of the user's own may hold a state, or draw random numbers."""
        return self.world.broadcast(lambda: super(SharedStep, self).advantages(rollouts))

    def shuffled(self, count: int) -> torch.Tensor:
        """The first process's order."""
        return self.world.broadcast(lambda: super(SharedStep, self).shuffled(count))

    def passes(self, batch: Batch, rows: torch.Tensor, size: int) -> Measures | None:
        """Each process passes over its share; None where memory runs out in any."""
        totals, share = batch.totals(rows), self.world.share(rows)
        found = self.world.all_gather(lambda: self.own_passes(batch, share, totals, size))
        measures = [one for one in found if one is not None]
        return added(measures) if len(measures) == len(found) else None

    def update(self, learning_rate: float) -> torch.Tensor:
        """Gradients are added up, each process steps with its part, and all compute with the whole."""
        with self.world.in_step():
            self.weights.reduce_gradients()
            norm = super().update(learning_rate)
            self.weights.renew()
            return self.weights.whole(norm)

    def all_log_probs(self, policy: Policy, replies: Replies, share: slice = slice(None)) -> torch.Tensor:
        """Each process computes its share."""
        rank, size = self.world.rank, self.world.size
        own = super().all_log_probs
        shares = self.world.all_gather(lambda: own(policy, replies, slice(rank, None, size)))
        found = torch.empty(len(replies), replies.token_ids.shape[1] - 1)
        for number, part in enumerate(shares):
            found[number::size] = part
        return found

    def make_weights(self) -> ShardedWeights:
        """The model's weights, spread over the processes."""
        return ShardedWeights(self.policy.model, self.world)
