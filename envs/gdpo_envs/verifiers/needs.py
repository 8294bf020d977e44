"""What a module for verifiers needs beside a policy that replies: a sentence for each thing that is not there."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from gdpo_bench.core import DeclarationError
from gdpo_envs.verifiers.taskset import package

_HARNESSES = ("null", "")
"""Of an agent that talks, and calls the taskset's tools, and does nothing else."""


def check_playable(id: str, tasks: list[Any], taskset: Any, env: Any) -> None:
    """Refuse what cannot be played.

    Args:
        id: The environment's id, for messages.
        tasks: Its tasks.
        taskset: Where they are from.
        env: The module's own Env, if it has one.

    Raises:
        DeclarationError: A task, its tools or the Env need more than texts in reply.
    """
    for task in tasks:
        if needs := _of_task(task, env is not None):
            raise DeclarationError(f"{id} cannot be played here: {type(task).__name__} {needs}.")
    for toolset in toolsets(tasks[0], taskset):
        if needs := _of_toolset(toolset):
            raise DeclarationError(f"{id} cannot be played here: {type(toolset).__name__} {needs}.")
    if env is not None and (needs := _of_env(env)):
        raise DeclarationError(f"{id} cannot be played here: {type(env).__name__} {needs}.")


def toolsets(task: Any, taskset: Any) -> list[Any]:
    """Those that every rollout of a task has, its own and its taskset's."""
    return [*type(task).toolsets(task.config), *type(taskset).toolsets(taskset.config)]


def _of_task(task: Any, begins_by_env: bool) -> str:
    """What a task needs beside texts in reply; nothing if it needs nothing."""
    decorators = importlib.import_module("verifiers.v1.utils.decorators")
    in_runtime = [function.__name__ for function in _called(task) if _takes_runtime(function)]
    prompt = task.data.prompt
    if task.NEEDS_CONTAINER or task.data.image:
        return "runs in a container of its own, and no program of a reply is run here"
    if in_runtime:
        return f"asks for a runtime, a machine of its own, in {', '.join(in_runtime)}; give it a default, runtime=None"
    if hooks := decorators.discover_decorated(task, "intercept"):
        return f"rewrites what is said, by @vf.intercept in {hooks[0].__name__}; a policy is shown what it said itself"
    if prompt is None and not begins_by_env:
        return "has no prompt, so that a user would begin; write an Env whose run() is that user"
    if not isinstance(prompt, str | None) and any(not isinstance(message.content, str | None) for message in prompt):
        return "shows something else than text"
    return ""


def _called(task: Any) -> Iterator[Callable[..., Any]]:
    vf = package()
    for name in ("setup", "finalize"):
        if getattr(type(task), name) is not getattr(vf.Task, name):
            yield getattr(task, name)
    yield from (*task.hooks("reward"), *task.hooks("metric"))
    yield from (judge.score for judge in task.plugged_judges())


def _takes_runtime(function: Callable[..., Any]) -> bool:
    parameter = inspect.signature(function).parameters.get("runtime")
    return parameter is not None and parameter.default is parameter.empty


def _of_toolset(toolset: Any) -> str:
    vf = package()
    if not isinstance(toolset, vf.Toolset):
        return "is no verifiers.v1.Toolset, whose methods marked @vf.tool are the tools"
    if url := getattr(toolset.config, "url", None):
        return f"is a server elsewhere, {url}, and an environment must give the same without a network; write a Toolset"
    machine = getattr(getattr(toolset.config, "runtime", None), "type", "subprocess")
    if machine != "subprocess" or getattr(toolset.config, "colocated", False):
        where = f"in a container ({machine})" if machine != "subprocess" else "on the agent's machine (colocated)"
        return f"runs {where}, and here tools are called in this process; leave the configuration as it is by default"
    return ""


def _of_env(env: Any) -> str:
    """What an Env needs beside one agent that replies; its run() is then that agent's user."""
    fields = importlib.import_module("verifiers.v1.configs.agent").agent_config_fields(env.config)
    if len(fields) != 1:
        return f"has {len(fields)} agents ({', '.join(fields)}), and there is one policy; let run() itself be the user"
    ((name, agent),) = fields.items()
    if (harness := getattr(agent.harness, "id", "")) not in _HARNESSES:
        return f"has its agent {name} run by the harness {harness!r}, a program of its own; leave it open"
    return ""
