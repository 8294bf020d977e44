"""What is known of an environment, as text: a line for the list, and a page."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gdpo_bench.core.env import TextEnv, reward_functions_of, tasks_of
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.registry import list_envs, make_env, spec
from gdpo_bench.core.rewards import RewardSpec

_REMARK = 100
"""Characters of an error in the list."""


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    id: str
    what: str
    """The first sentence of the class's docstring, or why there is none."""
    turns: str = ""
    rewards: str = ""
    data: str = ""


def env_rows() -> list[Row]:
    """A row for each registered environment; one that cannot be made says why."""
    return [_row(id) for id in list_envs()]


def env_table(rows: list[Row]) -> Table:
    """The list, for a terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("id", "what", "turns", "rewards", "data"):
        table.add_column(column, no_wrap=column == "id")
    for row in rows:
        table.add_row(row.id, escape(row.what), row.turns, escape(row.rewards), escape(row.data))
    return table


def _row(id: str) -> Row:
    try:
        env = _make(id)
    except GdpoBenchError as error:
        return Row(id, f"cannot be made: {error!s:.{_REMARK}}")
    rewards = ", ".join(f"{spec.name} {value_range(spec)}" for spec in env.reward_specs)
    return Row(id, first_paragraph(type(env)), f"{env.max_turns}", rewards, _data(env))


def _make(id: str, **options: Any) -> TextEnv[Any]:
    with blaming(id):
        return make_env(id, **options)


def _data(env: TextEnv[Any]) -> str:
    """Where the tasks come from; asks for no task, which might mean a download."""
    try:
        with blaming(type(env).__name__):
            origin = env.data_revision()
    except GdpoBenchError as error:
        return f"not here: {error!s:.{_REMARK}}"
    return "procedural" if origin is None else f"{origin} ({env.data_licence or 'licence not stated'})"


def value_range(spec: RewardSpec) -> str:
    """`{0, 1}` for a binary reward, `[0, 1]` for others."""
    return f"{{{spec.low:g}, {spec.high:g}}}" if spec.kind == "binary" else f"[{spec.low:g}, {spec.high:g}]"


def first_paragraph(documented: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    text = inspect.getdoc(documented) or "(no docstring)"
    return " ".join(text.partition("\n\n")[0].split())


def describe(id: str, **options: Any) -> RenderableType:
    """All that is known of an environment.

    Args:
        id: Its id, or `module:namespace/Name-v0`.
        **options: Its options.

    Returns:
        A page for a terminal.

    Raises:
        GdpoBenchError: It cannot be made. Data that are missing are part of the page.
    """
    env, found = _make(id, **options), spec(id)
    cls = type(env)
    turns = "one turn" if env.max_turns == 1 else f"up to {env.max_turns} turns"
    return Group(
        Text(f"{found.id}  ({turns}; {cls.__module__}:{cls.__qualname__}, of {found.source})", style="bold"),
        Text(f"\n{inspect.getdoc(cls) or '(no docstring)'}\n"),
        _rewards(env),
        Text(),
        _options(cls, found.options | options),
        Text(),
        _splits(env),
        Text(f"\nData: {_data(env)}"),
        *([Text(f"Replies cannot be scored here: {lacking}")] if (lacking := env.unavailable()) else []),
    )


def _rewards(env: TextEnv[Any]) -> Table:
    table = Table(
        "reward", "range", "kind", "weight", "metric", "counts if", "", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for function in reward_functions_of(env):
        spec = function.spec
        gate = f"{spec.gate.on} ≥ {spec.gate.at_least:g}" if spec.gate else ""
        says = escape(first_paragraph(getattr(type(env), function.method)))
        table.add_row(spec.name, value_range(spec), spec.kind, f"{spec.weight:g}", spec.metric or "", gate, says)
    return table


def _options(cls: type[TextEnv[Any]], given: dict[str, Any]) -> RenderableType:
    parameters = [p for p in inspect.signature(cls).parameters.values() if p.kind is not p.VAR_KEYWORD]
    if not parameters:
        return Text("No options.")
    explained = _explained(inspect.getdoc(cls.__init__) or "")
    table = Table("option", "value", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for parameter in parameters:
        default = "required" if parameter.default is parameter.empty else repr(parameter.default)
        value = f"{given[parameter.name]!r} (by default {default})" if parameter.name in given else default
        table.add_row(parameter.name, escape(value), escape(explained.get(parameter.name, "")))
    return table


def _explained(docstring: str) -> dict[str, str]:
    """What a Google docstring says of each argument."""
    _, _, section = docstring.partition("Args:\n")
    explained: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        indent = len(line) - len(line.lstrip())
        if not line.strip() or indent < 4:
            break
        if indent == 4:
            name, _, text = line.strip().partition(": ")
            explained[name.partition(" ")[0]] = text
        else:
            explained[name.partition(" ")[0]] += f" {line.strip()}"
    return explained


def _splits(env: TextEnv[Any]) -> Table:
    table = Table("split", "tasks", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for split in env.splits:
        try:
            with blaming(type(env).__name__):
                size = f"{len(tasks_of(env, split)):,}"
        except GdpoBenchError as error:
            size = str(error)
        table.add_row(split, escape(size))
    return table
