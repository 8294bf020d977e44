"""The rewards that a task declares, and the range of each: from its annotation, the taskset, or an option."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gdpo_bench.core import DeclarationError, RewardSpec

Range = tuple[float, float]
_RANGE = re.compile(r"\s*(\S+?)\.\.(\S+)\s*")


def read_ranges(id: str, ranges: Mapping[str, Any]) -> dict[str, Range]:
    """Ranges as `LOW..HIGH` or as pairs.

    Raises:
        DeclarationError: One is neither.
    """
    return {name: _range(id, name, value) for name, value in ranges.items()}


def _range(id: str, name: str, value: Any) -> Range:
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    pair = found.groups() if found else value
    try:
        low, high = map(float, pair)
    except (TypeError, ValueError) as error:
        raise DeclarationError(
            f"{id}: the range of a reward is LOW..HIGH, such as ranges.{name}=0..1; got {value!r:.80}."
        ) from error
    return low, high


def declarations(
    id: str, task: Any, ranges: Mapping[str, Range], *, elsewhere: bool = False
) -> dict[str, tuple[RewardSpec, str]]:
    """Name → declaration and description, in the order in which verifiers calls the functions.

    A function that returns a mapping gives several rewards, whose names only `ranges` can tell.

    Args:
        id: The environment's id, for messages.
        task: One of its tasks, of which all are of one class.
        ranges: Those that the taskset and options state.
        elsewhere: Whether something beside the task records rewards, whose names and ranges `ranges` has.

    Raises:
        DeclarationError: A range is not known, or belongs to no reward.
    """
    functions = task.hooks("reward")
    keyed = [function for function in functions if _hint(function) in (dict, Mapping)]
    weights = {function.__name__: _weight(function) for function in functions if function not in keyed}
    says = {function.__name__: function.__doc__ or "" for function in functions}
    known = {function.__name__: _known(function) for function in functions}
    for judge in task.plugged_judges():
        weights[judge.reward_name] = float(judge.config.weight)
    if keyed:
        # Of several such functions, which gives a name shows only in a trace; one that is called like it does.
        own = {function.__name__: _weight(function) for function in keyed}
        common = next(iter(own.values())) if len(set(own.values())) == 1 else 1.0
        weights |= {name: own.get(name, common) for name in ranges if name not in weights}
    if elsewhere:
        weights |= {name: 1.0 for name in ranges if name not in weights}
    if strays := [name for name in ranges if name not in weights]:
        raise DeclarationError(
            f"{id}: a range for {', '.join(map(repr, strays))}, which is no reward; rewards: {', '.join(weights)}."
        )
    stated = {name: (*ranges[name], "graded") if name in ranges else known.get(name) for name in weights}
    if unknown := [name for name, range in stated.items() if range is None]:
        option = ",".join(f"ranges.{name}=LOW..HIGH" for name in unknown)
        raise DeclarationError(
            f"{id}: the range of {', '.join(map(repr, unknown))} is not known. Say it, {id}:{option}, or in the class "
            f"of the taskset, ranges = {{{unknown[0]!r}: (LOW, HIGH)}}. Of what returns bool or Literal it is known."
        )
    if not stated:
        raise DeclarationError(
            f"{id}: no reward. Mark a method of {type(task).__name__} with @vf.reward; if one returns a dictionary, "
            f"state a range for each of its names, {id}:ranges.NAME=LOW..HIGH."
        )
    return {
        name: (RewardSpec(name, low, high, kind, weights[name]), says.get(name, ""))  # type: ignore[arg-type]
        for name, (low, high, kind) in ((name, range) for name, range in stated.items() if range)
    }


def _weight(function: Callable[..., Any]) -> float:
    return float(getattr(function, "_vf_weight", 1.0))


def _hint(function: Callable[..., Any]) -> Any:
    """What a function says that it returns, parameters of a generic aside."""
    try:
        hint = get_type_hints(function).get("return")
    except Exception:  # of names that are not there when the program runs
        return None
    origin = get_origin(hint)
    return (
        hint
        if origin in (None, Literal)
        else next((base for base in (dict, Mapping) if issubclass(origin, base)), hint)
    )


def _known(function: Callable[..., Any]) -> tuple[float, float, str] | None:
    """The range that an annotation tells."""
    hint = _hint(function)
    if hint is bool:
        return 0, 1, "binary"
    if get_origin(hint) is Literal and all(isinstance(value, int | float) for value in get_args(hint)):
        values = sorted(set(map(float, get_args(hint))))
        return (values[0], values[-1], "binary" if len(values) == 2 else "graded") if len(values) > 1 else None
    return None
