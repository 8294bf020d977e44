"""What conversations an environment holds, found by playing some before a job starts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from gdpo_bench.core import Task, TextEnv
from gdpo_bench.core.authored import reference_of
from gdpo_bench.core.env import Script, messages_of, script_replies
from gdpo_bench.core.scoring import Episode

_BEGUN, _PLAYED, _TURNS = 200, 8, 4
"""Tasks whose prompts are looked at, tasks that are played, and replies to one."""


def conversations(env: TextEnv[Any], tasks: Sequence[Task]) -> set[tuple[str, ...]]:
    """Roles of the messages in conversations of an environment.

    Args:
        env: The environment.
        tasks: Some of its tasks.

    Returns:
        A sequence of roles for each kind of conversation, up to where the policy replies for the last time.
    """
    found = {tuple(message["role"] for message in messages_of(env, task)) for task in tasks[:_BEGUN]}
    if env.max_turns > 1:
        for task in tasks[:_PLAYED]:
            found |= {_roles(env, task, script) for script in (reference_of(env, task, type(env).__name__) or "", "")}
    return found


def _roles(env: TextEnv[Any], task: Task, script: Script) -> tuple[str, ...]:
    """Roles of one episode; where a script ends, empty replies follow."""
    episode = Episode(env, task)
    replies = [*script_replies(script), *[""] * _TURNS]
    for reply in islice(replies, _TURNS):
        try:
            episode.advance(env, reply)
        except Exception:  # as in a run, the author's code breaks off this episode and no other
            break
        if episode.over:
            break
    roles = [message["role"] for message in episode.transcript]
    return tuple(roles[:-1] if roles[-1:] == ["assistant"] else roles)
