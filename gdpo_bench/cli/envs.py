"""`gdpo-bench new`, `check` and `envs`: for authors of environments, and for those who look for one."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import tyro
from gdpo_sandbox.engine import connect
from gdpo_sandbox.errors import SandboxError
from rich.markup import escape
from rich.table import Table

from gdpo_bench.authoring import CHECKS, CheckResult, certify
from gdpo_bench.authoring.checks import examine
from gdpo_bench.authoring.describe import describe, env_rows, env_table
from gdpo_bench.authoring.env_under_check import EnvUnderCheck
from gdpo_bench.authoring.gaming import TASKS
from gdpo_bench.authoring.playing import play_env
from gdpo_bench.authoring.scaffold import new_package
from gdpo_bench.authoring.show_gaming import gaming_table, gaming_verdict
from gdpo_bench.cli.terminal import make_console
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.gaming import certificate_path, gamed, read_certificate
from gdpo_bench.core.registry import parse_id
from gdpo_bench.core.text import printable

_LEGEND = """
train: `mini` has demonstrations, so that the embedded policies (mini, small, base) and models can be trained on it; \
`hf` takes a model (--policy hf:MODEL); `eval` is for evaluation only.
Docker: programs of replies run in it. {docker}
data: `made` on the spot, `here` on this machine, on the Hugging Face `hub`, or `missing`: gdpo-bench envs ID says \
where they are to be put.

All about one: gdpo-bench envs ID. Try one: gdpo-bench envs ID --play. Your own: gdpo-bench new acme/Sql-v0."""
_STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def check(
    environments: tyro.conf.Positional[tuple[str, ...]],
    /,
    *,
    tasks: int | None = None,
    gaming: bool = False,
    seed: int = 0,
    write: bool = False,
) -> int:
    """Check that environments are what trainers rely on.

    Args:
        environments: Ids, with options: acme/Sql-v0:rows=9, or module:acme/Sql-v0.
        tasks: How many tasks of each split to try the reference reply on; by default 20, with --gaming 64 of what is
            held out.
        gaming: Instead, measure what replies that ignore their task earn in each reward.
        seed: Of --gaming, which replies those policies have seen.
        write: Of --gaming, keep what came out beside the environment's module, where `envs ID` and the leaderboard's
            page find it.

    Returns:
        1 if a check failed, or what came out is not what was kept, else 0.
    """
    if not environments:
        raise GdpoBenchError("Name an environment to check, such as acme/Sql-v0; `gdpo-bench envs` lists all.")
    if write and not gaming:
        raise GdpoBenchError("--write keeps what --gaming measures; give both.")
    if gaming:
        return max(_check_gaming(environment, tasks or TASKS, seed, write) for environment in environments)
    console = make_console()
    failures = 0
    for environment in environments:
        # Rewards are called hundreds of times, with replies of a megabyte: what they print would bury the results.
        with console.status(f"Checking {escape(environment)} …") as status, redirect_stdout(StringIO()) as printed:
            checked = EnvUnderCheck(environment, 20 if tasks is None else tasks)
            results = []
            for number, one in enumerate(CHECKS.values(), 1):
                status.update(f"Checking {escape(environment)}, {number} of {len(CHECKS)}: {escape(one.says)} …")
                results.append(examine(checked, one.id))
        console.print(_result_table(environment, results))
        if lines := printed.getvalue().count("\n"):
            console.print(f"The environment printed {lines:,} lines meanwhile, which are not shown.", style="dim")
        failed = sum(result.status == "failed" for result in results)
        skipped = sum(result.status == "skipped" for result in results)
        failures += failed
        console.print(f"{len(results)} checks: {failed} failed, {skipped} skipped.\n")
    return 1 if failures else 0


def _check_gaming(environment: str, tasks: int, seed: int, write: bool) -> int:
    """Measure one environment, show it, and keep it or compare it with what was kept.

    Returns:
        1 if correctness can be gamed and that is not declared, or something else was kept; else 0.
    """
    console = make_console()
    id, options = parse_id(environment)
    with console.status(f"Gaming {environment} …"), redirect_stdout(StringIO()):
        found = certify(id, tasks, seed, **options)
    console.print(environment)
    console.print(gaming_table(found))
    console.print(*gaming_verdict(found), sep="\n", highlight=False, markup=False)
    failed = any(one.verdict == "gamed" for one in gamed(found))
    path = certificate_path(found.environment)
    kept = None if options else read_certificate(found.environment)
    if write:
        if options or path is None:
            raise GdpoBenchError(f"{environment}: what is kept is about an environment without options, of a module.")
        write_atomically(path, found.model_dump_json(indent=1) + "\n")
        console.print(f"Wrote {path}.", highlight=False, markup=False)
    elif kept is not None and (kept.tasks, kept.seed) == (found.tasks, found.seed) and kept != found:
        console.print(f"{path} says something else; --write keeps this.", highlight=False, markup=False)
        failed = True
    console.print()
    return int(failed)


def new(id: tyro.conf.Positional[str], /, *, tools: bool = False, folder: Path | None = None) -> None:
    """Write a small package with an environment, to change.

    Args:
        id: The environment's id, such as acme/Sql-v0.
        tools: Several turns with a tool that executes, instead of one turn.
        folder: Where to; by default a new folder here, named after the id.
    """
    made = new_package(id, folder, tools)
    print(f"Wrote {made}. Next:\n\n  pip install -e {made}\n  pytest {made}\n  gdpo-bench envs {id} --play")
    print(f"  python -m gdpo_bench.run --envs {id} --policy demonstrations")


def envs(
    id: tyro.conf.Positional[str | None] = None,
    /,
    *,
    play: bool = False,
    split: str | None = None,
    seed: int = 0,
    task: str | None = None,
) -> None:
    """List environments, describe one, or play one.

    Args:
        id: An environment to describe, with options: acme/Sql-v0:length=5. Without it, all are listed.
        play: Be the policy: read a prompt, type a reply, read the rewards and why.
        split: Which tasks to play; by default those of the first split.
        seed: Fixes the order of the tasks that are played.
        task: Play the task with this id alone.
    """
    console = make_console()
    if id is None and (play or task is not None):
        raise GdpoBenchError("Name the environment to play, such as: gdpo-bench envs gdpo/MathMini-v1 --play")
    if id is None:
        docker = _docker()
        console.print(env_table(env_rows(), "here" if docker else "missing", console.width))
        answer = "An engine answers here." if docker else "No engine answers here: gdpo-bench sandbox doctor says why."
        console.print(_LEGEND.format(docker=answer), highlight=False, markup=False)
        return
    name, options = parse_id(id)
    if play or task is not None:
        play_env(name, console, split=split, seed=seed, task_id=task, **options)
    else:
        console.print(describe(name, **options))


def _docker() -> bool:
    """Whether an engine answers."""
    try:
        connect().close()
    except SandboxError:
        return False
    return True


def _result_table(title: str, results: list[CheckResult]) -> Table:
    """A row a check, of those that were skipped for one reason a row together."""
    table = Table("check", "result", "", title=title, title_justify="left", box=None, pad_edge=False)
    rows: dict[tuple[str, str], list[str]] = {}
    for result in results:
        rows.setdefault((result.status, result.detail), []).append(result.check)
    for (status, detail), checks in rows.items():
        table.add_row("\n".join(checks), f"[{_STYLES[status]}]{status}", escape(printable(detail)))
    return table
