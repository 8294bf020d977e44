"""An environment's tasks as the parquet files that verl reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gdpo_bench.core.env import tasks_of
from gdpo_bench.core.registry import make_env
from gdpo_bench.core.task import canonical_json
from gdpo_bench.integrations.scoring import check_one_turn
from gdpo_bench.integrations.verl.columns import OPTIONS


def rows(env_id: str, split: str, **options: Any) -> Iterator[dict[str, Any]]:
    """The tasks of a split in verl's schema.

    `data_source` is the environment's id and `reward_model.ground_truth` the task's, by which
    `compute_score` finds it again; `extra_info` holds the split, the place in it, and the options.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        split: One of the environment's splits.
        **options: The environment's own options.

    Raises:
        UnknownNameError: No such id, split or option.
        IntegrationError: The environment has several turns.
    """
    env = make_env(env_id, **options)
    check_one_turn(env, env_id)
    ability = env_id.rpartition("/")[2].rpartition("-v")[0]
    for index, task in enumerate(tasks_of(env, split)):
        yield {
            "data_source": env_id,
            "prompt": env.messages(task),
            "ability": ability,
            "reward_model": {"style": "rule", "ground_truth": task.id},
            "extra_info": {"split": split, "index": index, OPTIONS: canonical_json(options)},
        }


def write_data(env_id: str, folder: Path, splits: Iterable[str] | None = None, **options: Any) -> list[Path]:
    """Write a parquet file for each split.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        folder: Where to; it is made if it is not there.
        splits: Which; by default all of the environment's.
        **options: The environment's own options.

    Returns:
        The files `<split>.parquet`.

    Raises:
        UnknownNameError: No such id, split or option.
        IntegrationError: The environment has several turns.
    """
    import pyarrow  # noqa: PLC0415 (comes with datasets; rewards alone do not need it)
    import pyarrow.parquet  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for split in splits or make_env(env_id, **options).splits:
        path = folder / f"{split}.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows(env_id, split, **options))), path)
        written.append(path)
    return written
