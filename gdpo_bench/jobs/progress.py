"""Live progress: what runs, reward by reward, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from gdpo_bench.jobs.work import Event, Failed, Finished, Progressed, WorkItem

_WIDE = 120
"""Columns of a terminal that has room for the elapsed time and a longer bar."""


def watch(
    console: Console,
    title: str,
    tasks: Sequence[WorkItem],
    events: Iterable[Event],
    finished: Callable[[int, Any], None],
) -> list[Failed]:
    """Show events until the last, on a terminal as bars, elsewhere a line for each finished task.

    Args:
        console: Where to.
        title: What the tasks have in common.
        tasks: The tasks, as events number them.
        events: What happens to them.
        finished: Called with number and result of each finished task.

    Returns:
        The failures.
    """
    failures = []
    shares = dict.fromkeys(range(len(tasks)), 0.0)
    texts = dict.fromkeys(range(len(tasks)), "")
    bars: dict[int, TaskID] = {}
    started = time.monotonic()
    wide = console.width >= _WIDE
    bar, label = 20 if wide else 8, console.width * 2 // 5
    with Progress(
        TextColumn("{task.description}", table_column=_at_most(label)),
        BarColumn(bar_width=bar),
        TextColumn("{task.percentage:>3.0f}%"),
        *([TimeElapsedColumn()] if wide else []),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", table_column=_at_most(console.width - label - bar - (30 if wide else 20))),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        whole = progress.add_task(f"[bold]{title}", total=len(tasks), text="starting")
        for event in events:
            number = event.task
            match event:
                case Progressed(share=share, text=text):
                    if number not in bars:
                        bars[number] = progress.add_task(escape(f"  {tasks[number].label}"), total=1.0, text="")
                    shares[number], texts[number] = share, text
                    progress.update(bars[number], completed=share, text=escape(text))
                case Finished(result=result):
                    shares[number] = 1.0
                    finished(number, result)
                case Failed(message=message):
                    shares[number] = 1.0
                    failures.append(event)
                    show_failure(console, f"{tasks[number].label}: {message}", "red")
            if not isinstance(event, Progressed):
                if number in bars:
                    progress.remove_task(bars.pop(number))
                if not console.is_terminal and isinstance(event, Finished):
                    done = sum(share == 1.0 for share in shares.values())
                    left = (time.monotonic() - started) * (len(tasks) / sum(shares.values()) - 1)
                    reached = texts[number] or "done"
                    line = f"{title} {done}/{len(tasks)}: {tasks[number].label}: {reached}, about {left:.0f} s left"
                    console.print(line, highlight=False, markup=False, soft_wrap=True)
            progress.update(whole, completed=sum(shares.values()), text="")
    return failures


def _at_most(width: int) -> Column:
    """A column whose texts are cut off, so that bar, share and remaining time keep their room."""
    return Column(no_wrap=True, overflow="ellipsis", max_width=width)


def show_failure(console: Console, message: str, colour: str = "yellow") -> None:
    """Print a message that may hold anything, such as brackets or half a character of a reply."""
    text = escape(message.encode(errors="backslashreplace").decode())
    console.print(f"[{colour}]failed[/{colour}] {text}", highlight=False, soft_wrap=True)
