"""What is known of an environment, as text: a line for the list, and a page."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gdpo_bench.authoring.show_gaming import gaming_table, gaming_verdict
from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.env import TextEnv, reward_functions_of
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.gaming import outdated, read_certificate
from gdpo_bench.core.models import options_suffix
from gdpo_bench.core.registry import list_envs, make_env, spec
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.text import unwrapped

_REMARK = 100
"""Characters of an error in the list."""
_MISSING = "not here"
_RUNS = "runs_programs_with"
_WIDE = 110
"""Columns of a terminal that has room for rewards, turns and where data come from."""


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    id: str
    what: str
    """The first sentence of the class's docstring, or why there is none."""
    family: str = ""
    """Environments of one kind: ours by their folder, others by their namespace."""
    turns: str = ""
    rewards: str = ""
    data: str = ""
    """Where the tasks come from, and their licence; or why they are not here."""
    trained_by: str = ""
    """`mini` where there are demonstrations, which the embedded policies imitate first; `hf` where a model must be
    given; `eval` where there is no training split."""
    programs: bool = False
    """Whether programs of replies are run, in Docker."""

    @property
    def data_state(self) -> str:
        """In a word: `made` on the spot, on this machine, on the hub, or `missing`."""
        if self.data in ("", "procedural"):
            return self.data and "made"
        return "missing" if self.data.startswith(_MISSING) else "here" if self.data.startswith("local:") else "hub"


def env_rows() -> list[Row]:
    """A row for each registered environment; one that cannot be made says why."""
    return [_row(id) for id in list_envs()]


def env_table(rows: list[Row], docker: str, width: int) -> Table:
    """The list by family, for a terminal.

    Args:
        rows: The environments.
        docker: What to say of those that run programs, such as `here`.
        width: Columns of the terminal; a narrow one has no room for rewards.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns = ["id", "what", "train", "Docker", "data"] + (["turns", "rewards", "from"] if width >= _WIDE else [])
    for column in columns:
        table.add_column(column, no_wrap=column not in ("what", "rewards", "from"), overflow="fold")
    for number, (family, members) in enumerate(groupby(sorted(rows, key=_by_family), key=lambda row: row.family)):
        if number:
            table.add_row()
        table.add_row(Text(family, style="bold"))
        for row in members:
            cells = [row.id, escape(row.what), row.trained_by, docker if row.programs else "", row.data_state]
            more = [row.turns, escape(row.rewards), escape(row.data)]
            table.add_row(*(cells + more)[: len(columns)])
    return table


def _by_family(row: Row) -> tuple[bool, str, str]:
    return not row.id.startswith("gdpo/"), row.family, row.id


def _row(id: str) -> Row:
    family = _family(id)
    try:
        env = _make(id)
    except GdpoBenchError as error:
        return Row(id, f"cannot be made: {error!s:.{_REMARK}}", family)
    return Row(
        id,
        first_paragraph(type(env)),
        family,
        turns=f"{env.max_turns}",
        rewards=", ".join(f"{spec.name} {value_range(spec)}" for spec in env.reward_specs),
        data=_data(env),
        trained_by=("mini" if _overrides(env, "demonstrations") else "hf") if "train" in env.splits else "eval",
        programs=_overrides(env, _RUNS),
    )


def _family(id: str) -> str:
    entry_point = spec(id).entry_point
    module = entry_point.partition(":")[0] if isinstance(entry_point, str) else entry_point.__module__
    package, *folders = module.split(".")
    return folders[0].replace("_", " ") if package == "gdpo_envs" and folders else id.partition("/")[0]


def _overrides(env: TextEnv[Any], method: str) -> bool:
    return getattr(type(env), method) is not getattr(TextEnv, method)


def _make(id: str, **options: Any) -> TextEnv[Any]:
    with blaming(id):
        return make_env(id, **options)


def _training(env: TextEnv[Any]) -> str:
    if "train" not in env.splits:
        return "none, it is for evaluation: `--policy oracle`, `--policy replay:FILE`, or a suite of a job."
    if _overrides(env, "demonstrations"):
        return "the embedded policies (`mini`, `small`, `base`), which imitate its demonstrations first, and models."
    return "models (`--policy hf:MODEL`); it has no demonstrations, which the embedded policies imitate first."


def _data(env: TextEnv[Any], length: int = _REMARK) -> str:
    """Where the tasks come from; asks for no task, which might mean a download."""
    try:
        with blaming(type(env).__name__):
            origin = env.data_revision()
    except GdpoBenchError as error:
        return f"{_MISSING}: {error!s:.{length}}"
    return "procedural" if origin is None else f"{origin} ({env.data_licence or 'licence not stated'})"


def value_range(spec: RewardSpec) -> str:
    """`{0, 1}` for a binary reward, `[0, 1]` for others."""
    ends = f"{spec.low + 0.0:g}, {spec.high + 0.0:g}"  # not -0
    return f"{{{ends}}}" if spec.kind == "binary" else f"[{ends}]"


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
    source = f", of {found.source}" if found.source.startswith("package ") else ""
    turns = "one turn" if env.max_turns == 1 else f"up to {env.max_turns} turns"
    return Group(
        Text(f"{found.id}  ({turns}; {cls.__module__}:{cls.__qualname__}{source})", style="bold"),
        Text(f"\n{unwrapped(inspect.getdoc(cls) or '(no docstring)')}\n"),
        _rewards(env),
        Text(),
        _options(cls, found.options_with(options)),
        Text(),
        _splits(env),
        Text(f"\nData: {_data(env, 1000)}"),
        Text(f"Training: {_training(env)}"),
        *_gaming(env, found.id, options, found.options_with(options)),
        *([Text("Programs of replies are run, in Docker and nowhere else.")] if _overrides(env, _RUNS) else []),
        *([Text(f"Replies cannot be scored here: {lacking}")] if (lacking := env.unavailable()) else []),
    )


def _gaming(env: TextEnv[Any], id: str, given: dict[str, Any], options: dict[str, Any]) -> list[RenderableType]:
    """What replies that ignore their task earn, as it was measured; nothing is scored here.

    Args:
        env: The environment.
        id: Its id, which may state options.
        given: Options beside the id.
        options: All of them.
    """
    again = f"gdpo-bench check {id}{options_suffix(given)} --gaming measures what replies that ignore their task earn."
    found = read_certificate(id)
    if found is None:
        return [Text(f"Gaming: {again}")]
    if changed := outdated(found, {"options": options, "grader_revision": env.grader_revision}):
        return [Text(f"Gaming: what was measured is of other {changed}; {again}")]
    return [Text(), gaming_table(found), Text(" ".join(gaming_verdict(found))), Text()]


def _rewards(env: TextEnv[Any]) -> Table:
    table = Table(
        "reward", "range", "kind", "weight", "metric", "counts if", "", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    table.columns[-1].overflow = "fold"
    for function in reward_functions_of(env):
        spec = function.spec
        gate = f"{spec.gate.on} ≥ {spec.gate.at_least:g}" if spec.gate else ""
        says = escape(first_paragraph(getattr(env, function.method)))
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
