"""Reward vectors from the logs of other trainers.

- a plain log, JSON lines: `{"group": …, "rewards": {NAME: number or null}}`;
- what TRL logs with `log_completions=True`, `completions/completions_00001.parquet`: a column for each reward function;
- what verl dumps with `trainer.rollout_data_dir=…`, `1.jsonl`: what the reward function returned beside `score`;
- chats as OpenAI's interface logs them, `{"messages": […], "rewards": {…}}`: those that ask the same are a group;
- any other JSON lines, with a mapping that says where group and rewards stand.

Text files may be compressed (`.gz`) and begin with a byte order mark.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gdpo_bench.advice.recorded import RecordedRewards
from gdpo_bench.core.chat_logs import prompt_of, read_messages
from gdpo_bench.core.errors import DataError
from gdpo_bench.core.records import json_records, mapped, parquet_table

_NOT_REWARDS = frozenset({"step", "advantage", "score", "gts", "group"})
"""Numbers beside the rewards in TRL's and verl's logs."""
_NEEDED = "A mapping needs `group` and at least one reward: group=prompt_id correct=scores.accuracy."
_PLAIN = '{"group": …, "rewards": {NAME: number or null}}'
Row = tuple[object, dict[str, float | None]]


def read_log(path: Path, mapping: Mapping[str, str] | None = None) -> RecordedRewards:
    """Read one file.

    Args:
        path: A plain log, a chat log, a file of TRL's or one of verl's, or other JSON lines.
        mapping: Of other JSON lines: `group`, and each reward's name → the key where it stands; `scores.accuracy` is a
            key within another. Chats need no `group`: those that ask the same are one.

    Raises:
        DataError: It cannot be read, is of another form, or holds no groups.
    """
    if mapping is not None and not set(mapping) - {"group"}:
        raise DataError(_NEEDED)
    rows = list(_parquet(path) if path.suffix == ".parquet" else _lines(path, mapping))
    if not rows:
        raise DataError(f"{path} is empty.")
    return RecordedRewards.of(rows, str(path))


def _lines(path: Path, mapping: Mapping[str, str] | None) -> Iterator[Row]:
    for where, content in json_records(path):
        yield _row(content if mapping is None else _as_mapped(content, mapping, where), where)


def _as_mapped(content: dict[str, Any], mapping: Mapping[str, str], where: str) -> dict[str, Any]:
    """The line as a plain log has it; a reward whose key is missing is absent."""
    found = mapped(content, mapping)
    if "group" not in mapping:
        if "messages" not in content:
            raise DataError(f"{where}: {_NEEDED} Its keys are {_keys(content)}.")
        return {"messages": content["messages"], "rewards": found}
    group = found.pop("group")
    if group is None:
        raise DataError(f"{where}: no {mapping['group']!r}, which is to name the group; its keys are {_keys(content)}.")
    return {"group": group, "rewards": found}


def _keys(content: Mapping[str, Any]) -> str:
    return ", ".join(content) or "none"


def _row(content: Mapping[str, Any], where: str) -> Row:
    if "rewards" in content:
        rewards = content["rewards"]
        if "messages" in content and "group" not in content:
            content = {"group": prompt_of(read_messages(content["messages"], where)), **content}
        if "group" not in content or not isinstance(rewards, dict):
            raise DataError(
                f'{where}: expected {{"group": …, "rewards": {{NAME: number or null}}}}; got {content!r:.80}'
            )
        return _key(content["group"]), {
            str(name): _number(value, f"{where}, {name}") for name, value in rewards.items()
        }
    if "input" in content and "output" in content:
        return (_key(content.get("step")), _key(content["input"])), _columns(content, where)
    if "messages" in content:
        raise DataError(
            f"{where}: a chat without rewards; say where they stand: --map correct=scores.accuracy; or which "
            f"environment scores it: --env ID. Its keys are {_keys(content)}."
        )
    if "replies" in content:
        raise DataError(f"{where}: these are replies without rewards; say which environment scores them: --env ID.")
    raise DataError(
        f"{where}: expected {_PLAIN}, or a line of verl's dump with input, output and score; its keys are "
        f"{_keys(content)}."
    )


def _columns(content: Mapping[str, Any], where: str) -> dict[str, float | None]:
    """The numbers beside what is no reward; the total `score` only where it is alone."""
    named = {name: value for name, value in content.items() if name not in _NOT_REWARDS and _may_be_reward(value)}
    if not named and "score" in content:
        named = {"score": content["score"]}
    return {name: _number(value, f"{where}, {name}") for name, value in named.items()}


def _parquet(path: Path) -> Iterator[Row]:
    table = parquet_table(path)
    if "prompt" not in table.column_names:
        raise DataError(
            f"{path}: expected TRL's columns (step, prompt, completion, …); got {', '.join(table.column_names)}."
        )
    numeric = [field.name for field in table.schema if field.name not in _NOT_REWARDS and _may_hold_rewards(field.type)]
    for number, record in enumerate(table.to_pylist(), start=1):
        group = (_key(record.get("step")), _key(record["prompt"]))
        yield group, {name: _number(record[name], f"{path}, row {number}, {name}") for name in numeric}


def _may_hold_rewards(type_: Any) -> bool:
    import pyarrow  # noqa: PLC0415 (slow to import)

    types = pyarrow.types
    return any(check(type_) for check in (types.is_floating, types.is_integer, types.is_boolean, types.is_null))


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
