"""One command, `gdpo-bench` (also `python -m gdpo_bench`), with subcommands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tyro.extras import SubcommandApp

import gdpo_bench
from gdpo_bench.advantage_commands import collapse, conformance
from gdpo_bench.cli_errors import run_cli
from gdpo_bench.env_commands import check, envs, new
from gdpo_bench.leaderboard.commands import build_app as leaderboard_app
from gdpo_bench.run import run
from gdpo_bench.sandbox_commands import build_app as sandbox_app


def build_app() -> SubcommandApp:
    """All subcommands."""
    app = SubcommandApp()
    app.command(run)
    app.command(leaderboard_app(), name="leaderboard")
    app.command(envs)
    app.command(new)
    app.command(check)
    app.command(conformance)
    app.command(collapse)
    app.command(sandbox_app(), name="sandbox")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        arguments: Without the program's name; those of this process if absent.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(gdpo_bench.__version__)
        return 0
    return run_cli(lambda: build_app().cli(prog="gdpo-bench", args=arguments, description=gdpo_bench.__doc__))
