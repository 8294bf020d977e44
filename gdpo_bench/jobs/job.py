"""A job: the file a benchmark run starts from, checked field by field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.task import canonical_json, content_hash

PRESETS = Path(__file__).parent / "presets"


class JobError(GdpoBenchError, ValueError):
    """A job that cannot be run as it is written."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: `1e-4` is a float, and `1:0` is a text, not sixty. No field stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping without repeated keys, of which plain YAML would silently take the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is set twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"([-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def parse_choice(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name` or `name:option=value,option=value`, as command lines give it.

    Raises:
        JobError: An option without a value, or with one that cannot be read.
    """
    found = re.fullmatch(r"(?P<name>.+?)(:(?P<options>[\w.]+=.*))?", text, re.DOTALL)
    if found is None:
        raise JobError(f"Expected name or name:option=value; got {text!r}.")
    options = {}
    for part in (found["options"] or "").split(",") if found["options"] else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise JobError(f"{text!r}: expected option=value; got {part!r}.")
        try:
            options[key] = yaml.load(value, _Loader)
        except yaml.YAMLError as error:
            raise JobError(f"{text!r}: cannot read the value of {key}, {value!r}.") from error
    return found["name"], options


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _finite(options: dict[str, Any]) -> dict[str, Any]:
    try:
        canonical_json(options)
    except ValueError as error:
        raise ValueError("numbers must be finite") from error
    return options


Options = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class EnvChoice(_Strict):
    """An environment and its options."""

    id: str
    options: Options = {}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, options = parse_choice(value)
        return {"id": name, "options": options}


class NormalizerChoice(_Strict):
    """A normalizer, its options, and the weights it gives the rewards."""

    normalizer: str
    options: Options = {}
    weights: dict[str, FiniteFloat] = {}
    """Reward → weight; rewards left out keep their declared weight."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, options = parse_choice(value)
        weights = {
            key.removeprefix("weights."): options.pop(key) for key in list(options) if key.startswith("weights.")
        }
        return {"normalizer": name, "options": options, "weights": weights}

    @property
    def label(self) -> str:
        """A short text that tells configurations of a job apart."""
        parts = [f"{key}={value}" for key, value in self.options.items()]
        parts += [f"weights.{key}={value:g}" for key, value in self.weights.items()]
        return self.normalizer + (":" + ",".join(parts) if parts else "")


class SeedPair(_Strict):
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


class Job(_Strict):
    """Every environment × every normalizer × every seed."""

    name: str = Field(default="job", pattern=r"^[A-Za-z0-9_.-]+$")
    """Names the run folder."""
    envs: tuple[EnvChoice, ...] = Field(min_length=1)
    """`gdpo/MathMini-v0`, or `{id, options}`."""
    normalizers: tuple[NormalizerChoice, ...] = Field(default=("grpo", "gdpo"), min_length=1, validate_default=True)
    """`gdpo`, `gdpo:eps=1e-4`, or `{normalizer, options, weights}`."""
    seeds: tuple[SeedPair, ...] = Field(default=(0, 1, 2), min_length=1, validate_default=True)
    """A number, `warm_start:rl`, or `{warm_start, rl}`."""
    policy: str = "mini"
    """`mini` (trained; `mini:warm_start_steps=400` sets options), `oracle` (reference replies) or
    `replay:FILE` (given replies)."""
    rollout: str = "transformers"
    """What draws completions in training."""
    training: TrainingOptions = TrainingOptions()
    optional: tuple[str, ...] = ()
    """Ids of environments that are left out, visibly, where what they need is missing."""
    data_dir: str | None = None
    """Folder with data sets; `GDPO_BENCH_DATA` or the internet when absent."""

    @field_validator("envs", "normalizers", "seeds", mode="after")
    @classmethod
    def _no_repetition(cls, chosen: tuple[Any, ...]) -> tuple[Any, ...]:
        for i, choice in enumerate(chosen):
            if choice in chosen[:i]:
                raise ValueError(f"listed twice: {choice!r}")
        return chosen

    @property
    def key(self) -> str:
        """Hash of everything that determines the numbers."""
        return content_hash(self.model_dump(mode="json", exclude={"name", "data_dir", "optional"}), 8)

    @classmethod
    def load(cls, source: str) -> Self:
        """Read a job file, or a preset by name.

        Args:
            source: A path, or the name of a bundled preset.

        Returns:
            The job.

        Raises:
            JobError: No such file, not YAML, or not a job; the message names line and expectation.
        """
        path = Path(source)
        if not path.is_file() and (PRESETS / f"{source}.yaml").exists():
            path = PRESETS / f"{source}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise JobError(
                f"There is no job file {source!r}, nor a preset of that name: {', '.join(presets())}."
            ) from None
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
            root = yaml.compose(text, _Loader)
            content = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            raise JobError(f"{where} is not YAML: {error}") from error
        if not isinstance(content, dict):
            came = "nothing" if content is None else type(content).__name__
            raise JobError(f"{where}: expected a mapping with at least `envs`; got {came}.")
        content.setdefault("name", re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(where).stem))
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = "\n".join(
                f"  line {_line(root, problem['loc'])}: {_describe(problem)}" for problem in _problems(error)
            )
            raise JobError(f"{where} is not a job:\n{problems}") from error


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
        raise JobError("\n".join(map(_describe, _problems(error)))) from error


def _problems(error: ValidationError) -> list[Any]:
    """What is wrong, without a list's being too short only because its items are wrong."""
    problems = error.errors()
    places = {problem["loc"][:1] for problem in problems if problem["type"] != "too_short"}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"][:1] not in places]


def _describe(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    got = "" if problem["type"] == "missing" else f" (got {problem['input']!r:.80})"
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown field; known here: {', '.join(_fields_at(problem['loc'][:-1]))}"
    expected = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "list").replace("Tuple", "List")
    return f"{place}: {expected}{got}"


def _fields_at(loc: tuple[Any, ...]) -> list[str]:
    places: dict[str, type[BaseModel]] = {
        "envs": EnvChoice,
        "normalizers": NormalizerChoice,
        "seeds": SeedPair,
        "training": TrainingOptions,
    }
    return list((places[loc[0]] if loc else Job).model_fields)


def _line(node: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    """The line of the innermost part of `loc` that the file has."""
    line = 1
    for part in loc:
        child = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, child = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line + 1
        if child is None:
            break
        node = child
    return line
