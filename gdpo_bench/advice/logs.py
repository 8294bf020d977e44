"""Reward vectors from the logs of other trainers.

- a plain log, JSON lines: `{"group": …, "rewards": {NAME: number or null}}`;
- what TRL logs with `log_completions=True`, `completions/completions_00001.parquet`: a column for each reward function;
- any other JSON lines, with a mapping that says where group and rewards stand;
- what verl dumps with `trainer.rollout_data_dir=…`, `1.jsonl`: what the reward function returned beside `score`.

Text files may be compressed (`.gz`) and begin with a byte order mark.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gdpo_bench.advice.recorded import RecordedRewards
from gdpo_bench.core.errors import DataError

_NOT_REWARDS = frozenset({"step", "advantage", "score", "gts", "group"})
"""Numbers beside the rewards in TRL's and verl's logs."""
_PLAIN = '{"group": …, "rewards": {NAME: number or null}}'
Row = tuple[object, dict[str, float | None]]


def read_log(path: Path, mapping: Mapping[str, str] | None = None) -> RecordedRewards:
    """Read one file.

    Args:
        path: A plain log, a file of TRL's or one of verl's, or other JSON lines.
        mapping: Of other JSON lines: `group`, and each reward's name → the key where it stands; `scores.accuracy` is a
            key within another.

    Raises:
        DataError: It cannot be read, is of another form, or holds no groups.
    """
    if mapping is not None and ("group" not in mapping or len(mapping) < 2):
        raise DataError("A mapping needs `group` and at least one reward: group=prompt_id correct=scores.accuracy.")
    rows = list(_parquet(path) if path.suffix == ".parquet" else _lines(path, mapping))
    if not rows:
        raise DataError(f"{path} is empty.")
    return RecordedRewards.of(rows, str(path))


def _lines(path: Path, mapping: Mapping[str, str] | None) -> Iterator[Row]:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    content = _parsed(line, where)
                    yield _row(content if mapping is None else _mapped(content, mapping, where), where)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, after line {number}: expected UTF-8 text; {error.reason}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object; {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected a JSON object; got {type(content).__name__} {line.strip():.60}")
    return content


def _mapped(content: dict[str, Any], mapping: Mapping[str, str], where: str) -> dict[str, Any]:
    """The line as a plain log has it; a reward whose key is missing is absent."""
    found = {name: _at(content, key.split(".")) for name, key in mapping.items()}
    group = found.pop("group")
    if group is None:
        raise DataError(
            f"{where}: no {mapping['group']!r}, which is to name the group; its keys are {', '.join(content)}."
        )
    return {"group": group, "rewards": found}


def _at(content: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _row(content: Mapping[str, Any], where: str) -> Row:
    if "rewards" in content:
        rewards = content["rewards"]
        if "group" not in content or not isinstance(rewards, dict):
            raise DataError(
                f'{where}: expected {{"group": …, "rewards": {{NAME: number or null}}}}; got {content!r:.80}'
            )
        return _key(content["group"]), {
            str(name): _number(value, f"{where}, {name}") for name, value in rewards.items()
        }
    if "input" in content and "output" in content:
        return (_key(content.get("step")), _key(content["input"])), _columns(content, where)
    if "replies" in content:
        raise DataError(f"{where}: these are replies without rewards; say which environment scores them: --env ID.")
    raise DataError(
        f"{where}: expected {_PLAIN}, or a line of verl's dump with input, output and score; its keys are "
        f"{', '.join(content) or 'none'}."
    )


def _columns(content: Mapping[str, Any], where: str) -> dict[str, float | None]:
    """The numbers beside what is no reward; the total `score` only where it is alone."""
    named = {name: value for name, value in content.items() if name not in _NOT_REWARDS and _may_be_reward(value)}
    if not named and "score" in content:
        named = {"score": content["score"]}
    return {name: _number(value, f"{where}, {name}") for name, value in named.items()}


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet  # noqa: PLC0415 (slow to import)

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"Cannot read {path} as parquet: {error}.") from error
    if "prompt" not in table.column_names:
        raise DataError(
            f"{path}: expected TRL's columns (step, prompt, completion, …); got {', '.join(table.column_names)}."
        )
    numeric = [
        field.name
        for field in table.schema
        if field.name not in _NOT_REWARDS and (_is_number(field.type) or pyarrow.types.is_boolean(field.type))
    ]
    for number, record in enumerate(table.to_pylist(), start=1):
        group = (_key(record.get("step")), _key(record["prompt"]))
        yield group, {name: _number(record[name], f"{path}, row {number}, {name}") for name in numeric}


def _is_number(type_: Any) -> bool:
    import pyarrow  # noqa: PLC0415

    return bool(pyarrow.types.is_floating(type_) or pyarrow.types.is_integer(type_) or pyarrow.types.is_null(type_))


def _may_be_reward(value: Any) -> bool:
    return value is None or isinstance(value, (int, float))


def _number(value: Any, where: str) -> float | None:
    """A reward, None where it is absent: null, or the NaN that TRL logs for it."""
    if not _may_be_reward(value):
        raise DataError(f"{where}: a reward must be a number or null; got {value!r:.60}.")
    try:
        number = math.nan if value is None else float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise DataError(f"{where}: a reward must be finite; got {value!r:.60}.")
    return None if math.isnan(number) else number


def _key(value: Any) -> object:
    """What tells groups apart: the value, or its JSON where it is a list or an object."""
    return (
        value
        if isinstance(value, (str, int, float, bool, type(None)))
        else json.dumps(value, sort_keys=True, default=str)
    )
