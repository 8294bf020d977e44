import io
import re
from dataclasses import dataclass
from typing import Any

import pytest
from rich.console import Console

from gdpo_bench.jobs.progress import watch
from gdpo_bench.jobs.work import Event, Failed, Finished, Progressed

HOSTILE = "[/red] [bold] half a character: \ud800"


@dataclass(frozen=True)
class Named:
    label: str

    def __call__(self, report: Any) -> None: ...


def watched(events: list[Event], *, terminal: bool) -> tuple[str, list[tuple[int, Any]], list[Failed]]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="utf-8")
    console = Console(file=file, force_terminal=terminal, width=200)
    finished: list[tuple[int, Any]] = []
    tasks = [Named("first [/x]"), Named("second [red]")]
    failures = watch(console, "training", tasks, events, lambda number, result: finished.append((number, result)))
    file.flush()
    return raw.getvalue().decode(), finished, failures


@pytest.mark.parametrize("terminal", [False, True])
def test_results_are_handed_on_and_failures_returned_whatever_their_text(terminal: bool) -> None:
    failure = Failed(1, HOSTILE, expected=True)
    text, finished, failures = watched(
        [Progressed(0, 0.1, "[/y]"), Progressed(1, 0.5, "reward 0.50"), Finished(0, "result"), failure],
        terminal=terminal,
    )
    assert finished == [(0, "result")]
    assert failures == [failure]
    assert "second [red]: [/red] [bold] half a character: \\ud800" in text
    assert "first [/x]" in text


def test_log_has_a_line_for_each_finished_task_and_no_control_characters() -> None:
    text, _, _ = watched([Progressed(0, 0.5, "a"), Finished(0, 1), Finished(1, 2)], terminal=False)
    assert "\x1b" not in text
    assert "training 1/2: first [/x]" in text
    assert "training 2/2: second [red]" in text


def test_result_that_cannot_be_kept_ends_the_watch() -> None:
    def full(number: int, result: Any) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        watch(Console(file=io.StringIO()), "training", [Named("a")], [Finished(0, 1)], full)


def test_at_80_columns_the_bar_the_share_and_the_remaining_time_are_there() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    tasks = [Named("ToolCallingMini-v1:format_rate=0.04 grpo_scaled:eps=1e-4 seed 0:0")]
    text = "format 0.92  correctness 1.58  length 0.40  integer 0.98"
    watch(console, "training", tasks, [Progressed(0, 0.5, text), Progressed(0, 0.6, text)], lambda *_: None)
    lines = [line for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", file.getvalue()) if "ToolCalling" in line]
    assert re.search(r"ToolCalling.*… ━{3,}\S* +\S* *60% (-|\d):(--|\d\d):(--|\d\d) format 0.92", lines[-1]), lines[-1]
