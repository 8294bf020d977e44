"""`gdpo-bench sandbox`: run a program in the sandbox, build its image, and see whether it holds."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from tyro.extras import SubcommandApp

from gdpo_bench.cli.help import add_commands
from gdpo_bench.cli.terminal import make_console
from gdpo_bench.core.errors import DataError, UnknownNameError
from gdpo_bench.core.text import printable


def run(
    file: tyro.conf.Positional[Path],
    /,
    *,
    stdin: str | None = None,
    cpu_s: float = 5.0,
    memory_mb: int = 512,
    numpy: bool = False,
) -> int:
    """Run a Python program in the sandbox, as `python FILE` would.

    Args:
        file: The program. Its output goes to standard output; how it ended and what it used, to standard error.
        stdin: Text for its standard input; without it, what is piped into this command.
        cpu_s: Seconds of CPU that it may use.
        memory_mb: MiB of memory that it may use.
        numpy: Whether it can import numpy.

    Returns:
        0 if it ended well, 1 if not.
    """
    from gdpo_sandbox import Limits, Program, SandboxPool, Status  # noqa: PLC0415 (brings the docker SDK along)

    source = _read(file)
    text = stdin if stdin is not None else "" if sys.stdin.isatty() else sys.stdin.read()
    with SandboxPool(slots=1, limits=Limits(cpu_s=cpu_s, memory_mb=memory_mb), numpy=numpy) as pool:
        (outcome,) = pool.run(Program(source, [text])).tests
    stdout = outcome.stdout.encode("utf-8", "backslashreplace").decode()
    sys.stdout.write(printable(stdout) if sys.stdout.isatty() else stdout)
    sys.stdout.flush()
    used = f"{outcome.cpu_s:.2f} s CPU, {outcome.wall_s:.2f} s, {outcome.peak_memory_mb:.0f} MB"
    failure = f": {printable(outcome.error)}" if outcome.status is Status.SANDBOX_ERROR else ""
    print(f"{printable(outcome.stderr)}{outcome.status} ({used}){failure}", file=sys.stderr)
    return 0 if outcome.status is Status.OK else 1


def build(base: str = "auto", host: str | None = None, numpy: bool = False) -> None:
    """Build the sandbox's image, unless it is there.

    Args:
        base: `registry`, `debian` (from Debian packages), `auto` for the first of the two that can be had, or the name
            of an image with Python 3.11 or later.
        host: URL or context of the engine; by default the one that `docker` uses.
        numpy: Build the image in which programs can import numpy.
    """
    from gdpo_sandbox.building import build_image, ensure_image  # noqa: PLC0415
    from gdpo_sandbox.engine import connect  # noqa: PLC0415

    client = connect(host)
    print(ensure_image(client, print, numpy) if base == "auto" else build_image(client, base, print, numpy))


def doctor(host: str | None = None, runtime: str | None = None, numpy: bool = False) -> int:
    """Check the engine, the image, and that every limit holds.

    Args:
        host: URL or context of the engine; by default those in GDPO_SANDBOX_HOSTS, or the one that `docker` uses.
        runtime: Of the containers, such as runsc; by default GDPO_SANDBOX_RUNTIME, or the engine's own default.
        numpy: Check the image with numpy.

    Returns:
        1 if something is not in order, else 0.
    """
    from gdpo_sandbox.doctor import examine  # noqa: PLC0415

    console = make_console()
    table = Table(title="Sandbox", title_justify="left")
    for column in ("", "", "found"):
        table.add_column(column, overflow="fold")
    failed = []
    with console.status("Examining the sandbox …"):
        for finding in examine(host, runtime, numpy):
            table.add_row(_mark(finding.fine), finding.name, escape(printable(finding.found)))
            failed += [] if finding.fine else [finding]
    console.print(table)
    for finding in failed:
        console.print(f"{finding.name}: {finding.advice}", markup=False)
    console.print("Everything is in order." if not failed else f"{len(failed)} not in order.")
    return 1 if failed else 0


def attack(names: tyro.conf.Positional[tuple[str, ...]] = (), /, *, family: str | None = None, slots: int = 2) -> int:
    """Run hostile programs, and say which were contained.

    Args:
        names: Of single attacks, such as escape/ptrace; all by default.
        family: One family: exhaustion, escape, persistence, forging, cheating or parsing.
        slots: Attacks at a time.

    Returns:
        1 if one was not contained, else 0.
    """
    from gdpo_sandbox.attacks import CATALOGUE, judge_all  # noqa: PLC0415

    families = list(dict.fromkeys(attack.family for attack in CATALOGUE))
    by_id = {attack.id: attack for attack in CATALOGUE}
    if family is not None and family not in families:
        raise UnknownNameError("family of attacks", family, families)
    for name in names:
        if name not in by_id:
            raise UnknownNameError("attack", name, by_id)
    chosen = [a for a in CATALOGUE if family in (None, a.family) and (not names or a.id in names)]
    console = make_console()
    verdicts = {}
    with Progress(console=console, transient=True) as progress:
        for verdict in progress.track(judge_all(chosen, slots), total=len(chosen), description="attacking"):
            verdicts[verdict.attack.id] = verdict
    table = Table(title="Hostile programs", title_justify="left")
    for column in ("", "attack", "tries", "ended as"):
        table.add_column(column)
    for chosen_attack in chosen:
        verdict = verdicts[chosen_attack.id]
        ends = ", ".join(dict.fromkeys(str(test.status) for test in verdict.run.tests))
        table.add_row(_mark(verdict.contained), chosen_attack.id, chosen_attack.tries, escape(ends))
    console.print(table)
    at_large = [verdict for verdict in verdicts.values() if not verdict.contained]
    for verdict in at_large:
        console.print(f"{verdict.attack.id} is not contained: {printable('; '.join(verdict.findings))}", markup=False)
    console.print(f"{len(verdicts) - len(at_large)} of {len(verdicts)} contained.")
    return 1 if at_large else 0


def clean(host: str | None = None) -> None:
    """Remove containers and images that killed processes left.

    Args:
        host: URL or context of the engine; by default those in GDPO_SANDBOX_HOSTS, or the one that `docker` uses.
            What living processes hold, or other machines that share the engine, is left alone.
    """
    from gdpo_sandbox.building import remove_unfinished  # noqa: PLC0415
    from gdpo_sandbox.engine import connect, hosts_by_environment  # noqa: PLC0415
    from gdpo_sandbox.orphans import owned, remove_orphans  # noqa: PLC0415

    hosts: list[str | None] = [host] if host else [*hosts_by_environment()]
    for name in hosts or [None]:
        client = connect(name)
        containers, images = remove_orphans(client), remove_unfinished(client)
        removed = f"removed {containers} containers and {images} images; {len(owned(client))} containers are in use"
        print(f"{name}: {removed}." if name else f"{removed.capitalize()}.")


def build_app() -> SubcommandApp:
    """The subcommands of `gdpo-bench sandbox`."""
    app = SubcommandApp()
    add_commands(app, run, build, doctor, attack, clean)
    return app


def _mark(fine: bool) -> str:
    return "[green]✓[/green]" if fine else "[bold red]✗[/bold red]"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected UTF-8 text; {error.reason} at byte {error.start}.") from error
