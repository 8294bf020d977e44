"""The training step in several processes, each of which plays its share of the prompts and learns from all."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

import torch

from gdpo_bench.agent.loss import Batch, Measures, Totals, added
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Replies, Rollouts, Score, concatenate_replies
from gdpo_bench.agent.scale.processes import World
from gdpo_bench.agent.scale.sharding import ShardedWeights
from gdpo_bench.agent.step import TrainingStep
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
        self.world = world
        super().__init__(*given, weights_of=partial(ShardedWeights, world=world), **options)

    def play(self, seed: int | None) -> tuple[Replies, Score]:
        """The replies of all processes, in all of them."""
        mine, score = self.world.barrier(lambda: super(SharedStep, self).play(seed))
        replies = concatenate_replies(self.world.all_gather(lambda: mine))
        return replies, lambda: reduce(Scores.stack, self.world.all_gather(score))

    def advantages(self, rollouts: Rollouts) -> torch.Tensor:
        """By one process: a normalizer of the user's own may hold a state, or draw random numbers."""
        return self.world.broadcast(lambda: super(SharedStep, self).advantages(rollouts))

    def shuffled(self, count: int) -> torch.Tensor:
        """The first process's order."""
        return self.world.broadcast(lambda: super(SharedStep, self).shuffled(count))

    def passes(self, batch: Batch, rows: torch.Tensor, totals: Totals) -> Measures | None:
        """Each process passes over its share; None where memory runs out in any."""
        share = self.world.share(rows)
        found = self.world.all_gather(lambda: super(SharedStep, self).passes(batch, share, totals))
        measures = [one for one in found if one is not None]
        return added(measures) if len(measures) == len(found) else None

    def update(self, learning_rate: float) -> torch.Tensor:
        """Gradients are added up, each process steps with its part, and all compute with the whole."""
        with self.world.in_step():
            self.weights.reduce_gradients()
            norm = super().update(learning_rate)
            self.weights.renew()
            return self.weights.whole(norm)

    def all_log_probs(self, policy: Policy, token_ids: torch.Tensor) -> torch.Tensor:
        """Each process computes its share."""
        share = self.world.share(token_ids)
        shares = self.world.all_gather(lambda: super(SharedStep, self).all_log_probs(policy, share))
        found = torch.empty(len(token_ids), token_ids.shape[1] - 1)
        for number, part in enumerate(shares):
            found[number :: self.world.size] = part
        return found
