"""`gdpo-bench advise`. Torch is imported only when it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from gdpo_bench.cli.terminal import make_console, say
from gdpo_bench.core.choices import parse_assignments, split_words
from gdpo_bench.core.errors import GdpoBenchError, UnknownNameError
from gdpo_bench.core.measurements import RewardVectors

if TYPE_CHECKING:
    from gdpo_bench.advice import RecordedRewards
    from gdpo_bench.leaderboard.files.schema import Entry


def advise(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    normalizers: tuple[str, ...] = (),
    using: str = "grpo",
    rewards: tuple[str, ...] = (),
    weights: tuple[str, ...] = (),
    ranges: tuple[str, ...] = (),
    map: tuple[str, ...] = (),
    env: str | None = None,
    split: str | None = None,
    step: int = 0,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    out: Path = Path("advice.png"),
) -> None:
    """Say from recorded rollouts which rewards would be silenced.

    Args:
        files: Logs with a reward vector for each rollout: {"group": …, "rewards": {NAME: number or null}} a line; TRL's
            logged completions (parquet); verl's rollout dumps; chats ({"messages": …, "rewards": …}); any of them, or
            replies, for --env; or entries of the leaderboard.
        normalizers: Whom to compare; by default all that are registered and need no
            option to be given.
        using: The normalizer that your run uses, for which help is looked for.
        rewards: Which of the recorded rewards; by default all.
        weights: Their weights: format=2; by default 1.
        ranges: Lowest and highest value: format=0,1; by default those that occur, or that the environment declares.
        map: Where other JSON lines hold group and rewards: group=prompt_id correct=scores.accuracy; for --env, where
            they hold what was asked and replied: question=prompt reply=text.
        env: Environment that scores replies (the lines of --policy replay:FILE).
        split: Which of its tasks the replies are about; by default the one that evaluation uses.
        step: Of an entry, the last step whose evaluations are read; 0 is before training.
        as_json: Print JSON instead of the table.
        out: The picture.
    """
    from gdpo_bench.advice import RecordedRewards  # noqa: PLC0415
    from gdpo_bench.advice import advise as find_advice  # noqa: PLC0415
    from gdpo_bench.advice.show import as_json as to_json  # noqa: PLC0415
    from gdpo_bench.advice.show import as_text, plot  # noqa: PLC0415

    if not files:
        raise GdpoBenchError("Name at least one file with recorded rewards; docs/advise.md shows the formats.")
    console = make_console()
    mapping = {name: str(key) for name, key in parse_assignments(map).items()} or None
    if env is not None:
        parts = [_scored(file, env, split, mapping, console) for file in files]
    else:
        parts = [part for file in files for part in _read(file, mapping, step)]
    chosen = split_words(rewards)
    recorded = RecordedRewards.together([part.selected(chosen) for part in parts] if chosen else parts)
    recorded = recorded.ranged({name: _range(name, value) for name, value in parse_assignments(ranges).items()})
    named = parse_assignments(weights)
    for name in named:
        if name not in recorded.names:
            raise UnknownNameError("reward", name, recorded.names)
    advice = find_advice(
        recorded,
        split_words(normalizers) or None,
        using=using,
        weights=[float(named.get(name, 1.0)) for name in recorded.names],
    )
    if as_json:
        print(json.dumps(to_json(advice), indent=1))
        return
    console.print(f"{len(recorded.groups):,} rollouts in {recorded.group_count:,} groups.\n", highlight=False)
    console.print(as_text(advice))
    plot(advice, out)
    console.print(f"Picture: {out}", soft_wrap=True, markup=False)


def recorded_evaluation(entry: Entry, vectors: RewardVectors) -> RecordedRewards:
    """One evaluation of an entry's run."""
    from gdpo_bench.advice import RecordedRewards  # noqa: PLC0415

    present = vectors.scores.applicable & ~vectors.scores.failed
    return RecordedRewards(
        tuple(reward.name for reward in entry.environment.rewards),
        np.where(present, vectors.scores.values, np.nan),
        np.unique(vectors.groups, return_inverse=True)[1].astype(np.int64),
        tuple((reward.low, reward.high) for reward in entry.environment.rewards),
    )


def _read(path: Path, mapping: dict[str, str] | None, step: int) -> list[RecordedRewards]:
    from gdpo_bench.advice import read_log  # noqa: PLC0415

    return _of_entry(path, step) if path.suffix == ".json" else [read_log(path, mapping)]


def _of_entry(path: Path, step: int) -> list[RecordedRewards]:
    from gdpo_bench.leaderboard.files.sidecar import read_sidecar, sidecar_path  # noqa: PLC0415
    from gdpo_bench.leaderboard.files.store import read_entry  # noqa: PLC0415

    entry = read_entry(path)
    if entry.sidecar is None:
        raise GdpoBenchError(f"{path}: an entry of an old format, without the rewards of single rollouts.")
    sidecar = read_sidecar(sidecar_path(path, entry.id), entry.sidecar)
    found = [one for run in sidecar.runs for one in run.evaluations if one.step <= step]
    if not found:
        raise GdpoBenchError(f"{path} holds no evaluation up to step {step}.")
    return [recorded_evaluation(entry, one) for one in found]


def _scored(
    path: Path, id: str, split: str | None, mapping: dict[str, str] | None, console: Console
) -> RecordedRewards:
    from gdpo_bench.advice import RecordedRewards  # noqa: PLC0415
    from gdpo_bench.agent.completions import read_completions  # noqa: PLC0415
    from gdpo_bench.core import make_env  # noqa: PLC0415
    from gdpo_bench.core.authored import tasks_of  # noqa: PLC0415
    from gdpo_bench.jobs.replay import FrozenRollouts, score_rollouts  # noqa: PLC0415

    env = make_env(id)
    tasks = tasks_of(env, split or env.splits[-1], id)
    completions = read_completions(path, tasks, env.messages, mapping)
    if told := completions.told_unmatched(path, id):
        say(told, sys.stderr)  # what --json prints stays JSON
    rollouts = FrozenRollouts.of(completions)
    scores = score_rollouts(env, id, rollouts, console)
    return RecordedRewards(
        tuple(spec.name for spec in env.reward_specs),
        np.where(scores.applicable & ~scores.failed, scores.values, np.nan),
        rollouts.groups,
        tuple((spec.low, spec.high) for spec in env.reward_specs),
    )


def _range(name: str, value: Any) -> tuple[float, float]:
    """`0,1` as the lowest and the highest value."""
    try:
        low, high = (float(part) for part in str(value).split(","))
    except ValueError as error:
        raise GdpoBenchError(f"--ranges: expected {name}=LOWEST,HIGHEST, such as {name}=0,1; got {value!r}.") from error
    if not low < high:
        raise GdpoBenchError(
            f"--ranges: the lowest value of {name} must be below the highest; got {low:g} and {high:g}."
        )
    return low, high
