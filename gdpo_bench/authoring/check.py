"""`check_env`: the public checker."""

from __future__ import annotations

from typing import Any

from gdpo_bench.authoring.checks import CHECKS, CheckResult, examine
from gdpo_bench.authoring.subject import Subject
from gdpo_bench.core.env import TextEnv


def check_env(env: str | TextEnv[Any], tasks: int = 20, **options: Any) -> list[CheckResult]:
    """Check an environment for everything that trainers and the leaderboard rely on.

    It plays the reference, imperfect and odd replies, in this process and in two others.

    Args:
        env: An id, `module:namespace/Name-v0`, either with `:option=value`, or an instance.
        tasks: How many tasks of each split to try the reference on.
        **options: The environment's options; an instance has its own.

    Returns:
        A result for each of `CHECKS`, in that order.

    Raises:
        GdpoBenchError: The environment cannot be made, a split is empty, or data are missing.
    """
    subject = Subject(env, tasks, **options)
    return [examine(subject, check) for check in CHECKS]
