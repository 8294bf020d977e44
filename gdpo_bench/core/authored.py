"""What an author's methods return, checked: tasks, messages, demonstrations, references; errors name the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from gdpo_bench.core.env import Script, TextEnv
from gdpo_bench.core.errors import DeclarationError, GdpoBenchError, UnknownNameError
from gdpo_bench.core.foreign import defined_at, described, named, with_article
from gdpo_bench.core.task import Task, TaskT
from gdpo_bench.core.text import HALF_A_CHARACTER, is_text


def tasks_of(env: TextEnv[TaskT], split: str, name: str = "") -> Sequence[TaskT]:
    """The tasks of a split, checked.

    Args:
        env: The environment.
        split: One of its splits.
        name: Its id, for messages.

    Raises:
        UnknownNameError: The environment has no such split.
        DeclarationError: There is no `tasks`, the split is empty, or something else than a sequence of tasks.
    """
    name = name or type(env).__name__
    if split not in env.splits:
        raise UnknownNameError(f"split of {name}", split, env.splits)
    if type(env).tasks is TextEnv.tasks:
        raise DeclarationError(f"{name} must define tasks(self, split), which returns a sequence of tasks.").at(
            defined_at(type(env), "class")
        )
    found: Any = env.tasks(split)
    if problem := _no_tasks(found, env.splits):
        raise DeclarationError(f"tasks({split!r}) of {name} {problem}").at(defined_at(type(env).tasks, "def"))
    tasks: Sequence[TaskT] = found
    return tasks


def _no_tasks(found: Any, splits: tuple[str, ...]) -> str:
    """What is wrong with what `tasks` returned; nothing if it is a sequence of tasks."""
    expected = " and ".join(map(repr, splits))
    if found is None:
        return f"returned None; every environment has the splits {expected}, unless its `splits` says otherwise."
    if isinstance(found, str | Mapping) or not (hasattr(found, "__len__") and hasattr(found, "__getitem__")):
        return f"returned {with_article(type(found).__name__)}; return a sequence of tasks, such as list(…)."
    if len(found) == 0:
        return f"has no tasks; every environment has the splits {expected}, unless its `splits` says otherwise."
    # Of other sequences, which may read each item from a file, the first stands for all.
    items = found if isinstance(found, list | tuple) else [found[0]]
    strays = (item for item in items if not (isinstance(item, Task) and is_text(item.prompt)))
    return next(map(_no_task, strays), "")


def _no_task(stray: Any) -> str:
    if isinstance(stray, str):
        return f"holds {stray!r:.60}, a str; wrap each prompt: Task(prompt)."
    if isinstance(stray, Task) and isinstance(stray.prompt, str):
        return f"holds a task whose prompt holds {HALF_A_CHARACTER}: {stray.prompt!a:.60}"
    if isinstance(stray, Task):
        return f"holds a task whose prompt is {stray.prompt!r:.60}, no text."
    return f"holds {with_article(type(stray).__name__)}; make a Task of it: Task(prompt=…)."


def demonstrations_of(env: TextEnv[TaskT], rng: Random, name: str) -> Iterator[tuple[TaskT, Script]]:
    """The demonstrations of an environment, checked as they come.

    Args:
        env: The environment.
        rng: Fixes them.
        name: The environment's id, for messages.

    Yields:
        Tasks and replies.

    Raises:
        DeclarationError: The author's code raised something, or gave something else.
    """
    place = defined_at(type(env).demonstrations, "def")
    try:
        found: Any = env.demonstrations(rng)
        if not hasattr(found, "__iter__"):
            raise DeclarationError(
                f"demonstrations() of {name} returned {named(found)}; `yield` a task and its reply, again and again."
            ).at(place)
        for pair in found:
            task, script = pair if isinstance(pair, tuple | list) and len(pair) == 2 else (None, None)
            if not (isinstance(task, Task) and _is_script(script)):
                raise DeclarationError(
                    f"demonstrations() of {name} gave {pair!r:.100}; yield a Task, of self.tasks('train'), and its "
                    "reply, a text (in a dialogue a list of them)."
                ).at(place)
            yield pair
    except GdpoBenchError:
        raise
    except (Exception, SystemExit) as error:
        raise DeclarationError(f"demonstrations() of {name} raised {described(error)}.") from error


def demonstrations_end(env: TextEnv[Any], name: str, drawn: int) -> DeclarationError:
    """What is to be raised where demonstrations are not endless.

    Args:
        env: The environment.
        name: Its id, for messages.
        drawn: How many there were.
    """
    return DeclarationError(
        f"demonstrations() of {name} ended after {drawn}; they must be endless: repeat them in `while True`."
    ).at(defined_at(type(env).demonstrations, "def"))


def reference_of(env: TextEnv[TaskT], task: TaskT, name: str) -> Script | None:
    """The reference reply to a task, checked.

    Args:
        env: The environment.
        task: One of its tasks.
        name: The environment's id, for messages.

    Returns:
        The replies of an episode that earns full marks, or None where they are not known.

    Raises:
        DeclarationError: The author's code raised something, or returned something else.
    """
    try:
        found: Any = env.reference(task)
    except GdpoBenchError:
        raise
    except (Exception, SystemExit) as error:
        raise DeclarationError(f"reference() of {name} raised {described(error)}, on task {task.id}.") from error
    if found is None or _is_script(found):
        script: Script | None = found
        return script
    raise DeclarationError(
        f"reference() of {name} returned {named(found)} on task {task.id}; return the reply, a text (in a dialogue a "
        "list of them), or None where there is none."
    ).at(defined_at(type(env).reference, "def"))


def _is_script(found: Any) -> bool:
    """Whether this is a reply, or the replies of a dialogue."""
    if isinstance(found, str):
        return True
    return isinstance(found, Sequence) and bool(found) and all(isinstance(one, str) for one in found)
