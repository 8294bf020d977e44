"""Normalizers by name: ours, those of installed packages, and the user's own.

A name stands for a dataclass with some options preset, or for a plain function.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from gdpo_bench.advantages.batch import Normalizer
from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.advantages.presets import preset_options
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.errors import GdpoBenchError, RegistrationError, UnknownNameError
from gdpo_bench.core.foreign import defined_at
from gdpo_bench.core.models import problems
from gdpo_bench.core.plugins import import_plugin

ENTRY_POINT_GROUP = "gdpo_bench.normalizers"
"""Packages declare `name = "module:DataclassOrFunction"` in this group."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_HINT = "A function of your own: my_module:my_function, where the module is here or installed."
FactoryT = TypeVar("FactoryT", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Registered:
    factory: Callable[..., Any]
    """A dataclass of options, or a function of a `RewardBatch`."""
    options: dict[str, Any]


_registry: dict[str, _Registered] = {}


def register_normalizer(name: str, **options: Any) -> Callable[[FactoryT], FactoryT]:
    """Register a dataclass of options, or a plain function, under a name.

        @register_normalizer("gdpo")
        @register_normalizer("gdpo_no_bn", batch_norm=False)
        @dataclass(frozen=True)
        class GDPO: ...

    Args:
        name: Letters, digits, `_`, `-` and `.`.
        **options: Options that this name presets; only for a dataclass.

    Returns:
        A decorator that leaves its argument as it is.

    Raises:
        RegistrationError: The name is malformed or taken, or what it stands for is neither a
            dataclass nor a function.
        UnknownNameError: A preset option that the dataclass does not have.
    """
    if callable(name):
        own = getattr(name, "__name__", "")
        raise RegistrationError(
            f'@register_normalizer of {own} needs the name: @register_normalizer("{own.lower()}").'
        ).at(defined_at(name))
    if not _NAME.fullmatch(name):
        raise RegistrationError(f"A normalizer's name is letters, digits, '_', '-' and '.'; got {name!r}.")

    def decorate(factory: FactoryT) -> FactoryT:
        if name in _registry:
            taken = _registry[name].factory
            raise RegistrationError(f"Normalizer {name!r} is already registered, by {_path(taken)}.")
        _check_factory(factory, name)
        if isinstance(factory, type):
            _check_options(name, factory, options)
        elif options:
            raise RegistrationError(f"{name}: {_path(factory)} is a function, which has no options to preset.")
        _registry[name] = _Registered(factory, options)
        return factory

    return decorate


def list_normalizers() -> list[str]:
    """All names, sorted: registered ones and those of installed packages, which are not imported."""
    return sorted(_registry.keys() | _entry_points().keys())


def make_normalizer(name: str, **options: Any) -> Normalizer:
    """A normalizer by name.

    Args:
        name: A registered name; the name of an installed package's normalizer; or `module:thing`,
            where `thing` is a function, a dataclass, an instance of one, or a name that importing
            the module registers. A name registered here wins over a package's.
        **options: Options of the dataclass; text is read by the option's type (`"1e-4"`, `"false"`).
            `preset="trl"` and so on (see `presets`) stands for the options that reproduce a framework. An option
            that is without effect beside the others, such as an ε where nothing is divided, is none.

    Returns:
        A callable that takes a `RewardBatch` and returns advantages (N,).

    Raises:
        UnknownNameError: No such normalizer, option or preset.
        OptionError: An option with a value that it cannot take.
        RegistrationError: A module or an installed package's normalizer cannot be loaded.
    """
    if name in _registry:
        found = _registry[name]
        preset = options.pop("preset", None)
        base = preset_options(preset, getattr(found.factory, "__name__", name)) if preset is not None else {}
        return _build(name, found.factory, options, base | found.options)
    points = _entry_points()
    if name in points:
        return _build(name, _load(points[name]), options)
    module, _, thing = name.partition(":")
    if not thing:
        raise UnknownNameError("normalizer", name, list_normalizers(), _HINT)
    if _is_pythons(module):
        raise RegistrationError(f"{name}: {module} is a module of Python's own, which holds no normalizers. {_HINT}")
    loaded = import_plugin(module, name)
    if hasattr(loaded, thing):  # before the registry: a module's own `gdpo` is not ours
        return _build(name, getattr(loaded, thing), options)
    if thing in _registry:
        return make_normalizer(thing, **options)
    names = {name: found.factory for name, found in _registry.items()}
    names |= {name: value for name, value in vars(loaded).items() if callable(value) and not name.startswith("_")}
    own = [name for name, value in names.items() if getattr(value, "__module__", None) == module]
    raise UnknownNameError(f"normalizer in module {module}", thing, own)


def read_normalizer(text: str) -> tuple[Normalizer, dict[str, float] | None]:
    """A normalizer as command lines name it: `gdpo`, or `gdpo:eps=1e-4,weights.format=2`.

    Returns:
        The normalizer, and the weights by name that the text gives rewards, if it does.

    Raises:
        ChoiceError: The text cannot be read.
        GdpoBenchError: As of `make_normalizer`.
    """
    if ":" not in text:
        return make_normalizer(text), None
    name, options = parse_choice(text)
    weights = {key.removeprefix("weights."): options.pop(key) for key in list(options) if key.startswith("weights.")}
    return make_normalizer(name, **options), weights or None


def normalizer_code(name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What a name stands for, not yet made: a dataclass of options or a function, and the options that it presets.

    Args:
        name: See `make_normalizer`.

    Raises:
        UnknownNameError: No such normalizer.
        RegistrationError: A module or an installed package's normalizer cannot be loaded.
    """
    if name in _registry:
        return _registry[name].factory, _registry[name].options
    made = make_normalizer(name)
    return type(made) if dataclasses.is_dataclass(made) else made, {}


def normalizer_options(normalizer: Callable[..., Any]) -> dict[str, Any]:
    """Every degree of freedom of a normalizer, as JSON holds it.

    Args:
        normalizer: An instance of a dataclass, or a function.

    Returns:
        The options of one of our dataclasses that have an effect beside each other. Of code from elsewhere
        also where it stands and the SHA-256 of its own source text: what it calls in turn is not covered.
    """
    options: dict[str, Any] = {}
    code: Any = normalizer
    if dataclasses.is_dataclass(normalizer):
        code = type(normalizer)
        idle = _idle(normalizer)
        options = {name: getattr(normalizer, name) for name in _options(code) if name not in idle}
    elif not (inspect.isfunction(normalizer) or inspect.isbuiltin(normalizer)):
        code = type(normalizer)
    if not code.__module__.startswith("gdpo_bench."):
        options |= {"implementation": _path(code), "source_sha256": _source_hash(code)}
    return dict(json.loads(json.dumps(options, default=repr)))


def _source_hash(code: Any) -> str | None:
    try:
        return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()
    except (OSError, TypeError):
        return None  # typed at a prompt, or compiled


def _build(name: str, thing: Any, options: Mapping[str, Any], preset: Mapping[str, Any] | None = None) -> Normalizer:
    if isinstance(thing, type):
        _check_factory(thing, name)
        known = {option: value for option, value in (preset or {}).items() if option in _options(thing)}
        made = thing(**_check_options(name, thing, {**known, **options}))
        _refuse_idle(name, made, options)
        return made  # type: ignore[no-any-return]
    if dataclasses.is_dataclass(thing):
        replaced: Any = dataclasses.replace(thing, **_check_options(name, type(thing), options))  # type: ignore[type-var]
        _refuse_idle(name, replaced, options)
        return replaced  # type: ignore[no-any-return]
    _check_factory(thing, name)
    if options:
        raise OptionError(
            f"{name}: {_path(thing)} takes no options, got {', '.join(options)}. "
            "Make it a dataclass with __call__(self, batch) to give it some."
        )
    return thing  # type: ignore[no-any-return]


def _options(cls: type) -> list[str]:
    """Names of a dataclass's options."""
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _idle(normalizer: Any) -> tuple[str, ...]:
    """Options that are without effect beside the others, where the normalizer says so."""
    return tuple(normalizer.idle()) if callable(getattr(normalizer, "idle", None)) else ()


def _refuse_idle(name: str, normalizer: Any, given: Mapping[str, Any]) -> None:
    """Refuse options without effect, unless they are as ever: entries hold them that were made when all were pinned."""
    idle = _idle(normalizer)
    defaults = {field.name: field.default for field in dataclasses.fields(normalizer)}
    for option in given:
        if option in idle and getattr(normalizer, option) != defaults[option]:
            options = {known: getattr(normalizer, known) for known in _options(type(normalizer)) if known not in idle}
            others = ", ".join(f"{known}={value!r}" for known, value in options.items() if value != defaults[known])
            hint = f"It changes no number beside {others}: leave it out."
            raise UnknownNameError(f"option of normalizer {name!r}", option, options, hint)


def _check_factory(thing: Any, name: str) -> None:
    is_options = isinstance(thing, type) and dataclasses.is_dataclass(thing) and "__call__" in dir(thing)
    if not is_options and (isinstance(thing, type) or not callable(thing)):
        raise RegistrationError(
            f"{name}: a normalizer is a function of a RewardBatch or a dataclass with __call__(self, batch); "
            f"got {thing!r}."
        )
    if inspect.isroutine(thing):
        _check_function(thing, name)


def _check_function(function: Callable[..., Any], name: str) -> None:
    """Refuse, before it is called, what cannot be a function of a `RewardBatch`."""
    if _is_pythons(getattr(function, "__module__", None) or ""):
        raise RegistrationError(f"{name}: {_path(function)} is Python's own function, not one of a RewardBatch.")
    place = defined_at(function, "def")
    for is_kind, kind in ((inspect.iscoroutinefunction, "async def"), (inspect.isgeneratorfunction, "yield")):
        if is_kind(function):
            raise RegistrationError(f"{name}: a normalizer returns a tensor; write it without `{kind}`.").at(place)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # compiled, without a signature
    try:
        signature.bind(None)
    except TypeError as error:
        raise RegistrationError(
            f"{name}: a normalizer is called with one RewardBatch; {_path(function)} takes {signature}."
        ).at(place) from error


def _is_pythons(module: str) -> bool:
    return module.partition(".")[0] in {*sys.stdlib_module_names, *sys.builtin_module_names} - {"__main__"}


def _check_options(name: str, cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    types = get_type_hints(cls, include_extras=True) if options else {}
    fields = _options(cls)
    checked = {}
    for key, value in options.items():
        if key not in fields:
            raise UnknownNameError(f"option of normalizer {name!r}", key, fields)
        try:
            checked[key] = TypeAdapter(types[key]).validate_python(value)
        except ValidationError as error:
            raise OptionError(f"Option {key} of normalizer {name!r}: {problems(error)}; got {value!r}.") from error
    return checked


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _load(point: metadata.EntryPoint) -> Any:
    source = f"package {point.dist.name}" if point.dist else "an installed package"
    try:
        return point.load()
    except GdpoBenchError:
        raise
    except Exception as error:  # a broken plug-in fails alone, whatever it raises
        raise RegistrationError(
            f"Normalizer {point.name!r} of {source} cannot be loaded from {point.value!r}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _path(code: Any) -> str:
    return f"{getattr(code, '__module__', '?')}:{getattr(code, '__qualname__', repr(code))}"
