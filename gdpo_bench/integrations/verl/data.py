"""Tasks of environments as the parquet files that verl reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.registry import make_env
from gdpo_bench.core.task import canonical_json
from gdpo_bench.integrations.mixture import refuse_repeated, write_mixture
from gdpo_bench.integrations.scoring import check_one_turn
from gdpo_bench.integrations.verl.columns import MIXTURE, OPTIONS


def rows(env_id: str, split: str, mixture: str | None = None, **options: Any) -> Iterator[dict[str, Any]]:
    """The tasks of a split in verl's schema.

    `data_source` is the environment's id and `reward_model.ground_truth` the task's, by which
    `compute_score` finds it again; `extra_info` holds the split, the place in it, and the options.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        split: One of the environment's splits.
        mixture: All environments of the training, where there are several.
        **options: The environment's own options.

    Raises:
        UnknownNameError: No such id, split or option.
        IntegrationError: The environment has several turns.
    """
    env = make_env(env_id, **options)
    check_one_turn(env, env_id)
    ability = env_id.rpartition("/")[2].rpartition("-v")[0]
    of_mixture = {} if mixture is None else {MIXTURE: mixture}
    for index, task in enumerate(tasks_of(env, split)):
        yield {
            "data_source": env_id,
            "prompt": env.messages(task),
            "ability": ability,
            "reward_model": {"style": "rule", "ground_truth": task.id},
            "extra_info": {"split": split, "index": index, OPTIONS: canonical_json(options), **of_mixture},
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
    wanted = splits or make_env(env_id, **options).splits
    return [_write(folder, split, list(rows(env_id, split, **options))) for split in wanted]


def write_mixed_data(choices: Sequence[str], folder: Path, splits: Iterable[str] | None = None) -> list[Path]:
    """Write the tasks of several environments, for one training, as a parquet file for each split.

    Args:
        choices: Ids, with options as in a job: `gdpo/ToolCallingMini-v1:format_rate=0.04`.
        folder: Where to; it is made if it is not there.
        splits: Which; by default those that all of them have.

    Returns:
        The files `<split>.parquet`, in each the environments one after the other.

    Raises:
        UnknownNameError: No such id, split or option.
        IntegrationError: An environment of several turns, or twice the same.
    """
    envs = [parse_choice(choice) for choice in choices]
    sources = [(env_id, canonical_json(options)) for env_id, options in envs]
    refuse_repeated([" ".join(source) for source in sources])
    common = [make_env(env_id, **options).splits for env_id, options in envs]
    wanted = splits or [split for split in common[0] if all(split in others for others in common)]
    mixture = write_mixture(sources)
    return [
        _write(folder, split, [row for env_id, options in envs for row in rows(env_id, split, mixture, **options)])
        for split in wanted
    ]


def _write(folder: Path, split: str, found: list[dict[str, Any]]) -> Path:
    import pyarrow  # noqa: PLC0415 (comes with datasets; rewards alone do not need it)
    import pyarrow.parquet  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), path)
    return path
