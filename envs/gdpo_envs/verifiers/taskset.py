"""From a module's name to the tasks of its taskset, which is what verifiers 0.4 calls an environment."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import ModuleType
from typing import Any

from gdpo_bench.core import DeclarationError, UnavailableError, UnknownNameError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.plugins import import_plugin

PINNED = "verifiers==0.4.0"


def package() -> Any:
    """`verifiers.v1`.

    Raises:
        UnavailableError: It is not installed, or only an older one.
    """
    try:
        return importlib.import_module("verifiers.v1")
    except ModuleNotFoundError as error:
        raise UnavailableError(f"verifiers:… needs a package: pip install {PINNED}") from error


def load_module(name: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The taskset of a module, exported or made by its `load_environment`, and the Env that plays it, if it has one.

    Args:
        name: The module.
        config: Fields of the taskset's configuration, or arguments of `load_environment`.

    Raises:
        UnavailableError: The package is not installed.
        RegistrationError: The module cannot be imported.
        UnknownNameError: An option that the taskset does not have.
        DeclarationError: The module has no taskset, or a program of its own that asks the model.
    """
    vf, id = package(), f"verifiers:{name}"
    module = import_plugin(name.replace("-", "_"), id)
    load: Any = getattr(module, "load_environment", None)
    classes = list(_exported(module, vf.Taskset))
    if own := list(_exported(module, vf.Harness)):
        raise DeclarationError(
            f"{id} has a Harness, {own[0].__name__}, the program that asks the model; here a policy itself replies, so "
            "that it cannot be played. Where the tasks do without, leave it out of __all__."
        )
    if len(classes) == 1:
        taskset = _configured(id, classes[0], config)
        return taskset, _own_env(id, module, taskset)
    if not classes and callable(load) and load is not vf.load_environment:
        return _made(id, load, config)
    found = ", ".join(cls.__name__ for cls in classes) or "none"
    raise DeclarationError(
        f"{id}: expected one subclass of verifiers.v1.Taskset in the module's __all__, or a load_environment() that "
        f"returns a taskset; found {found}."
    )


def _exported(module: ModuleType, base: type) -> Iterator[type]:
    names = getattr(module, "__all__", None)
    for name in vars(module) if names is None else names:
        cls = getattr(module, name, None)
        offered = names is not None or getattr(cls, "__module__", "") == module.__name__
        if offered and isinstance(cls, type) and issubclass(cls, base) and cls is not base:
            yield cls


def _configured(id: str, cls: type, config: Mapping[str, Any]) -> Any:
    vf, generic = package(), importlib.import_module("verifiers.v1.utils.generic")
    config_type = generic.concrete_type(cls, vf.TasksetConfig, origin=vf.Taskset) or vf.TasksetConfig
    _check_names(id, config, config_type.model_fields)
    try:
        read = config_type.model_validate({"id": id.partition(":")[2], **config})
    except ValueError as error:
        raise DeclarationError(f"{id} does not take {dict(config)}: {_sentence(error)}") from error
    with blaming(id):
        return cls(read)


def _own_env(id: str, module: ModuleType, taskset: Any) -> Any:
    """The module's Env, which says how its agents play; None if it has none."""
    vf, generic = package(), importlib.import_module("verifiers.v1.utils.generic")
    match [cls for cls in _exported(module, vf.Env) if not inspect.isabstract(cls)]:
        case []:
            return None
        case [cls]:
            config = (generic.concrete_type(cls, vf.EnvConfig, origin=vf.Env) or vf.EnvConfig)()
            with blaming(id):
                env = cls(config.model_copy(update={"taskset": taskset.config}))
            env.taskset = taskset
            return env
        case several:
            names = ", ".join(cls.__name__ for cls in several)
            raise DeclarationError(f"{id}: expected one subclass of verifiers.v1.Env in the module; found {names}.")


def _sentence(error: ValueError) -> str:
    """What a validation of pydantic, or of the author, found first."""
    errors: Any = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first = errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _made(id: str, load: Callable[..., Any], config: Mapping[str, Any]) -> tuple[Any, Any]:
    vf = package()
    parameters = inspect.signature(load).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        _check_names(id, config, parameters)
    with blaming(f"{id}: load_environment()"):
        made = load(**config)
    env = made if isinstance(made, vf.Env) and type(made) is not vf.SingleAgentEnv else None
    made = made.taskset if isinstance(made, vf.Env) else made
    if not isinstance(made, vf.Taskset):
        raise DeclarationError(
            f"{id}: load_environment() returned {_kind(made)}, and verifiers 0.4 has tasksets only: return one, with a "
            "method marked @vf.reward for each reward."
        )
    return made, env


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _check_names(id: str, config: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in config:
        if name not in known:
            raise UnknownNameError(f"option of {id}", name, [*known, "ranges", "size", "eval_share"])


def load_tasks(id: str, taskset: Any, size: int | None) -> list[Any]:
    """The first `size` tasks, or all.

    Raises:
        DeclarationError: There are none, or no end of them.
    """
    if size is None and not taskset.bounded:
        raise DeclarationError(f"{id} never runs out of tasks; say how many to take: {id}:size=1000.")
    with blaming(f"{id}: load()"):
        tasks = list(islice(taskset, size))
    if not tasks:
        raise DeclarationError(f"{id} has no tasks.")
    return tasks
