"""One command, `gdpo-bench` (also `python -m gdpo_bench`), with subcommands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tyro.extras import SubcommandApp

import gdpo_bench
from gdpo_bench.cli.advise import advise
from gdpo_bench.cli.envs import check, envs, new
from gdpo_bench.cli.exits import run_cli
from gdpo_bench.cli.export import export
from gdpo_bench.cli.help import add_commands
from gdpo_bench.cli.leaderboard import build_app as leaderboard_app
from gdpo_bench.cli.normalizers import atlas, collapse, conformance, normalizers
from gdpo_bench.cli.policies import policies
from gdpo_bench.cli.run import run
from gdpo_bench.cli.sandbox import build_app as sandbox_app
from gdpo_bench.cli.simulate import simulate
from gdpo_bench.cli.words import said_once

_DESCRIPTION = (
    "The reference benchmark for multi-reward reinforcement learning of language models. "
    "`gdpo-bench --version` says which version this is."
)


def build_app() -> SubcommandApp:
    """All subcommands."""
    app = SubcommandApp()
    add_commands(app, run)
    leaderboard = "Check, compare, file and reproduce leaderboard entries."
    app.command(leaderboard_app(), name="leaderboard", help=leaderboard)
    add_commands(app, envs, new, check, export, normalizers, policies, conformance, atlas, collapse, advise, simulate)
    app.command(sandbox_app(), name="sandbox", help="Run programs in Docker; build and test the sandbox.")
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
    return run_cli(lambda: build_app().cli(prog="gdpo-bench", args=said_once(arguments), description=_DESCRIPTION))
