"""Environment ids and where they lead. Nothing is imported before it is made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, TypeVar, overload

import gymnasium as gym

from gdpo_bench.core.env import TextEnv, build_env
from gdpo_bench.core.errors import DeclarationError, RegistrationError, UnknownNameError
from gdpo_bench.core.foreign import defined_at
from gdpo_bench.core.plugins import import_plugin
from gdpo_bench.core.vector_env import GroupVectorEnv

ENTRY_POINT_GROUP = "gdpo_bench.envs"
"""Packages declare `"namespace/Name-v0" = "module:Class"` in this group."""
SCHEME_GROUP = "gdpo_bench.env_schemes"
"""Packages declare `scheme = "module:Class"` in this group: `scheme:name` is then the environment of that class whose
first option is the name, such as a task of another library."""

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]*/[A-Za-z][A-Za-z0-9_.]*-v[0-9]+")
ClassT = TypeVar("ClassT", bound=type[TextEnv[Any]])


@dataclass(frozen=True)
class EnvSpec:
    """What is known of an environment before it is imported."""

    id: str
    entry_point: str | type[TextEnv[Any]]
    """The class, or `"module:Class"`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options that this id presets; `make_vec` may override them."""
    source: str = "register()"
    """Who registered it, for messages."""
    fixed: frozenset[str] = frozenset()
    """Options that the id states and nobody may override."""

    def options_with(self, given: dict[str, Any]) -> dict[str, Any]:
        """The id's options and the given ones, which override them.

        Raises:
            DeclarationError: One is given another value than the id states.
        """
        for name in self.fixed.intersection(given):
            if given[name] != self.options[name]:
                raise DeclarationError(f"{self.id} states {name}={self.options[name]!r}; it cannot be {given[name]!r}.")
        return self.options | given


_registry: dict[str, EnvSpec] = {}
_schemes: dict[str, EnvSpec] = {}
"""By scheme; ids and options come with names."""


@overload
def register(id: str, entry_point: None = None, **options: Any) -> Callable[[ClassT], ClassT]: ...
@overload
def register(id: str, entry_point: str | type[TextEnv[Any]], **options: Any) -> None: ...
def register(id: str, entry_point: Any = None, **options: Any) -> Any:
    """Register an environment, by call or as a decorator of its class.

        register("acme/Sql-v0", "acme_sql.env:SqlEnv")

        @register("acme/Sql-v0")
        class SqlEnv(TextEnv[SqlTask]): ...

    Args:
        id: `namespace/Name-v<version>`.
        entry_point: The class, or `"module:Class"`; absent when used as a decorator.
        **options: Options that this id presets.

    Returns:
        None, or the decorator.

    Raises:
        RegistrationError: The id is malformed or taken, or the entry point cannot be one.
    """
    if isinstance(id, type):
        raise RegistrationError(
            f'@register of {id.__name__} needs the id: @register("namespace/{id.__name__}-v0").'
        ).at(defined_at(id))
    if entry_point is None:

        def decorate(cls: ClassT) -> ClassT:
            register(id, cls, **options)
            return cls

        return decorate
    _add(EnvSpec(id, entry_point, options))
    return None


def _add(spec: EnvSpec) -> None:
    if not isinstance(spec.id, str) or not _ID.fullmatch(spec.id):
        raise RegistrationError(
            f"An environment id is 'namespace/Name-v0': one slash, letters, digits, and a version; got {spec.id!r}."
        )
    if spec.id in _registry:
        raise RegistrationError(f"{spec.id!r} is already registered by {_registry[spec.id].source}; raise the version.")
    if isinstance(spec.entry_point, str):
        if not re.fullmatch(r"[\w.]+:\w+", spec.entry_point):
            raise RegistrationError(f"{spec.id}: an entry point is 'module:Class'; got {spec.entry_point!r}.")
    elif not (isinstance(spec.entry_point, type) and issubclass(spec.entry_point, TextEnv)):
        raise RegistrationError(
            f"{spec.id}: expected a subclass of TextEnv or 'module:Class'; got {spec.entry_point!r}."
        )
    _registry[spec.id] = spec
    # The passive checker of `gymnasium.make` expects a scalar reward.
    if spec.id not in gym.registry:
        gym.register(
            spec.id,
            entry_point="gdpo_bench.core.single_env:RolloutEnv",
            vector_entry_point="gdpo_bench.core.registry:_gymnasium_vector",
            disable_env_checker=True,
            kwargs={"env_id": spec.id},
        )


def load_plugins() -> list[str]:
    """Register the environments and schemes that installed packages declare; import none of them.

    Returns:
        A complaint for each declaration that was skipped.
    """
    complaints = []
    for package in metadata.distributions():
        # `metadata.entry_points` would parse every package's, and stop at the first unreadable one.
        declared = package.read_text("entry_points.txt") or ""
        if ENTRY_POINT_GROUP not in declared and SCHEME_GROUP not in declared:
            continue
        source = "an installed package"
        try:
            source = f"package {package.metadata['Name']}"
            points = package.entry_points.select(group=ENTRY_POINT_GROUP)
            of_schemes = package.entry_points.select(group=SCHEME_GROUP)
        except Exception as error:  # whatever the parsers stumble over
            complaints.append(f"Skipped all environments of {source}: its metadata are unreadable ({error}).")
            continue
        for point in points:
            known = _registry.get(point.name)
            if known is not None and (known.source, known.entry_point) == (source, point.value):
                continue  # an editable install can be listed twice
            try:
                _add(EnvSpec(point.name, point.value, source=source))
            except RegistrationError as error:
                complaints.append(f"Skipped an environment of {source}: {error}")
        for point in of_schemes:
            known = _schemes.setdefault(point.name, EnvSpec(point.name, point.value, source=source))
            if (known.source, known.entry_point) != (source, point.value):
                complaints.append(f"Skipped scheme {point.name!r} of {source}: {known.source} has one of that name.")
    return complaints


def list_envs() -> list[str]:
    """All registered ids, sorted; no environment is imported."""
    return sorted(_registry)


def names_environment(id: object) -> bool:
    """Whether this is an id without options, registered or of a registered scheme; nothing is imported."""
    return isinstance(id, str) and (id in _registry or has_scheme(id))


def has_scheme(id: str) -> bool:
    """Whether an id is `scheme:name`, of a registered scheme."""
    scheme, _, name = id.partition(":")
    return bool(name) and scheme in _schemes


def parse_id(id: str) -> tuple[str, dict[str, Any]]:
    """Read an id as command lines give it, with or without `:option=value,option=value`.

    Raises:
        DeclarationError: Not a text.
        ChoiceError: An option without a value, or with one that cannot be read.
    """
    if not isinstance(id, str):
        raise DeclarationError(
            f"An environment is named by its id, such as 'gdpo/MathMini-v1'; got {id!r}. "
            "A class of your own gets one by gdpo_bench.register."
        )
    if "=" not in id:
        return id, {}
    from gdpo_bench.core.choices import parse_choice  # noqa: PLC0415 (YAML; `import gdpo_bench` need not wait)

    return parse_choice(id)


def spec(id: str) -> EnvSpec:
    """The specification of an id, with the options that stand in it.

    Args:
        id: A registered id, `module:namespace/Name-v0`, which imports `module` first, or `scheme:name` of another
            library's; each with `:option=value,option=value`, as command lines take it.

    Raises:
        UnknownNameError: There is no such id; the near ones are listed.
        DeclarationError: The id is no text.
        ChoiceError: Options in the id that cannot be read.
        RegistrationError: `module` cannot be imported.
    """
    plain, options = parse_id(id)
    if has_scheme(plain):
        found = _of_scheme(plain)
        return replace(found, options=found.options_with(options))
    module, _, name = plain.rpartition(":")
    known = set(_registry)
    if module and name not in _registry:
        import_plugin(module, plain)
    if name not in _registry:
        hint = "One of your own: module:namespace/Name-v0, where importing the module registers it."
        if module:
            new = ", ".join(sorted(_registry.keys() - known))
            hint = f"Importing {module!r} registered {new or 'no such id'}."
            if not new:
                hint += f' Write @register("{name}") above its class.'
        raise UnknownNameError("environment", name, _registry, hint)
    found = _registry[name]
    return replace(found, options=found.options | options)


def _of_scheme(id: str) -> EnvSpec:
    scheme, _, name = id.partition(":")
    found = replace(_schemes[scheme], id=id)
    parameter = next(iter(inspect.signature(_class(found)).parameters))
    return replace(found, options={parameter: name}, fixed=frozenset([parameter]))


def load_class(id: str) -> type[TextEnv[Any]]:
    """The environment class of an id, imported now.

    Raises:
        UnknownNameError: There is no such id.
        RegistrationError: The class cannot be imported or is not a `TextEnv`.
    """
    return _class(spec(id))


def _class(found: EnvSpec) -> type[TextEnv[Any]]:
    if not isinstance(found.entry_point, str):
        return found.entry_point
    module, _, name = found.entry_point.partition(":")
    cls = getattr(import_plugin(module, f"{found.id} ({found.source})"), name, None)
    if not (isinstance(cls, type) and issubclass(cls, TextEnv)):
        raise RegistrationError(
            f"{found.id} ({found.source}): {found.entry_point!r} must name a subclass of TextEnv; got {cls!r}."
        )
    return cls


def make_env(id: str, **options: Any) -> TextEnv[Any]:
    """The author's environment object behind an id: tasks, rewards, reference replies.

    Args:
        id: See `spec`.
        **options: The environment's own options; they override those in the id.

    Raises:
        UnknownNameError: No such id or option.
        DeclarationError: The id is no text; an option is missing or of another type.
        ChoiceError: Options in the id that cannot be read.
        RegistrationError: The environment cannot be imported.
    """
    found = spec(id)
    return build_env(load_class(found.id), found.id, found.options_with(options))


def make_vec(
    id: str, num_prompts: int = 1, group_size: int = 8, split: str | None = None, **options: Any
) -> GroupVectorEnv:
    """A vector environment of N = num_prompts · group_size rollouts.

    Args:
        id: See `spec`.
        num_prompts: P, prompts a reset.
        group_size: G, rollouts a prompt.
        split: Which tasks to draw from; by default the first of the environment's splits, mostly "train".
        **options: The environment's own options; they override those in the id.

    Returns:
        A `gymnasium.vector.VectorEnv` whose `step` returns rewards (N, K).

    Raises:
        UnknownNameError: No such id, split or option.
        RegistrationError: The environment cannot be imported.
        DeclarationError: A size that is not positive, or an environment without tasks or rewards.
        ChoiceError: Options in the id that cannot be read.
    """
    if "num_envs" in options and "num_envs" not in inspect.signature(load_class(spec(id).id)).parameters:
        wanted: Any = options["num_envs"]
        size = group_size if isinstance(wanted, int) and wanted % group_size == 0 else 1
        prompts = wanted // size if isinstance(wanted, int) else "P"
        raise DeclarationError(
            f"{id}: a reset brings num_prompts · group_size rollouts. For num_envs={wanted} write "
            f"make_vec(id, num_prompts={prompts}, group_size={size}), or gymnasium.make_vec(id, num_envs=…)."
        )
    return GroupVectorEnv(make_env(id, **options), spec(id).id, num_prompts, group_size, split)


def _gymnasium_vector(
    num_envs: int, env_id: str, group_size: int = 1, split: str | None = None, **options: Any
) -> GroupVectorEnv:
    """What `gymnasium.make_vec(id, num_envs=N)` calls."""
    if num_envs % group_size:
        raise DeclarationError(f"{env_id}: num_envs={num_envs} is not a multiple of group_size={group_size}.")
    return make_vec(env_id, num_envs // group_size, group_size, split, **options)
