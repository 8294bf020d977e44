"""What a leaderboard entry holds, and how its id follows from that.

An entry is one normalizer configuration on one environment: what was run, what was measured for
each seed, and where it ran. Entries are immutable; a correction is a new entry that `supersedes`
the old one. Beside an entry lies its sidecar, the raw reward vectors that its numbers follow from
(see `sidecar`). Entries of format 1 had none; they stay as they are.

The id is a hash of what was run and what came out. Outside the hash stay `id` itself,
`supersedes`, and `provenance`: who ran it, when, from which commit, with which versions, on which
host, for how long. So whoever repeats a run on the same kind of CPU gets the same id, whatever
the day and the machine, and an id that differs means that the *numbers* differ. Were the commit
or the versions in it, every unrelated change would make every result look new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.models import problems
from gdpo_bench.core.rewards import Gate, Metric, RewardKind, RewardSpec, check_specs
from gdpo_bench.core.schedules import KIND, NUMBER, SCHEDULE, Schedule
from gdpo_bench.core.task import canonical_json, content_hash
from gdpo_bench.leaderboard.files.removed_options import with_added, without_removed

SCHEMA_VERSION = 2
YOUNGER_OPTIONS = {
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-8,
    "eval_top_k": 0,
    "eval_min_p": 0.0,
    "eval_samples": 1,
    "max_prompt_tokens": None,
    "kl_reward_coefficient": 0.0,
    "entropy_coefficient": 0.0,
}
"""Training option → its value in runs of entries that are older than it and do not name it."""
UNSAID_OPTIONS = {
    "eval_samples": 1,
    "max_prompt_tokens": None,
    "kl_reward_coefficient": 0.0,
    "entropy_coefficient": 0.0,
}
"""Training option → the value at which entries do not name it, so that the same runs keep their ids."""
_TOLERANCE = 1e-9
"""Slack of a mean on the range of what it averages."""

MOST_RESULTS = 2_000
"""Seeds of an entry at most: tables and pages resample them."""
LONGEST_PART = 2**18
"""Characters of options, details or a plan, each as JSON."""
_MOST_NAMES = 1_000
"""Packages, variables or measures that one part names, at most."""

Track = Literal["training", "advantage"]
"""`training`: a policy was trained. `advantage`: given replies were scored, nothing was trained."""


def _as_json_returns_it(value: dict[str, Any]) -> dict[str, Any]:
    """Tuples become lists and keys text, so that an entry equals itself read from its file."""
    try:
        text = canonical_json(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be JSON-able (text, finite numbers, lists, dicts): {error}") from error
    if len(text) > LONGEST_PART:
        raise ValueError(f"has {len(text):,} characters as JSON; at most {LONGEST_PART:,} are read")
    fields: dict[str, Any] = json.loads(text)
    return fields


def _bounded(value: float) -> float:
    if abs(value) > _LARGEST:
        raise ValueError(f"must lie within ±{_LARGEST:g}")
    return value + 0.0  # -0.0 becomes 0.0


_LARGEST = 1e100
"""No measured number may be larger, so that squares and sums stay finite."""
_RANGES = 1e-9, 1e12
"""Widths of rewards' ranges, and their largest bound, that tables and charts can show."""
Finite = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_bounded)]
Share = Annotated[Finite, Field(ge=0, le=1)]
T = TypeVar("T")
Listed = Annotated[list[T], FailFast()]
"""A list that is refused at its first bad item: half a million complaints take a gigabyte."""
Texts = Annotated[dict[str, str], Field(max_length=_MOST_NAMES)]
JsonDict = Annotated[dict[str, Any], AfterValidator(_as_json_returns_it)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]
EnvId = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z][A-Za-z0-9_-]*/[A-Za-z][A-Za-z0-9_.]*-v[0-9]+|[a-z][a-z0-9_]*:[A-Za-z][A-Za-z0-9_.]*)$",
        max_length=200,
    ),
]
"""`namespace/Name-v0`, or `scheme:name` of another library's environment."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class GateDeclaration(_Part):
    """The condition under which a reward counts."""

    on: Text
    """Name of the reward whose raw value decides."""
    at_least: Finite
    """The value that it must reach."""


class RewardDeclaration(_Part):
    """A reward as the environment declared it when it was run."""

    name: Text
    low: Finite
    high: Finite
    kind: RewardKind
    weight: Finite
    """Default weight; what was used stands with the normalizer."""
    gate: GateDeclaration | None
    metric: Metric | None
    """Canonical metric that the raw reward feeds."""
    right: Finite | None = None
    """Raw value from which on a reply is right; `high` where it is absent, as in all entries before there was one."""

    @property
    def spec(self) -> RewardSpec:
        """The declaration as estimators and evaluations take it.

        Raises:
            DeclarationError: Its parts contradict each other.
        """
        gate = None if self.gate is None else Gate(self.gate.on, self.gate.at_least)
        return RewardSpec(self.name, self.low, self.high, self.kind, self.weight, gate, self.metric, self.right)

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high; got [{self.low:g}, {self.high:g}]")
        narrowest, largest = _RANGES
        if self.high - self.low < narrowest or max(abs(self.low), abs(self.high)) > largest:
            raise ValueError(
                f"a range is at least {narrowest:g} wide and within ±{largest:g}; got [{self.low:g}, {self.high:g}]"
            )
        return self


class Environment(_Part):
    """What was asked, and what it was judged by."""

    id: EnvId
    options: JsonDict
    """Everything that was passed to the environment."""
    rewards: Annotated[Listed[RewardDeclaration], Field(min_length=1)]
    """In order of declaration."""
    reward_spec_hash: Hash
    """Follows from `rewards`."""
    split: Text
    """Split that the results were measured on."""
    num_tasks: PositiveInt
    """Distinct tasks of that split."""
    task_ids_hash: Hash
    """Of the sorted ids of these tasks."""
    data_revision: str | None
    """Of the data source, where there is one."""
    grader_revision: PositiveInt = 1
    """Of the reward functions: raised when one gives another number for some reply while the id stays."""

    @classmethod
    def describe(
        cls,
        id: str,
        *,
        options: dict[str, Any],
        specs: Sequence[RewardSpec],
        split: str,
        task_ids: Iterable[str],
        data_revision: str | None = None,
        grader_revision: int = 1,
    ) -> Self:
        """Compose the description and both hashes.

        Args:
            id: The environment's id.
            options: What was passed to it.
            specs: Its rewards, in order.
            split: Split that the results were measured on.
            task_ids: Ids of that split's tasks, in any order.
            data_revision: Revision of the data source, where there is one.
            grader_revision: Revision of the reward functions.
        """
        tasks = sorted(set(task_ids))
        rewards = [RewardDeclaration(**asdict(spec)) for spec in specs]
        return cls(
            id=id,
            options=options,
            rewards=rewards,
            reward_spec_hash=_rewards_hash(rewards),
            split=split,
            num_tasks=len(tasks),
            task_ids_hash=content_hash(tasks),
            data_revision=data_revision,
            grader_revision=grader_revision,
        )

    @model_validator(mode="after")
    def _hash_follows(self) -> Self:
        if self.reward_spec_hash != _rewards_hash(self.rewards):
            raise ValueError("reward_spec_hash does not follow from rewards")
        if len({reward.name for reward in self.rewards}) != len(self.rewards):
            raise ValueError("names of rewards must be unique")
        try:
            check_specs([reward.spec for reward in self.rewards])
        except GdpoBenchError as error:
            raise ValueError(str(error)) from error
        return self


def _rewards_hash(rewards: Sequence[RewardDeclaration]) -> str:
    return content_hash(without_right([reward.model_dump(mode="json") for reward in rewards]))


def without_right(rewards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Declarations as they are written: older entries, and their hashes, know no `right`."""
    return [{key: value for key, value in one.items() if key != "right" or value is not None} for one in rewards]


class NormalizerConfig(_Part):
    """How rewards became advantages."""

    name: Text
    options: JsonDict
    """Every degree of freedom, defaults included."""
    weights: dict[str, Annotated[Annotated[Finite, NUMBER] | Annotated[Schedule, SCHEDULE], KIND]]
    """Reward name → weight used, or the schedule that it followed. The same weight means different things to different
    normalizers."""

    @property
    def live_options(self) -> dict[str, Any]:
        """The options under today's names: but for removed ones at their old defaults, with those that came later."""
        return with_added(self.name, without_removed(self.name, self.options))


class _Imitated(BaseModel):
    """An environment whose demonstrations a warm start imitated."""

    model_config = ConfigDict(extra="forbid")

    id: Text
    """As the job named it, so perhaps `module:namespace/Name-v0`; whoever runs the entry again decides on importing."""
    options: dict[str, Any]


class _Config(BaseModel):
    """Options of a policy; which there are depends on its kind."""

    model: Text | None = None
    revision: Text | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)


class _Details(BaseModel):
    """Shapes of those details of a policy that are read, by tables or to run it again; others may be anything."""

    config: _Config = _Config()
    rollout: Text = "transformers"
    warm_start_envs: Listed[_Imitated] = Field(default_factory=list)
    warm_start_corpus: dict[Annotated[str, Field(pattern=r"^[0-9]{1,20}$")], Text] = Field(default_factory=dict)
    chat_template: Text | None = None
    commit: Text | None = None
    processes: PositiveInt = 1
    rollouts: PositiveInt = 1
    completions: Text | None = None


class _Trained(BaseModel):
    """Shapes of those training options that tables read; others may be anything."""

    learning_rate: Annotated[float, Field(gt=0)] | None = None


def _with_shape(fields: dict[str, Any], shape: type[BaseModel]) -> dict[str, Any]:
    """The fields as they are, if they have the shape.

    Raises:
        ValueError: They do not; all that differs is named.
    """
    try:
        shape.model_validate(fields, strict=True)
    except ValidationError as error:
        raise ValueError(problems(error)) from error
    return fields


def _shaped_details(details: dict[str, Any]) -> dict[str, Any]:
    return _with_shape(details, _Details)


def _shaped_training(training: dict[str, Any]) -> dict[str, Any]:
    return _with_shape(training, _Trained)


class PolicyConfig(_Part):
    """Who replied."""

    name: Text
    """`mini`, `oracle`, `replay:<what>`, …"""
    details: Annotated[JsonDict, AfterValidator(_shaped_details)]
    """What pins it: configuration, warm start, hash of the corpus, sampling, …"""


class Seed(_Part):
    """What fixed the randomness of one run."""

    warm_start: int | None
    """Seed of the policy that training began from; `None` for a given (pretrained) policy."""
    rl: int
    """Seed of everything after: tasks, sampling, minibatches."""


class Curve(_Part):
    """One quantity at every evaluation point."""

    curve: Annotated[Listed[Finite], Field(min_length=1)]
    final: Finite
    """The last point of the curve."""

    @classmethod
    def of(cls, points: Iterable[float]) -> Self:
        """From the points alone, at least one."""
        curve = list(points)
        return cls(curve=curve, final=curve[-1])

    @model_validator(mode="after")
    def _final_is_the_last_point(self) -> Self:
        if self.final != self.curve[-1]:
            raise ValueError(f"final must be the curve's last point, {self.curve[-1]}; got {self.final}")
        return self

    @property
    def area(self) -> float:
        """Mean of the curve: rewards early learning, in the reward's own units."""
        return sum(self.curve) / len(self.curve)


class SeedResult(_Part):
    """What one seed measured."""

    seed: Seed | None
    """`None` where nothing is random (replays of given replies)."""
    steps: Annotated[Listed[NonNegativeInt], Field(min_length=1)]
    """Training steps at which the policy was evaluated; `[0]` for a single evaluation."""
    rewards: dict[str, Curve]
    """Reward name → mean over the rollouts that it applies to (0 where there are none), gates applied."""
    metrics: dict[Metric, Curve]
    """Canonical metric → share of rollouts."""
    diagnostics: Annotated[dict[str, Finite], Field(max_length=_MOST_NAMES)]
    """`distinct_levels`, `zero_signal_share`, …"""
    applicable_share: dict[str, Share] = Field(default_factory=dict)
    """Reward name → share of rollouts it applies to, for rewards that do not apply everywhere."""
    all_right: Curve | None = Field(default=None, exclude=True)
    """Share of rollouts that are right in every reward. Never written: it follows from the sidecar, and is there where
    that was read (`all_right.completed`)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.steps)):
            raise ValueError(f"steps must increase; got {self.steps}")
        for name, measured in (*self.rewards.items(), *self.metrics.items()):
            if len(measured.curve) != len(self.steps):
                raise ValueError(f"{name!r} has {len(measured.curve)} points for {len(self.steps)} steps")
        for name, share in self.metrics.items():
            if not all(-_TOLERANCE <= point <= 1 + _TOLERANCE for point in share.curve):
                raise ValueError(f"metric {name!r} is a share and must lie in [0, 1]")
        if unknown := sorted(self.applicable_share.keys() - self.rewards.keys()):
            raise ValueError(f"applicable_share names no reward: {', '.join(unknown)}")
        return self


class Hardware(_Part):
    """The machine that ran it."""

    cpu: str
    cores: PositiveInt
    memory_gb: NonNegativeFloat
    gpu: str | None
    platform: str
    processor: Texts | None = None
    """Family, model, stepping and flags, see `core.processor.cpu_info`; `None` in older entries."""


class Cost(_Part):
    """What it took, over all seeds."""

    wall_s: NonNegativeFloat
    """Seconds, added up over the seeds."""
    tokens: NonNegativeInt | None
    """Generated tokens, training and evaluation."""
    gpu_hours: NonNegativeFloat | None = None
    """Hours × GPUs; `None` where none was used."""


class RolloutEngine(_Part):
    """What drew the replies."""

    name: Text
    """`transformers` or `vllm`."""
    version: Text
    device: Text
    """`cpu` or `cuda`."""


class Provenance(_Part):
    """Who ran it, when, how and where. Not part of the id."""

    author: Text
    date: AwareDatetime
    command: Text
    git_sha: str | None
    git_dirty: bool | None
    """Whether the code differed from that commit."""
    versions: Texts
    """Package → version; `python` and `gdpo_bench` among them."""
    lock_hash: Hash | None = None
    """Of all installed packages with their versions, see `provenance.lock_hash`; `None` in format 1."""
    engine: RolloutEngine | None = None
    """`None` where replies were given."""
    hardware: Hardware
    arithmetic: Texts | None = None
    """Environment variables that decided the last bits, see `core.processor`; `None` in older entries."""
    programs: Texts | None = None
    """What ran programs from replies: `python` and the packages there were, with their versions; `None` in older
    entries, and where none were run."""
    cost: Cost
    status: Literal["self-reported", "reproduced"]
    """`reproduced`: somebody else repeated it and got the same."""


ALL_RIGHT = "all right"
"""Name of the primary endpoint: the share of replies that are right in every reward."""
MOST_HORIZONS = 100
"""Steps at which a plan's tables compare, at most: each makes a table of its own."""
MOST_EXTENDED = 100
"""Plans that one may go on with."""


class _Tuned(BaseModel):
    """How a plan tunes."""

    learning_rates: Annotated[Listed[float], Field(min_length=1)]
    options: dict[str, Annotated[Listed[dict[str, Any]], Field(min_length=1)]] = Field(default_factory=dict)
    seeds: Annotated[list[Any], Field(min_length=1)]
    target: Text = ALL_RIGHT


class _Declared(BaseModel):
    """Shapes of those parts of a plan that tables read; others may be anything."""

    horizons: Annotated[Listed[PositiveInt], Field(max_length=MOST_HORIZONS)] = Field(default_factory=list)
    tuning: _Tuned | None = None
    extends: Hash | Annotated[list[Hash], Field(max_length=MOST_EXTENDED)] | None = None


def _shaped_plan(declared: dict[str, Any]) -> dict[str, Any]:
    return _with_shape(declared, _Declared)


class PlanReference(_Part):
    """The plan that a result belongs to, declared before there were results."""

    hash: Hash
    """Follows from `declared`."""
    role: Literal["tuning", "test"]
    """`tuning`: the result helped to choose training options, and stands in no comparison."""
    declared: Annotated[JsonDict, AfterValidator(_shaped_plan)]
    """Environments, normalizers, seeds, number of clusters, training, tuning with its target, horizons, and the plan
    or plans that it `extends`, if any."""

    @classmethod
    def of(cls, declared: dict[str, Any], role: Literal["tuning", "test"]) -> Self:
        """The reference to a plan."""
        return cls(hash=content_hash(declared), role=role, declared=declared)

    @model_validator(mode="after")
    def _hash_follows(self) -> Self:
        if self.hash != content_hash(self.declared):
            raise ValueError("plan.hash does not follow from plan.declared")
        return self

    @property
    def extended(self) -> frozenset[str]:
        """Hashes of the plans that it goes on with."""
        said: str | list[str] | None = self.declared.get("extends")
        return frozenset([said] if isinstance(said, str) else said or ())

    @property
    def horizons(self) -> list[int]:
        """Steps at which its tables compare; none: at the end."""
        return sorted(set(self.declared.get("horizons", ())))

    @property
    def target(self) -> str | None:
        """What tuning goes by; `None` where nothing is tuned."""
        tuning = self.declared.get("tuning")
        return None if tuning is None else str(tuning.get("target", ALL_RIGHT))


class Entry(_Part):
    """A leaderboard entry; see the module's first lines. Compose one with `make_entry`."""

    schema_version: Literal[1, 2]
    """The format it was written in."""
    id: Hash
    """Follows from everything but `id`, `provenance` and `supersedes`."""
    track: Track
    division: Literal["closed", "open"]
    """`closed`: only the normalizer departs from the benchmark's job. `open`: anything may."""
    environment: Environment
    normalizer: NormalizerConfig
    policy: PolicyConfig
    training: Annotated[JsonDict, AfterValidator(_shaped_training)] | None
    """The trainer's options; `null` on the advantage track."""
    results: Annotated[Listed[SeedResult], Field(min_length=1, max_length=MOST_RESULTS)]
    """One per seed, sorted by seed."""
    plan: PlanReference | None = None
    """The plan that it belongs to; `None` where none was declared, as in older entries, which lack it."""
    sidecar: Sha256 | None = None
    """SHA-256 of the sidecar's content, uncompressed; `None` in format 1."""
    provenance: Provenance
    supersedes: Hash | None
    """Id of the entry that this one corrects."""

    def trained_with(self) -> dict[str, Any]:
        """`training`, and what was the case where it is older than an option; empty on the advantage track."""
        return {} if self.training is None else YOUNGER_OPTIONS | self.training

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.training is not None) != (self.track == "training"):
            raise ValueError("training options belong to the training track, and only there")
        if (self.sidecar is None) != (self.schema_version == 1):
            raise ValueError(f"format {SCHEMA_VERSION} needs a sidecar, and format 1 has none")
        if self.supersedes == self.id:
            raise ValueError("an entry cannot supersede itself")
        if self.plan is not None and self.plan.target is not None and not (self.training or {}).get("learning_rate"):
            raise ValueError("training.learning_rate must be there where plan.declared.tuning chooses it")
        declared = {reward.name: reward for reward in self.environment.rewards}
        _check_names("normalizer.weights", self.normalizer.weights, declared)
        if any(result.seed is None for result in self.results) and (self.training is not None or len(self.results) > 1):
            raise ValueError("results have a seed each; only a single one on the advantage track has none")
        order = [seed_order(result.seed) for result in self.results]
        if any(later <= earlier for earlier, later in pairwise(order)):
            raise ValueError("results must be sorted by seed, each seed once")
        for i, result in enumerate(self.results):
            _check_names(f"results[{i}].rewards", result.rewards, declared)
            _check_names(f"results[{i}].metrics", result.metrics, self.results[0].metrics)
            for name, measured in result.rewards.items():
                low, high = declared[name].low, declared[name].high
                applies = result.applicable_share.get(name, 1.0) > 0
                if applies and not all(low - _TOLERANCE <= point <= high + _TOLERANCE for point in measured.curve):
                    raise ValueError(f"results[{i}].rewards.{name} leaves the declared range [{low}, {high}]")
        return self


def _check_names(what: str, found: Iterable[str], expected: Iterable[str]) -> None:
    if set(found) != set(expected):
        raise ValueError(f"{what} must name {', '.join(sorted(expected))}; got {', '.join(sorted(found)) or 'nothing'}")


def seed_order(seed: Seed | None) -> tuple[int, int, int]:
    """Sorting key of results: no seed first, then by warm start, then by RL seed."""
    if seed is None:
        return (0, 0, 0)
    if seed.warm_start is None:
        return (1, 0, seed.rl)
    return (2, seed.warm_start, seed.rl)


def json_schema_text() -> str:
    """The JSON Schema of entry files, for readers that are not Python."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Entry.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, sort_keys=True, indent=2) + "\n"
