"""Which rewards a normalizer would silence, and what would help, from recorded rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.advantages import DomainError, OptionError, compute_advantages, list_normalizers
from gdpo_bench.advantages.registry import read_normalizer
from gdpo_bench.advantages.signals import centre_within
from gdpo_bench.advice.predictor import LEARNED, SATURATED, Predictor, fitted_predictor
from gdpo_bench.advice.recorded import RecordedRewards
from gdpo_bench.core.errors import GdpoBenchError, UnknownNameError

Floats = NDArray[np.float64]
_RESAMPLES = 400
_LEVEL = 0.95
_WEIGHTS = (2.0, 4.0, 8.0, 16.0)
_LENGTH = 100.0
"""Tokens of every rollout, for estimators that ask: a record of rewards does not tell."""


@dataclass(frozen=True)
class Outlook:
    """What a normalizer would make of one reward."""

    rho: float
    """corr(A, r − group mean)."""
    learned: float
    """Probability that it is learned within the horizon: that half of what is missing now is gained."""
    low: float
    """Lower end of the probability's 95 % interval, over groups and over worlds of the fit."""
    high: float
    """Upper end."""

    @property
    def verdict(self) -> str:
        """`learned` or `silenced` where the interval lies on one side of one half, else `open`."""
        if self.low > LEARNED:
            return "learned"
        return "silenced" if self.high < LEARNED else "open"


@dataclass(frozen=True)
class RewardAdvice:
    """One reward under all normalizers."""

    mean: float
    """As a share of its range."""
    informative: float
    """Share of groups in which it varies."""
    outlooks: dict[str, Outlook]
    """Normalizer → outlook."""
    sentences: list[str]
    """What to expect of the normalizer in use, and what would help."""

    @property
    def had(self) -> bool:
        """Whether there is too little left to be learned for a prediction to mean much."""
        return self.mean >= SATURATED


@dataclass(frozen=True)
class Advice:
    """What a record lets one expect."""

    rewards: dict[str, RewardAdvice]
    left_out: dict[str, str]
    """Normalizers that are not defined for such rewards, with the reason."""


def advise(
    recorded: RecordedRewards,
    normalizers: Sequence[str] | None = None,
    *,
    using: str = "grpo",
    weights: Sequence[float] | None = None,
    predictor: Predictor | None = None,
) -> Advice:
    """Predict which rewards would be learned.

    Args:
        recorded: Rollouts of the policy that is to be trained, before or early in training.
        normalizers: Names with options, as command lines write them; by default all that are registered and need no
            option to be given.
        using: The normalizer for which help is looked for; joins the others.
        weights: K weights of the rewards; 1 by default.
        predictor: Another one than comes with the package.

    Returns:
        An outlook for each reward and normalizer.

    Raises:
        UnknownNameError, OptionError: A normalizer that does not exist so.
        GdpoBenchError: The normalizer in use cannot take these rewards.
    """
    predictor = predictor or fitted_predictor()
    chosen = np.ones(len(recorded.names)) if weights is None else np.asarray(weights, dtype=float)
    names = list(dict.fromkeys([using, *(list_normalizers() if normalizers is None else normalizers)]))
    refusals = (DomainError, OptionError) if normalizers is None else DomainError
    by_name: dict[str, list[Outlook]] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            by_name[name] = outlooks(recorded, name, chosen, predictor)
        except refusals as error:
            left_out[name] = str(error)
    if using in left_out:
        raise GdpoBenchError(f"{using} cannot take these rewards: {left_out[using]}")
    sums = _GroupSums(recorded, np.zeros(len(recorded.groups)))
    rewards = {}
    for k, name in enumerate(recorded.names):
        mean, informative = float(sums.level()[k]), float(sums.informative[k])
        here = {normalizer: found[k] for normalizer, found in by_name.items()}
        help_ = _Help(recorded, using, chosen, predictor, k)
        rewards[name] = RewardAdvice(mean, informative, here, help_.sentences(here, mean, informative))
    return Advice(rewards, left_out)


def moments(recorded: RecordedRewards, normalizer: str, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """What the predictor reads: (K,) ρ, (K,) cov(A, r) / rms(A) in units of the range, and (K,) share of the range had.

    Raises:
        DomainError: The normalizer is not defined for these rewards.
        UnknownNameError: It weighs a reward that is not recorded.
    """
    sums = _GroupSums(recorded, _advantages(recorded, normalizer, weights))
    return sums.correlation(), sums.covariance(), sums.level()


def outlooks(recorded: RecordedRewards, normalizer: str, weights: Floats, predictor: Predictor) -> list[Outlook]:
    """K outlooks under one normalizer; errors as of `moments`."""
    sums = _GroupSums(recorded, _advantages(recorded, normalizer, weights))
    probability = predictor.probability(sums.covariance())
    # The same draws for every normalizer: differences between them are not a matter of luck.
    rng = np.random.default_rng(0)
    counts = rng.multinomial(recorded.group_count, np.full(recorded.group_count, 1 / recorded.group_count), _RESAMPLES)
    coefficients = predictor.resampled[rng.integers(len(predictor.resampled), size=_RESAMPLES)]
    drawn = predictor.probability(sums.covariance(counts), coefficients[:, None])
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    return [
        Outlook(float(rho), float(p), float(min(below, p)), float(max(above, p)))
        for rho, p, below, above in zip(sums.correlation(), probability, low, high, strict=True)
    ]


def _advantages(recorded: RecordedRewards, normalizer: str, weights: Floats) -> Floats:
    """(N,) of the whole record as one batch."""
    function, named = read_normalizer(normalizer)
    if named is not None:
        unknown = [name for name in named if name not in recorded.names]
        if unknown:
            raise UnknownNameError("reward", unknown[0], recorded.names)
        weights = np.array([named.get(name, weight) for name, weight in zip(recorded.names, weights, strict=True)])
    return np.asarray(
        compute_advantages(
            function,
            np.where(recorded.present, recorded.values, 0.0),
            recorded.groups,
            specs=recorded.specs,
            weights=list(weights),
            lengths=np.full(len(recorded.groups), _LENGTH),
            applicable=None if recorded.present.all() else recorded.present,
        )
    )


class _GroupSums:
    """Sums over each group, from which moments of the whole or of resampled groups follow.

    Advantages stay those of the whole batch: what a normalizer takes from other groups hardly changes with them.
    """

    def __init__(self, recorded: RecordedRewards, advantages: Floats) -> None:
        lows, highs = recorded.scale
        shares = np.where(recorded.present, (recorded.values - lows) / (highs - lows), 0.0)
        centred = centre_within(shares, recorded.groups, recorded.present)
        self._total = _by_group(recorded, np.ones((len(advantages), 1)))
        self._squares = _by_group(recorded, advantages[:, None] ** 2)
        self._count = _by_group(recorded, recorded.present)
        self._level = _by_group(recorded, shares)
        self._product = _by_group(recorded, centred * advantages[:, None])
        self._own = _by_group(recorded, centred**2)
        self._squares_here = _by_group(recorded, recorded.present * advantages[:, None] ** 2)

    @property
    def informative(self) -> Floats:
        """(K,) share of groups in which the reward varies."""
        return np.asarray((self._own > 1e-12).mean(0))

    def level(self) -> Floats:
        """(K,) mean as a share of the range."""
        return _ratio(self._level.sum(0), self._count.sum(0))

    def covariance(self, counts: NDArray[np.int64] | None = None) -> Floats:
        """(K,) or (B, K) cov(A, r − group mean) / rms(A), in units of the range."""
        size = np.sqrt(_ratio(self._summed(self._squares, counts), self._summed(self._total, counts)))
        return _ratio(_ratio(self._summed(self._product, counts), self._summed(self._count, counts)), size)

    def correlation(self) -> Floats:
        """(K,) ρ."""
        return _ratio(self._product.sum(0), np.sqrt(self._own.sum(0) * self._squares_here.sum(0)))

    @staticmethod
    def _summed(sums: Floats, counts: NDArray[np.int64] | None) -> Floats:
        return np.asarray(sums.sum(0) if counts is None else counts @ sums)


def _by_group(recorded: RecordedRewards, values: NDArray[np.float64] | NDArray[np.bool_]) -> Floats:
    return np.stack([np.bincount(recorded.groups, column) for column in values.T], axis=1)


def _ratio(over: Floats, under: Floats) -> Floats:
    return np.divide(over, under, out=np.zeros(np.broadcast_shapes(over.shape, under.shape)), where=under > 1e-12)


@dataclass(frozen=True)
class _Help:
    """Looks for what would help one reward under the normalizer in use."""

    recorded: RecordedRewards
    using: str
    weights: Floats
    predictor: Predictor
    k: int

    def sentences(self, outlooks: dict[str, Outlook], mean: float, informative: float) -> list[str]:
        name = self.recorded.names[self.k]
        if mean >= SATURATED:
            return [f"{name} is had already ({mean:.0%} of its range): there is little to learn."]
        if not informative:
            return [
                f"{name} varies in no group: no normalizer can learn it from such rollouts. Give partial credit or "
                "easier prompts, or begin from a policy that earns it now and then."
            ]
        now = outlooks[self.using]
        how = {"learned": "would learn", "silenced": "would silence", "open": "may or may not learn"}[now.verdict]
        found = [f"{self.using} {how} {name}: {_probability(now)}."]
        if now.verdict != "learned":
            found += [
                text for text in (self._normalizers(outlooks), self._weight(), self._gate(), self._rollouts()) if text
            ]
        return found

    def _normalizers(self, outlooks: dict[str, Outlook]) -> str | None:
        better = {name: one for name, one in outlooks.items() if one.low > LEARNED and name != self.using}
        best = sorted(better, key=lambda name: -better[name].learned)[:3]
        return f"Normalizer: {', '.join(f'{name} ({_probability(better[name])})' for name in best)}." if best else None

    def _weight(self) -> str | None:
        before = self._outlooks(self.recorded, self.weights)
        for factor in _WEIGHTS:
            weights = self.weights.copy()
            weights[self.k] *= factor
            after = self._outlooks(self.recorded, weights)
            if after[self.k].learned > LEARNED:
                lost = self._lost(before, after)
                price = f", at the price of {lost}" if lost else ""
                return f"Weight: {factor:g} times as much ({_probability(after[self.k])}){price}."
        return None

    def _gate(self) -> str | None:
        """Others count only where this reward is at its highest value."""
        lows, highs = self.recorded.scale
        values = self.recorded.values.copy()
        missed = ~(values[:, self.k] >= highs[self.k])
        others = [j for j in range(values.shape[1]) if j != self.k]
        if not others or missed.all():
            return None
        for j in others:
            values[missed & self.recorded.present[:, j], j] = np.clip(0.0, lows[j], highs[j])
        ranges = tuple(zip(lows.tolist(), highs.tolist(), strict=True))
        before = self._outlooks(self.recorded, self.weights)
        after = self._outlooks(replace(self.recorded, values=values, ranges=ranges), self.weights)
        if after[self.k].learned <= max(LEARNED, before[self.k].learned):
            return None
        name = self.recorded.names[self.k]
        return f"Gate: let the others count only where {name} is right ({_probability(after[self.k])})."

    def _rollouts(self) -> str | None:
        """How large groups must be for half of them to vary, if each rollout is an own chance at the mean rate."""
        values, present = self.recorded.values[:, self.k], self.recorded.present[:, self.k]
        size = float(np.bincount(self.recorded.groups).mean())
        top = float((values[present] >= self.recorded.scale[1][self.k]).mean())
        if not 0 < top < 0.5 or 1 - (1 - top) ** size >= 0.5:
            return None
        needed = int(np.ceil(np.log(0.5) / np.log(1 - top)))
        return (
            f"More rollouts: at a rate of {top:.1%}, half of the groups hold one at its best from {needed} rollouts on."
        )

    def _outlooks(self, recorded: RecordedRewards, weights: Floats) -> list[Outlook]:
        return outlooks(recorded, self.using, weights, self.predictor)

    def _lost(self, before: Sequence[Outlook], after: Sequence[Outlook]) -> str:
        lost = [j for j in range(len(after)) if j != self.k and before[j].learned > LEARNED >= after[j].learned]
        return ", ".join(self.recorded.names[j] for j in lost)


def _probability(outlook: Outlook) -> str:
    return f"{outlook.learned:.2f}, {outlook.low:.2f} to {outlook.high:.2f}"
