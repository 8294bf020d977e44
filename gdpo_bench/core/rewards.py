"""What a reward is: its declaration, its condition, and the function that computes it."""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Real
from typing import Any, Literal, Never, TypeVar, get_args

from gdpo_bench.core.errors import DeclarationError, UnknownNameError
from gdpo_bench.core.foreign import check_signature, defined_at

RewardKind = Literal["binary", "graded", "penalty"]
"""`binary`: low or high and nothing between. `graded`: anything in the range. `penalty`: at most 0."""

Metric = Literal["accuracy", "format_rate", "exceed_ratio", "bug_ratio"]
"""Canonical metric names of the leaderboard (arXiv 2601.05242, Tables 1 to 4)."""

MOST_REWARDS = 100
"""Rewards of an environment at most: tables and pages compare each, and pairs of them."""

SHORTFALL_METRICS = frozenset({"exceed_ratio", "bug_ratio"})
"""Metrics that count the rollouts *below* full marks; the others count those at full marks."""


@dataclass(frozen=True)
class Gate:
    """Condition under which a reward counts: r̃ = r if r_on ≥ at_least, else 0.

    Source: the conditioned reward of arXiv 2601.05242, section 3.2. The condition reads the
    *raw* value of the other reward, so that gates do not chain.
    """

    on: str
    """Name of the reward that must be reached."""
    at_least: float
    """The value that it must reach."""


@dataclass(frozen=True)
class RewardSpec:
    """Declaration of one reward: everything a normalizer or a reader needs to know of it.

    Raises:
        DeclarationError: The parts contradict each other.
    """

    name: str
    low: float
    """Smallest value, per step and per episode."""
    high: float
    """Largest value, per step and per episode."""
    kind: RewardKind = "graded"
    weight: float = 1.0
    """Default weight. A job may set another one for each normalizer, by name."""
    gate: Gate | None = None
    metric: Metric | None = None
    """Canonical metric that this reward's raw value also feeds, if any."""
    right: float | None = None
    """Raw value from which on a reply is right in this reward; absent: `high`."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or keyword.iskeyword(self.name):
            raise DeclarationError(f"A reward's name must be an identifier, such as 'correct'; got {self.name!r}.")
        if self.kind not in get_args(RewardKind):
            raise DeclarationError(
                f"Reward {self.name!r}: kind must be one of {', '.join(get_args(RewardKind))}; got {self.kind!r}."
            )
        if self.metric is not None and self.metric not in get_args(Metric):
            raise DeclarationError(
                f"Reward {self.name!r}: metric must be one of {', '.join(get_args(Metric))}; got {self.metric!r}."
            )
        for name in ("low", "high", "weight", *(["right"] if self.right is not None else [])):
            number: Any = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, Real):
                raise DeclarationError(f"Reward {self.name!r}: {name} must be a number; got {number!r:.60}.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise DeclarationError(
                f"Reward {self.name!r}: low must be below high, both finite; got [{self.low}, {self.high}]."
            )
        if self.kind == "penalty" and self.high > 0:
            raise DeclarationError(f"Reward {self.name!r}: a penalty is at most 0; got high={self.high}.")
        if not math.isfinite(self.weight):
            raise DeclarationError(f"Reward {self.name!r}: weight must be finite; got {self.weight}.")
        if self.right is not None and not self.low < self.right <= self.high:
            raise DeclarationError(
                f"Reward {self.name!r}: right must lie above low and at most at high, ({self.low}, {self.high}]; got "
                f"{self.right}."
            )
        if self.gate is not None and not self.low <= 0 <= self.high:
            raise DeclarationError(
                f"Reward {self.name!r}: a gated reward becomes 0, which lies outside [{self.low}, {self.high}]."
            )

    @property
    def right_from(self) -> float:
        """Least raw value of a reply that is right in this reward."""
        return self.high if self.right is None else self.right

    def full_marks_count(self) -> bool:
        """Whether the metric counts rollouts at full marks (`True`) or below them."""
        return self.metric not in SHORTFALL_METRICS


def check_specs(specs: Sequence[RewardSpec], where: Callable[[str], str] = lambda name: "") -> None:
    """Check that names and metrics are unique and gates lead to rewards of the same environment.

    Args:
        specs: The declarations.
        where: Name of a reward → file and line, for messages.

    Raises:
        DeclarationError: There are too many; a name or a metric occurs twice; or a reward is conditioned on itself, be
            it through others.
        UnknownNameError: A gate names a reward that does not exist.
    """
    names = [spec.name for spec in specs]
    if len(names) > MOST_REWARDS:
        raise DeclarationError(f"{len(names):,} rewards; an environment has at most {MOST_REWARDS}.")
    if len(set(names)) != len(names):
        raise DeclarationError(f"Reward names must be unique; got {', '.join(names)}.")
    for spec, other in combinations(specs, 2):
        if spec.metric is not None and spec.metric == other.metric:
            raise DeclarationError(
                f"Rewards {spec.name!r} and {other.name!r} both feed the metric {spec.metric!r}, of which a table "
                "shows one; leave it to one of them."
            ).at(where(other.name))
    for spec in specs:
        if spec.gate is None:
            continue
        if spec.gate.on == spec.name:
            raise DeclarationError(f"Reward {spec.name!r} is conditioned on itself; name another reward.").at(
                where(spec.name)
            )
        if spec.gate.on not in names:
            raise UnknownNameError(f"reward in the gate of {spec.name!r}", spec.gate.on, names).at(where(spec.name))
    if circle := _circle({spec.name: spec.gate.on for spec in specs if spec.gate is not None}):
        *before, last = map(repr, circle)
        raise DeclarationError(f"The gates of {', '.join(before)} and {last} wait for each other; remove one.").at(
            where(circle[0])
        )


def _circle(on: Mapping[str, str]) -> list[str]:
    """Names that lead to each other and back, in this order; none where all chains end."""
    for name in on:
        chain = [name]
        while (following := on.get(chain[-1])) is not None and following not in chain:
            chain.append(following)
        if following == name:
            return chain
    return []


@dataclass(frozen=True)
class RewardFunction:
    """A declared reward and the method that computes it."""

    spec: RewardSpec
    method: str
    """Name of the environment's method."""
    batched: bool
    """Whether the method takes all tasks and replies at once."""


_MARK = "__gdpo_bench_reward__"
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def reward(
    *unnamed: Never,
    low: float | None = None,
    high: float | None = None,
    kind: RewardKind = "graded",
    weight: float = 1.0,
    gate: Gate | None = None,
    metric: Metric | None = None,
    right: float | None = None,
    batched: bool = False,
) -> Callable[[FunctionT], FunctionT]:
    """Declare a method of a `TextEnv` as one of its rewards; the method's name is the reward's.

    The method is `(self, task, reply) -> float`, or with `batched=True`
    `(self, tasks, replies) -> Sequence[float]`; either may be `async`. `None` in place of a value
    means "not applicable to this task". An exception means "the scorer failed": it sets the
    `failed` mask; but `UnavailableError`, for what is missing on this machine, ends the step. A
    batched method that failed on single rollouts returns the exceptions in place of their values;
    if it raises one, each rollout is tried by itself.

    Args:
        *unnamed: None; everything goes by name.
        low: Smallest value that the reward can take; required.
        high: Largest value that the reward can take; required.
        kind: See `RewardKind`.
        weight: Default weight.
        gate: Condition under which the reward counts.
        metric: Canonical metric that the reward feeds.
        right: Raw value from which on a reply is right in this reward; `high` if absent. Tables lead with the share of
            replies that are right in all of them.
        batched: Whether the method scores all rollouts in one call.

    Returns:
        A decorator that leaves the method as it is.

    Raises:
        DeclarationError: There is no range, or the parts contradict each other.
    """
    if unnamed or low is None or high is None:
        bare = next(filter(inspect.isfunction, unnamed), None)
        raise DeclarationError(
            f"@reward{f' of {bare.__name__!r}' if bare else ''} needs its range, by name: @reward(low=0, high=1)."
        ).at(defined_at(bare) if bare else "")

    def mark(function: FunctionT) -> FunctionT:
        spec = RewardSpec(function.__name__, low, high, kind, weight, gate, metric, right)
        setattr(function, _MARK, RewardFunction(spec, function.__name__, batched))
        return function

    return mark


def declared_rewards(cls: type) -> tuple[RewardFunction, ...]:
    """The rewards of an environment class, in order of declaration, those of base classes first."""
    found: dict[str, RewardFunction] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            declared = getattr(member, _MARK, None)
            if declared is not None:
                found[name] = declared
            elif name in found:
                found.pop(name)  # a subclass replaced the reward by something else
    return tuple(found.values())


def check_methods(cls: type, functions: Sequence[RewardFunction]) -> None:
    """Check that reward methods can be called as they will be.

    Args:
        cls: The environment's class.
        functions: Its rewards.

    Raises:
        DeclarationError: One is an asynchronous generator, or takes other arguments.
    """
    for function in functions:
        member = inspect.getattr_static(cls, function.method)
        method = member.__func__ if isinstance(member, staticmethod | classmethod) else member
        what = f"{cls.__name__}: reward {function.spec.name!r}"
        if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
            kind = "an asynchronous generator" if inspect.isasyncgenfunction(method) else "a generator"
            raise DeclarationError(f"{what} is {kind}, which gives more than one value: `return` it, not `yield`.").at(
                defined_at(method, "def")
            )
        arguments = ["tasks", "replies"] if function.batched else ["task", "reply"]
        check_signature(cls, function.method, what, ["self", *arguments])
