"""Write tasks of environments as verl reads them, or say where the ready configuration lies.

python -m gdpo_bench.integrations.verl gdpo/ToolCallingMini-v1:format_rate=0.04 --out data
python -m gdpo_bench.integrations.verl gdpo/ToolCallingMini-v1 gdpo/MathMini-v1 --out data
python -m gdpo_bench.integrations.verl --config-dir
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from gdpo_bench.cli.exits import run_cli
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.integrations.verl.data import write_data, write_mixed_data

CONFIG_DIR = Path(__file__).parent / "config"


def main(
    envs: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    out: Path = Path("data"),
    splits: tuple[str, ...] = (),
    config_dir: bool = False,
) -> None:
    """Write `<split>.parquet` for each split of an environment, or of several for one training.

    Args:
        envs: Ids, with options as in a job: `gdpo/ToolCallingMini-v1:format_rate=0.04`.
        out: Folder to write to.
        splits: Which splits; by default all.
        config_dir: Print the folder of the ready configuration instead, for main_ppo's --config-dir.
    """
    if config_dir:
        print(CONFIG_DIR)
        return
    if not envs:
        raise GdpoBenchError("Name an environment, such as gdpo/MathMini-v1, or ask for --config-dir.")
    if len(envs) > 1:
        written = write_mixed_data(envs, out, splits or None)
    else:
        env_id, options = parse_choice(envs[0])
        written = write_data(env_id, out, splits or None, **options)
    for path in written:
        print(path)


if __name__ == "__main__":
    sys.exit(run_cli(lambda: tyro.cli(main, prog="python -m gdpo_bench.integrations.verl")))
