"""Scoring beside training, where reward functions mostly wait for other processes or machines."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from gdpo_bench.agent.scale.processes import World
from gdpo_bench.core import GroupVectorEnv


@contextmanager
def scorer_for(env: GroupVectorEnv, world: World) -> Iterator[Executor | None]:
    """A thread that scores replies, for an environment that asks for one; else None.

    Only one, since reward functions need not be safe for several.
    """
    if not env.text_env.scored_elsewhere:
        yield None
        return
    scorer = ThreadPoolExecutor(1, "scorer", initializer=world.claim_device)
    try:
        yield scorer
    finally:
        scorer.shutdown(wait=False, cancel_futures=True)  # after an error there is nothing to wait for
