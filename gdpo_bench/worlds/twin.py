"""The tabular twin: a policy of a few parameters, trained by policy gradient on a world of known replies.

π(a | task) ∝ start(a) · exp(θ · features(a) + easiness(task) · features(a)₁) with θ = W z: the parameters z are shared
by all rewards, so that Adam, which scales each parameter's gradient by itself, cannot stand in for a normalizer. What
turns reward vectors into advantages is what everything else here uses: `compute_advantages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from gdpo_bench.advantages import Normalizer, compute_advantages
from gdpo_bench.core.models import StrictModel
from gdpo_bench.core.scoring import Scores, apply_gates
from gdpo_bench.worlds.world import Floats, Indices, World

_TASKS = 64
_BETAS, _EPSILON = (0.9, 0.95), 1e-8
"""Of Adam, as in training."""
_REPLY_LENGTH = 8.0
"""Tokens of every reply, for estimators that ask: in a table all are equally long."""


class TwinOptions(StrictModel):
    """How the twin is trained."""

    steps: PositiveInt = 40
    """Policy updates from fresh rollouts."""
    prompts: PositiveInt = 16
    """Tasks a step (P)."""
    group_size: PositiveInt = 8
    """Rollouts a task (G)."""
    minibatches: PositiveInt = 2
    """Gradient steps a step, each on its share of the tasks."""
    parameters: PositiveInt = 6
    """Length of z."""
    easiness: NonNegativeFloat = 1.0
    """Standard deviation of the tasks' log-odds of the first feature."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""


@dataclass(frozen=True)
class Outcome:
    """What a trained policy does, exactly: expectations over all tasks and replies, nothing sampled."""

    right: dict[str, float]
    """Reward → share of replies that do what it asks for."""
    mean: dict[str, float]
    """Reward → its mean without noise, gates applied."""
    all_right: float
    """Share of replies that do all that applies to their task."""
    area: float
    """Mean of `all_right` over the steps, before each one: how early it is learned."""


def train(
    world: World,
    normalizer: Normalizer,
    weights: Mapping[str, float],
    *,
    learning_rate: float,
    seed: int,
    options: TwinOptions | None = None,
) -> Outcome:
    """Train a fresh policy.

    Args:
        world: What it is trained on.
        normalizer: Made for this run: it may keep a state.
        weights: Reward → weight, where it is not 1.
        learning_rate: Of Adam.
        seed: Fixes tasks, parameters and rollouts, whatever the normalizer.
        options: How it is trained.

    Returns:
        What it has learned. The same seed gives the same numbers.

    Raises:
        BatchError, DomainError, NormalizerOutputError: See `compute_advantages`.
    """
    options = options or TwinOptions()
    policy = _Policy(world, options, seed)
    rng = np.random.default_rng([seed, 1])
    groups = np.repeat(np.arange(options.prompts), options.group_size)
    lengths = np.full(len(groups), _REPLY_LENGTH)
    area = 0.0
    for _ in range(options.steps):
        area += policy.all_right() / options.steps
        tasks = rng.integers(_TASKS, size=options.prompts)
        probabilities = policy.probabilities()[tasks]
        replies = _draw(probabilities, options.group_size, rng)
        scores = policy.scores(np.repeat(tasks, options.group_size), replies.ravel(), rng)
        advantages = compute_advantages(
            normalizer,
            scores.values,
            groups,
            specs=world.specs,
            weights=weights,
            lengths=lengths,
            applicable=None if scores.applicable.all() else scores.applicable,
        )
        policy.update(probabilities, replies, advantages.numpy().reshape(replies.shape), learning_rate)
    return policy.outcome(area)


@dataclass(frozen=True, eq=False)
class FirstRollouts:
    """What a policy does before it is trained."""

    scores: Scores
    """Of N sampled rollouts."""
    groups: Indices
    """(N,) numbers of their groups."""
    right: dict[str, float]
    """Reward → share of all replies that do what it asks for, exactly."""


def first_rollouts(world: World, *, groups: int, seed: int, options: TwinOptions | None = None) -> FirstRollouts:
    """Sample the policy that `train` starts from, with randomness of its own.

    Args:
        world: What it would be trained on.
        groups: Number of tasks, each with `options.group_size` rollouts.
        seed: That of `train`.
        options: How it would be trained.
    """
    options = options or TwinOptions()
    policy = _Policy(world, options, seed)
    rng = np.random.default_rng([seed, 2])
    tasks = rng.integers(_TASKS, size=groups)
    replies = _draw(policy.probabilities()[tasks], options.group_size, rng)
    scores = policy.scores(np.repeat(tasks, options.group_size), replies.ravel(), rng)
    return FirstRollouts(scores, np.repeat(np.arange(groups), options.group_size), policy.outcome(0.0).right)


class _Policy:
    """θ = W z beside a world's start, and Adam's state."""

    def __init__(self, world: World, options: TwinOptions, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        features, rewards = world.features.shape[1], len(world.specs)
        self._world, self._options = world, options
        self._mixing = rng.normal(size=(features, options.parameters)) / np.sqrt(options.parameters)
        self._easiness = rng.normal(size=_TASKS) * options.easiness
        self._applies = rng.random((_TASKS, rewards)) < world.applicable
        self._z, self._first, self._second = np.zeros((3, options.parameters))
        self._updates = 0

    def probabilities(self) -> Floats:
        """(T, A) of each reply to each task."""
        world = self._world
        logits = np.log(world.start) + world.features @ (self._mixing @ self._z)
        logits = logits + self._easiness[:, None] * world.features[:, 0]
        unscaled = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(unscaled / unscaled.sum(axis=1, keepdims=True))

    def scores(self, tasks: Indices, replies: Indices, rng: np.random.Generator) -> Scores:
        """Rewards of N replies to N tasks, with noise and gates."""
        world = self._world
        raw = world.rewards[replies]
        if world.noise_width.any():
            raw = raw + world.noise_width * rng.uniform(-1, 1, raw.shape)
        scores = Scores.empty(*raw.shape)
        scores.applicable[:] = self._applies[tasks]
        scores.raw[:] = np.where(scores.applicable, raw, 0.0)
        apply_gates(scores, world.specs)
        return scores

    def update(self, probabilities: Floats, replies: Indices, advantages: Floats, learning_rate: float) -> None:
        """One step of Adam for each minibatch of tasks.

        Args:
            probabilities: (P, A) from which was drawn.
            replies: (P, G).
            advantages: (P, G).
            learning_rate: Of Adam.
        """
        features = self._world.features
        directions = (features[replies] - (probabilities @ features)[:, None]) @ self._mixing
        for part in np.array_split(np.arange(len(replies)), min(self._options.minibatches, len(replies))):
            gradient = -(advantages[part][..., None] * directions[part]).mean(axis=(0, 1))
            gradient *= min(1.0, self._options.max_grad_norm / max(float(np.linalg.norm(gradient)), 1e-12))
            self._updates += 1
            self._first = _BETAS[0] * self._first + (1 - _BETAS[0]) * gradient
            self._second = _BETAS[1] * self._second + (1 - _BETAS[1]) * gradient**2
            first = self._first / (1 - _BETAS[0] ** self._updates)
            second = self._second / (1 - _BETAS[1] ** self._updates)
            self._z = self._z - learning_rate * first / (np.sqrt(second) + _EPSILON)

    def all_right(self) -> float:
        """Share of replies that do all that applies to their task."""
        done = (self._world.right[None] | ~self._applies[:, None]).all(axis=2)
        return float((self.probabilities() * done).sum(axis=1).mean())

    def outcome(self, area: float) -> Outcome:
        """What the policy does now."""
        world, probabilities = self._world, self.probabilities().mean(axis=0)
        gated = Scores.empty(*world.rewards.shape)
        gated.applicable[:], gated.raw[:] = True, world.rewards
        apply_gates(gated, world.specs)
        names = [spec.name for spec in world.specs]
        return Outcome(
            right=dict(zip(names, (probabilities @ world.right).tolist(), strict=True)),
            mean=dict(zip(names, (probabilities @ gated.values).tolist(), strict=True)),
            all_right=self.all_right(),
            area=area,
        )


def _draw(probabilities: Floats, group_size: int, rng: np.random.Generator) -> Indices:
    """Replies (P, G), drawn from (P, A)."""
    cumulative = probabilities.cumsum(axis=1)
    drawn = (rng.random((len(probabilities), group_size))[:, :, None] > cumulative[:, None]).sum(axis=2)
    return np.asarray(np.minimum(drawn, probabilities.shape[1] - 1))
