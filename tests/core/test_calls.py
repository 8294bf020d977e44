"""Reward functions that wait: side by side, within their time, and in order whatever ends first."""

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest

from gdpo_bench import Task, TextEnv, reward
from gdpo_bench.core import DeclarationError, UnavailableError, UnknownNameError
from gdpo_bench.core.env import build_env
from gdpo_bench.core.scoring import score

PATIENCE = 20
"""Seconds after which a test gives up."""


class Judge(TextEnv[Task]):
    """Gives what `verdict` says of a reply."""

    scored_elsewhere = True

    def __init__(self, verdict: Any = None) -> None:
        self.verdict = verdict

    def tasks(self, split):
        return [Task(split)]

    @reward(low=0, high=100)
    def judged(self, task, reply):
        return self.verdict(reply)


class AwaitedJudge(Judge):
    @reward(low=0, high=100)
    async def judged(self, task, reply):
        return await self.verdict(reply)


class BatchJudge(Judge):
    @reward(low=0, high=100, batched=True)
    def judged(self, tasks, replies):
        return self.verdict(replies)


class AwaitedBatchJudge(Judge):
    @reward(low=0, high=100, batched=True)
    async def judged(self, tasks, replies):
        return await self.verdict(replies)


def scored(env, replies):
    return score(env, "test/Judge", [Task("train")] * len(replies), replies)


def made(cls, verdict, **options):
    return build_env(cls, "test/Judge", {"verdict": verdict, **options})


class Inside:
    """Counts how many calls are inside at once; each waits a moment for others."""

    def __init__(self):
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def _count(self, by):
        with self.lock:
            self.now += by
            self.most = max(self.most, self.now)

    def __call__(self, reply):
        self._count(1)
        time.sleep(0.01)
        self._count(-1)
        return 1

    async def awaited(self, reply):
        self._count(1)
        await asyncio.sleep(0.01)
        self._count(-1)
        return 1


def test_calls_of_a_batch_are_inside_at_once():
    barrier = threading.Barrier(16)  # which lets nobody through before all are there

    def verdict(reply):
        barrier.wait(PATIENCE)
        return 1

    assert scored(made(Judge, verdict), ["x"] * 16).values.sum() == 16


def test_coroutines_of_a_batch_are_awaited_together():
    waiting, all_there = [], []

    async def verdict(reply):
        if not waiting:
            all_there.append(asyncio.Event())
        waiting.append(reply)
        if len(waiting) == 16:
            all_there[0].set()
        await asyncio.wait_for(all_there[0].wait(), PATIENCE)
        return int(reply)

    scores = scored(made(AwaitedJudge, verdict), [str(n) for n in range(16)])
    assert scores.values[:, 0].tolist() == list(range(16))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("awaited", [False, True])
def test_no_more_calls_are_inside_than_the_environment_allows(workers, awaited):
    inside = Inside()
    env = (
        made(AwaitedJudge, inside.awaited, reward_workers=workers)
        if awaited
        else made(Judge, inside, reward_workers=workers)
    )
    assert scored(env, ["x"] * 12).values.sum() == 12
    assert inside.most == workers


def test_rewards_that_compute_stay_in_the_callers_thread_one_after_the_other():
    class Computed(Judge):
        scored_elsewhere = False

    threads = []
    scored(made(Computed, lambda reply: bool(threads.append((reply, threading.get_ident())))), ["a", "b", "c"])
    assert threads == [(reply, threading.get_ident()) for reply in "abc"]


@pytest.mark.parametrize("awaited", [False, True])
def test_values_stand_in_the_order_of_the_replies_whichever_call_ends_first(awaited):
    """The last call ends first, and the first one last."""
    ended = [threading.Event() for _ in range(9)]
    ended[8].set()

    def judged(reply):
        ended[int(reply)].set()
        if reply == "3":
            raise ValueError("no verdict")
        return int(reply)

    def verdict(reply):
        assert ended[int(reply) + 1].wait(PATIENCE)
        return judged(reply)

    async def awaited_verdict(reply):
        while not ended[int(reply) + 1].is_set():
            await asyncio.sleep(0)
        return judged(reply)

    env = made(AwaitedJudge, awaited_verdict) if awaited else made(Judge, verdict)
    scores = scored(env, [str(n) for n in range(8)])
    assert scores.values[:, 0].tolist() == [0, 1, 2, 0, 4, 5, 6, 7]
    assert scores.failed[:, 0].tolist() == [n == 3 for n in range(8)]
    assert [failure.error for failure in scores.failures] == ["ValueError: no verdict"]


def test_a_call_that_is_late_has_failed_and_the_others_have_not():
    release = threading.Event()
    env = made(Judge, lambda reply: release.wait(PATIENCE) if reply == "slow" else 7, reward_timeout=0.05)
    scores = scored(env, ["x", "slow", "x"])
    release.set()
    assert scores.values[:, 0].tolist() == [7, 0, 7]
    assert scores.failed[:, 0].tolist() == [False, True, False]
    assert scores.applicable.all()
    assert str(scores.failures[0]).endswith(
        "RewardTimeoutError: no value within 0.05 s, the environment's reward_timeout"
    )


@pytest.mark.parametrize("elsewhere", [False, True])
def test_calls_that_never_end_hold_up_nobody(elsewhere, monkeypatch):
    monkeypatch.setattr(Judge, "scored_elsewhere", elsewhere)
    release = threading.Event()
    env = made(
        Judge, lambda reply: release.wait(PATIENCE) if reply == "slow" else 7, reward_timeout=0.05, reward_workers=1
    )
    start = time.monotonic()
    assert scored(env, ["slow", "slow", "x"]).values[:, 0].tolist() == [0, 0, 7]
    assert scored(env, ["x"]).values[:, 0].tolist() == [7]
    assert time.monotonic() - start < PATIENCE, "a call was waited for"
    release.set()


def test_a_coroutine_that_is_late_is_cancelled():
    cancelled = []

    async def verdict(reply):
        try:
            await asyncio.sleep(PATIENCE if reply == "slow" else 0)
        except asyncio.CancelledError:
            cancelled.append(reply)
            raise
        return 7

    scores = scored(made(AwaitedJudge, verdict, reward_timeout=0.05), ["x", "slow", "x"])
    assert scores.failed[:, 0].tolist() == [False, True, False]
    assert cancelled == ["slow"]


def test_an_authors_own_time_out_is_told_as_it_was_raised():
    async def verdict(reply):
        raise TimeoutError("the judge is busy")

    scores = scored(made(AwaitedJudge, verdict, reward_timeout=5), ["x"])
    assert scores.failures[0].error == "TimeoutError: the judge is busy"


def test_a_batched_call_that_is_late_has_failed_for_all_its_replies():
    release, calls = threading.Event(), []

    def verdict(replies):
        calls.append(replies)
        release.wait(PATIENCE)

    scores = scored(made(BatchJudge, verdict, reward_timeout=0.05), ["x", "y"])
    release.set()
    assert scores.failed.all()
    assert calls == [["x", "y"]], "nobody's reply is known to be the slow one, so none is tried again"


def test_batched_coroutines_are_tried_reply_by_reply_where_one_raises():
    async def verdict(replies):
        await asyncio.sleep(0)
        return [100 / (reply != "bad") for reply in replies]

    scores = scored(made(AwaitedBatchJudge, verdict), ["x", "bad", "y"])
    assert scores.values[:, 0].tolist() == [100, 0, 100]
    assert scores.failed[:, 0].tolist() == [False, True, False]


def test_coroutines_of_all_batches_share_a_loop_so_that_a_client_lasts():
    loops = []

    async def verdict(reply):
        loops.append(asyncio.get_running_loop())
        return 0

    env = made(AwaitedJudge, verdict)
    scored(env, ["x"])
    scored(env, ["x"])
    assert loops[0] is loops[1]
    assert not loops[0].is_closed()


def test_coroutines_are_awaited_where_a_loop_runs_already_as_in_a_notebook():
    async def verdict(reply):
        return 5

    async def cell():
        return scored(made(AwaitedJudge, verdict), ["x", "y"])

    assert asyncio.run(cell()).values[:, 0].tolist() == [5, 5]


def _exit(reply):
    raise SystemExit(3)


def _missing(reply):
    raise UnavailableError("no judge answers; start one")


@pytest.mark.parametrize("raising", [_exit, _missing])
@pytest.mark.parametrize("awaited", [False, True])
def test_what_is_of_no_reply_ends_the_step(raising, awaited):
    async def verdict(reply):
        return raising(reply)

    env = made(AwaitedJudge, verdict) if awaited else made(Judge, raising)
    with pytest.raises((SystemExit, UnavailableError)):
        scored(env, ["x", "y", "z"])

    # and the next batch is scored as if nothing had been
    async def well(reply):
        return 1

    env.verdict = well if awaited else lambda reply: 1
    assert scored(env, ["x"]).values[0, 0] == 1


def test_threads_and_the_callers_own_give_the_same_scores():
    def verdict(reply):
        if len(reply) % 5 == 4:
            raise ValueError(reply)
        return None if len(reply) % 3 == 2 else len(reply) % 100

    class Computed(Judge):
        scored_elsewhere = False

    replies = ["x" * n for n in range(64)]
    here, beside = scored(made(Computed, verdict), replies), scored(made(Judge, verdict), replies)
    for name in ("values", "raw", "applicable", "failed"):
        assert np.array_equal(getattr(here, name), getattr(beside, name))
    assert [str(one) for one in here.failures] == [str(one) for one in beside.failures]


@pytest.mark.parametrize(
    ("option", "value"),
    [("reward_workers", 0), ("reward_workers", True), ("reward_workers", 2.0), ("reward_timeout", 0)]
    + [("reward_timeout", value) for value in (float("inf"), float("nan"), "5", True)],
)
def test_numbers_that_make_no_sense_are_refused(option, value):
    with pytest.raises(DeclarationError, match=f"test/Judge: {option} must be a .*number"):
        made(Judge, None, **{option: value})


def test_every_environment_has_the_options_and_a_misspelt_one_is_guessed():
    env = made(Judge, None, reward_workers=3, reward_timeout=2.5)
    assert (env.reward_workers, env.reward_timeout) == (3, 2.5)
    assert (Judge.reward_workers, Judge.reward_timeout) == (64, None)
    with pytest.raises(UnknownNameError, match="Did you mean 'reward_timeout'"):
        made(Judge, None, reward_timeouts=3)


def test_an_environment_may_make_the_number_an_option_of_its_own():
    class Own(Judge):
        def __init__(self, reward_workers: int = 2) -> None:
            super().__init__()
            self.reward_workers = 2 * reward_workers

    assert build_env(Own, "test/Own", {"reward_workers": 3}).reward_workers == 6
