"""`gdpo-bench new`, `check` and `envs`: for authors of environments, and for those who look for one."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gdpo_bench.authoring import CheckResult, check_env
from gdpo_bench.authoring.scaffold import new_package
from gdpo_bench.core.errors import GdpoBenchError

_LOG_WIDTH = 120
_STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def check(environments: tyro.conf.Positional[tuple[str, ...]], /, *, tasks: int = 20) -> int:
    """Check environments for what trainers rely on; each failure says what to change.

    Args:
        environments: Ids, with options: acme/Sql-v0:rows=9, or module:acme/Sql-v0.
        tasks: How many tasks of each split to try the reference reply on.

    Returns:
        1 if a check failed, else 0.
    """
    if not environments:
        raise GdpoBenchError("Name an environment to check, such as acme/Sql-v0; `gdpo-bench envs` lists all.")
    console = _console()
    failed = 0
    for environment in environments:
        with console.status(f"Checking {environment} …"):
            results = check_env(environment, tasks)
        console.print(_result_table(environment, results))
        failed += sum(result.status == "failed" for result in results)
        skipped = sum(result.status == "skipped" for result in results)
        console.print(f"{len(results)} checks: {failed} failed, {skipped} skipped.\n")
    return 1 if failed else 0


def new(id: tyro.conf.Positional[str], /, *, tools: bool = False, folder: Path | None = None) -> None:
    """Begin an environment: write a small package that works, for you to change.

    Args:
        id: The environment's id, such as acme/Sql-v0.
        tools: Several turns with a tool that executes, instead of one turn.
        folder: Where to; by default a new folder here, named after the id.
    """
    made = new_package(id, folder, tools)
    print(f"Wrote {made}. Next:\n\n  pip install -e {made}\n  pytest {made}\n  gdpo-bench envs {id} --play")


def _result_table(title: str, results: list[CheckResult]) -> Table:
    table = Table("check", "result", "", title=title, title_justify="left", box=None, pad_edge=False)
    for result in results:
        table.add_row(result.check, f"[{_STYLES[result.status]}]{result.status}", escape(result.detail))
    return table


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
