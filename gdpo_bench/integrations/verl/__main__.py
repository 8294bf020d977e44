"""Write an environment's tasks as verl reads them, or say where the ready configuration lies.

python -m gdpo_bench.integrations.verl gdpo/ToolCallingMini-v1:format_rate=0.04 --out data
python -m gdpo_bench.integrations.verl --config-dir
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from gdpo_bench.cli.exits import run_cli
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.integrations.verl.data import write_data

CONFIG_DIR = Path(__file__).parent / "config"


def main(
    env: tyro.conf.Positional[str] = "",
    *,
    out: Path = Path("data"),
    splits: tuple[str, ...] = (),
    config_dir: bool = False,
) -> None:
    """Write `<split>.parquet` for each split of an environment.

    Args:
        env: Id, with options as in a job: `gdpo/ToolCallingMini-v1:format_rate=0.04`.
        out: Folder to write to.
        splits: Which splits; by default all.
        config_dir: Print the folder of the ready configuration instead, for main_ppo's --config-dir.
    """
    if config_dir:
        print(CONFIG_DIR)
        return
    if not env:
        raise GdpoBenchError("Name an environment, such as gdpo/MathMini-v1, or ask for --config-dir.")
    env_id, options = parse_choice(env)
    for path in write_data(env_id, out, splits or None, **options):
        print(path)


if __name__ == "__main__":
    sys.exit(run_cli(lambda: tyro.cli(main, prog="python -m gdpo_bench.integrations.verl")))
