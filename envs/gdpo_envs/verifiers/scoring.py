"""Traces of verifiers, scored by their tasks: functions are awaited, those of many single replies side by side."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from typing import Any

from gdpo_bench.core.event_loop import awaited
from gdpo_envs.verifiers.taskset import package

Outcome = dict[str, float | Exception | None]
"""Reward → its value, what it raised, or None where it was not recorded."""


def prompt_messages(data: Any) -> list[Any]:
    """What a task shows, as messages of verifiers."""
    vf = package()
    system = [] if data.system_prompt is None else [vf.SystemMessage(content=data.system_prompt)]
    return [*system, *([vf.UserMessage(content=data.prompt)] if isinstance(data.prompt, str) else data.prompt)]


def trace_of(task: Any, reply: str) -> Any:
    """The finished trace of an agent that gave one reply."""
    vf = package()
    messages = [*prompt_messages(task.data), vf.AssistantMessage(content=str(reply))]
    last = len(messages) - 1
    nodes = [
        vf.MessageNode(message=message, parent=i - 1 if i else None, sampled=i == last)
        for i, message in enumerate(messages)
    ]
    return vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=nodes,
        is_completed=True,
        ok=True,
        stop_condition="agent_completed",
    )


def outcomes(tasks: Sequence[Any], replies: Sequence[str]) -> list[Outcome | Exception]:
    """The rewards of replies, of all side by side; an exception where something else than a reward function raised."""

    async def together() -> list[Outcome | Exception]:
        return await asyncio.gather(*map(_outcome, tasks, replies))

    return awaited(together())


async def _outcome(task: Any, reply: str) -> Outcome | Exception:
    try:
        trace = trace_of(task, reply)
        for hook in (task.setup, task.finalize):
            await _invoke(hook, {"trace": trace, "runtime": None})
    except Exception as error:
        return error
    except SystemExit as error:
        return exits(error)
    return await scored(task, trace)


async def scored(task: Any, trace: Any) -> Outcome:
    """The rewards of a finished trace, one by one where a function raises."""
    try:
        await type(task).score(task, trace)
    except (Exception, SystemExit):
        return await _each(task, trace)
    return {name: None if one is None else one.score for name, one in trace.rewards.items()}


def _invoke(function: Any, available: dict[str, Any]) -> Any:
    """Call a function of the author's with those of the arguments that it names."""
    return importlib.import_module("verifiers.v1.utils.decorators").invoke(function, available)


def exits(error: SystemExit) -> Exception:
    """What becomes of an author's code that would end the process."""
    return RuntimeError(f"exits the process ({error.code})")


async def _each(task: Any, trace: Any) -> Outcome:
    """The rewards one by one: of functions that are called together, one that raises takes all others along."""
    found: Outcome = {}
    judges = [(judge.reward_name, judge.score) for judge in task.plugged_judges()]
    for name, function in [*((one.__name__, one) for one in task.hooks("reward")), *judges]:
        try:
            value = await _invoke(function, {"task": task.data, "trace": trace})
            found |= value if isinstance(value, dict) else {name: float(value)}
        except Exception as error:
            found[name] = error
        except SystemExit as error:
            found[name] = exits(error)
    return found
