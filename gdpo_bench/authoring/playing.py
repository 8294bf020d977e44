"""`gdpo-bench envs ID --play`: be the policy. See a prompt, type a reply, read the rewards and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import reduce
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gdpo_bench.authoring.describe import first_paragraph, value_range
from gdpo_bench.core.authored import reference_of, tasks_of
from gdpo_bench.core.env import TextEnv, reward_functions_of, script_replies
from gdpo_bench.core.errors import ReplyError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.registry import make_env, spec
from gdpo_bench.core.scoring import EpisodeBatch, Scores
from gdpo_bench.core.task import Task
from gdpo_bench.core.text import printable
from gdpo_bench.core.vector_env import TaskQueue, pick

_SHOWN = 2000
"""Characters of an answer or reference that are shown."""


def play_env(
    id: str,
    console: Console,
    *,
    split: str | None = None,
    seed: int = 0,
    task_id: str | None = None,
    replies: TextIO = sys.stdin,
    **options: Any,
) -> None:
    """Play episodes until the replies end.

    Args:
        id: The environment's id.
        console: Where to show prompts and rewards.
        split: Which tasks; by default those of the first split.
        seed: Fixes their order.
        task_id: Play this task alone.
        replies: Each ends with an empty line or the end of the file.
        **options: The environment's options.

    Raises:
        GdpoBenchError: The environment cannot be made, or there is no such split or task.
        ReplyError: The replies are not UTF-8.
    """
    with blaming(id):
        env = make_env(id, **options)
        tasks = tasks_of(env, env.splits[0] if split is None else split, spec(id).id)
    chosen = iter(pick(tasks, [task_id])) if task_id is not None else _endless(tasks, seed)
    typed = _replies(replies)
    console.print(
        f"[dim]An empty line sends your reply (at once: an empty reply); {_end_key()} ends the game.[/dim]",
        highlight=False,
    )
    for task in chosen:
        if not _episode(env, spec(id).id, task, console, typed):
            return


def _end_key() -> str:
    return "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"


def _endless(tasks: Any, seed: int) -> Iterator[Task]:
    queue: TaskQueue[Task] = TaskQueue(tasks, np.random.default_rng(seed))
    while True:
        yield from queue.take(1)


def _replies(lines: TextIO) -> Iterator[str]:
    """Texts up to an empty line; the end of the file ends the last, if anything was typed."""
    typed: list[str] = []
    try:
        for line in lines:
            if text := line.rstrip("\r\n"):
                typed.append(text)
            else:
                yield "\n".join(typed)
                typed = []
    except UnicodeDecodeError as error:
        raise ReplyError(f"Replies must be UTF-8: {error}.") from error
    if typed:
        yield "\n".join(typed)


def _episode(env: TextEnv[Any], name: str, task: Task, console: Console, typed: Iterator[str]) -> bool:
    """Play one episode; False when there is no further reply."""
    with blaming(name):
        batch = EpisodeBatch(env, name, [task])
    console.rule(f"task {task.id}", align="left")
    for message in batch.messages()[0]:
        _show(console, message["role"], message["content"])
    turns: list[Scores] = []
    while not batch.episodes[0].over:
        console.print("[bold]reply[/bold]", highlight=False)
        reply = next(typed, None)
        if reply is None:
            return False
        with blaming(name):
            turns.append(batch.play([reply]))
        if not batch.episodes[0].over:
            _show(console, batch.messages()[0][-1]["role"], batch.observations[0])
    console.print(reward_table(env, reduce(Scores.__add__, turns)))
    _show_reference(env, name, task, console, turns)
    return True


def _show(console: Console, role: str, text: str) -> None:
    console.print(f"[bold]{escape(role)}[/bold]", highlight=False)
    console.print(_printable(text), markup=False, highlight=False)


def _printable(text: str) -> str:
    """At most so much of a text, for a terminal."""
    return printable(text[:_SHOWN] + ("…" if len(text) > _SHOWN else ""))


def reward_table(env: TextEnv[Any], scores: Scores) -> Table:
    """The rewards of one rollout, and why they are what they are.

    Args:
        env: The environment.
        scores: Of one rollout, summed over turns.
    """
    table = Table("reward", "value", "range", "why", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for k, function in enumerate(reward_functions_of(env)):
        spec = function.spec
        value = "–" if scores.failed[0, k] or not scores.applicable[0, k] else f"{scores.values[0, k]:g}"
        why = f"{_remark(env, scores, k)}{first_paragraph(getattr(env, function.method))}"
        table.add_row(spec.name, value, escape(value_range(spec)), escape(why))
    return table


def _remark(env: TextEnv[Any], scores: Scores, k: int) -> str:
    """What became of a reward besides its own value."""
    spec = env.reward_specs[k]
    if scores.failed[0, k]:
        errors = [failure.error for failure in scores.failures if failure.reward == spec.name]
        return f"The scorer failed ({errors[0]:.200}); no value. " if errors else "Its condition failed; no value. "
    if not scores.applicable[0, k]:
        return "Does not apply here; no value. "
    if spec.gate is not None and scores.raw[0, k] != scores.values[0, k]:
        on = [other.name for other in env.reward_specs].index(spec.gate.on)
        return (
            f"Would be {scores.raw[0, k]:g}, but counts only if {spec.gate.on} ≥ {spec.gate.at_least:g}, "
            f"which is {scores.raw[0, on]:g}. "
        )
    return ""


def _show_reference(env: TextEnv[Any], name: str, task: Task, console: Console, turns: list[Scores]) -> None:
    total = reduce(Scores.__add__, turns)
    highs = np.array([spec.high for spec in env.reward_specs])
    if (total.values[0] == highs)[total.applicable[0]].all():
        return
    reference = reference_of(env, task, name)
    if reference is not None:
        _show(console, "full marks would go to", "\n\n".join(script_replies(reference)))
