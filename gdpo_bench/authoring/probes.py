"""Replies that the checker tries, and what an environment makes of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from random import Random
from typing import Any

from gdpo_bench.core.authored import demonstrations_of, reference_of
from gdpo_bench.core.env import TextEnv, script_replies
from gdpo_bench.core.errors import RewardError
from gdpo_bench.core.foreign import described
from gdpo_bench.core.scoring import EpisodeBatch, Scores, ScoringFailure
from gdpo_bench.core.task import Task, content_hash

DEMONSTRATIONS = 48
_MEGABYTE = 1_000_000
_ODD_REPLIES = {
    "an empty reply": "",
    "white space": " \n\t\u2028",
    "one word": "hello",
    "a tool call": '<think></think><tool_call>{"name": "f", "parameters": {"x": 1}}</tool_call>',
    "a program": "```python\nprint(7)\n```",
    "a boxed number": "<think></think><answer>\\boxed{7}</answer>",
    "accents, emoji and right-to-left marks": "Zażółć gęślą jaźń 🦆👩‍👩‍👧 \u202eשלום\u0301",
    "lone surrogates and control characters": "\ud800\x00\x1b[2J\udfff\ufffe",
    "1 MB of one letter": "x" * _MEGABYTE,
    "1 MB of one digit": "9" * _MEGABYTE,
    "1 MB of opening brackets": "[" * _MEGABYTE,
    "1 MB of opening tags": "<think>" * (_MEGABYTE // 7),
}


@dataclass(frozen=True)
class Probe:
    """An episode to be played: a task, and what is replied to it."""

    task: Task
    replies: tuple[str, ...]
    """One a turn; the last is repeated if the episode goes on."""
    what: str
    """In a few words, for messages."""

    def __str__(self) -> str:
        """The replies' first characters, with where they come from."""
        shown = " ⏎ ".join(f"{reply:.60}{'…' if len(reply) > 60 else ''}" for reply in self.replies)
        return f"{self.what} ({shown!a}) on task {self.task.id}"


@dataclass(frozen=True)
class Outcome:
    """What a probe earned, summed over turns; two are equal if the environment behaved alike."""

    values: tuple[float, ...] = ()
    """K rewards, gates applied."""
    raw: tuple[float, ...] = ()
    """K rewards before gates."""
    applicable: tuple[bool, ...] = ()
    failed: tuple[bool, ...] = ()
    answers: str = ""
    """Hash of everything that the environment said."""
    failures: tuple[ScoringFailure, ...] = field(default=(), compare=False)
    """What reward functions raised."""
    error: str = ""
    """What kept the probe from being scored."""
    is_reward_error: bool = False
    """Whether that was a value which the declaration of its reward forbids."""


def play(env: TextEnv[Any], name: str, probes: Sequence[Probe]) -> list[Outcome]:
    """Play probes side by side, as training does.

    Args:
        env: The environment.
        name: Its id, for messages.
        probes: N probes.

    Returns:
        N outcomes.

    Raises:
        Exception: Whatever the environment raises outside of its reward functions.
    """
    batch, scores = played(env, name, probes)
    failures: dict[str, list[ScoringFailure]] = {}
    for failure in scores.failures:
        failures.setdefault(failure.task_id, []).append(failure)
    return [
        Outcome(
            tuple(scores.values[i].tolist()),
            tuple(scores.raw[i].tolist()),
            tuple(scores.applicable[i].tolist()),
            tuple(scores.failed[i].tolist()),
            content_hash([message for message in messages if message["role"] != "assistant"]),
            tuple(failures.get(probes[i].task.id, ())) if scores.failed[i].any() else (),
        )
        for i, messages in enumerate(batch.messages())
    ]


def played(env: TextEnv[Any], name: str, probes: Sequence[Probe]) -> tuple[EpisodeBatch, Scores]:
    """The finished episodes of N probes, and their rewards (N, K) summed over turns.

    Args:
        env: The environment.
        name: Its id, for messages.
        probes: N probes, at least one.

    Raises:
        Exception: Whatever the environment raises outside of its reward functions.
    """
    batch = EpisodeBatch(env, name, [probe.task for probe in probes])
    turns: list[Scores] = []
    while not all(episode.over for episode in batch.episodes):
        turns.append(batch.play([probe.replies[min(len(turns), len(probe.replies) - 1)] for probe in probes]))
    return batch, reduce(Scores.__add__, turns)


def play_alone(env: TextEnv[Any], name: str, probe: Probe) -> Outcome:
    """Play one probe; whatever goes wrong is part of the outcome."""
    try:
        return play(env, name, [probe])[0]
    except RewardError as error:
        return Outcome(error=str(error), is_reward_error=True)
    except (Exception, SystemExit) as error:  # the author's code, outside of what the engine protects
        return Outcome(error=described(error))


def reference_probes(env: TextEnv[Any], name: str, tasks: Sequence[Task]) -> list[Probe]:
    """The reference replies to those of the tasks that have one.

    Raises:
        DeclarationError: See `reference_of`.
    """
    return [
        Probe(task, tuple(script_replies(script)), "the reference")
        for task in tasks
        if (script := reference_of(env, task, name)) is not None
    ]


def demonstration_probes(env: TextEnv[Any], name: str, count: int = DEMONSTRATIONS, seed: int = 0) -> list[Probe]:
    """The first demonstrations of a seed.

    Raises:
        DeclarationError: See `demonstrations_of`.
    """
    stream = itertools.islice(demonstrations_of(env, Random(seed), name), count)
    return [Probe(task, tuple(script_replies(script)), "a demonstration") for task, script in stream]


def corrupted_probes(references: Sequence[Probe]) -> Iterator[Probe]:
    """Each reference with something wrong with it, in many ways."""
    for probe, other in zip(references, [*references[1:], *references[:1]], strict=True):
        *before, last = probe.replies
        for what, reply in _corruptions(last):
            yield Probe(probe.task, (*before, reply), what)
        yield Probe(probe.task, other.replies, "the reference of another task")
        yield Probe(probe.task, ("hello", *probe.replies), "a greeting before the reference")
        if before:
            yield Probe(probe.task, (last,), "the last reply of the reference alone")
            yield Probe(probe.task, (*before, *before, last), "the reference with its first replies repeated")


def _corruptions(reply: str) -> Iterator[tuple[str, str]]:
    yield "half of the reference", reply[: len(reply) // 2]
    yield "the reference without its last letter", reply[:-1]
    yield "the reference twice", reply * 2
    yield "the reference in capitals", reply.swapcase()
    yield "the reference backwards", reply[::-1]
    yield "the reference after a long introduction", "well, " * 2000 + reply
    yield "the reference and a long conclusion", reply + " indeed" * 2000
    yield "the reference without its tags", re.sub(r"<[^<>]*>", "", reply)
    yield "the reference with other words", re.sub(r"(?<![</\w])[A-Za-z]{3,}(?![>\w])", "duck", reply)
    yield "the reference with its numbers changed", re.sub(r"\d+", lambda n: f"{int(n[0][:18]) + 1}", reply)
    yield "the reference with other numbers", re.sub(r"\d+", "0", reply)
    yield "the reference with infinite numbers", re.sub(r"\d+", "1e999", reply)
    yield "the reference with numbers of 5000 digits", re.sub(r"\d+", "9" * 5000, reply, count=3)


def odd_probes(task: Task, reference: str) -> Iterator[Probe]:
    """Replies that no author thinks of, and a policy under exploration writes sooner or later."""
    for what, reply in _ODD_REPLIES.items():
        yield Probe(task, (reply,), what)
    if reference:
        yield Probe(task, (reference * (_MEGABYTE // len(reference) + 1),), "1 MB of the reference")


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, evenly from the whole sequence."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]
