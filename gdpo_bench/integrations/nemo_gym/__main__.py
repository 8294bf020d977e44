"""Write a resources server of NeMo Gym for an environment.

python -m gdpo_bench.integrations.nemo_gym gdpo/ToolCallingMini-v1 --out resources_servers/tools
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from gdpo_bench.cli.exits import run_cli
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.integrations.nemo_gym.contract import write_server


def main(env: tyro.conf.Positional[str], *, out: Path) -> None:
    """Write `app.py`, `configs/` and `data/` of a resources server.

    Args:
        env: Id, with options as in a job: `gdpo/ToolCallingMini-v1:format_rate=0.04`.
        out: `resources_servers/<name>` in the folder from which NeMo Gym is started.
    """
    env_id, options = parse_choice(env)
    for path in write_server(env_id, out, **options):
        print(path)


if __name__ == "__main__":
    sys.exit(run_cli(lambda: tyro.cli(main, prog="python -m gdpo_bench.integrations.nemo_gym")))
