"""Calls of reward functions: one after the other or side by side, each within its time, outcomes always in order.

A function that computes runs in the caller's thread. One that waits for others, in an environment with
`scored_elsewhere`, runs in threads of its own; coroutine functions run in the process's `event_loop`. Where a time is
set, nothing runs in the caller's thread, as Python cannot end a call: one that is late goes on in its thread, and what
it returns is dropped.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gdpo_bench.core.env import TextEnv
from gdpo_bench.core.errors import RewardError, RewardTimeoutError, UnavailableError
from gdpo_bench.core.event_loop import awaited
from gdpo_bench.core.foreign import defined_at
from gdpo_bench.core.rewards import RewardFunction
from gdpo_bench.core.task import Task

Arguments = tuple[Any, ...]


class RewardCalls:
    """Calls the reward functions of one environment, for any number of threads that ask."""

    def __init__(self, env: TextEnv[Any], name: str) -> None:
        """Nothing is started yet.

        Args:
            env: The environment.
            name: Its id, for messages.
        """
        self._env, self._name = env, name
        self._at_once, self._seconds = env.reward_workers, env.reward_timeout
        self._places = threading.Semaphore(self._at_once)
        self._awaiting: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    def __call__(self, function: RewardFunction, tasks: Sequence[Task], replies: Sequence[Any]) -> list[Any]:
        """One reward of N replies.

        Args:
            function: Which.
            tasks: The N tasks.
            replies: The N replies; in a dialogue, turns.

        Returns:
            N outcomes: what the function returned, or the exception that it raised.

        Raises:
            RewardError: A batched function did not return one value a reply.
            UnavailableError: The function raised it; it says nothing of a reply.
        """
        method = getattr(self._env, function.method)
        if not function.batched:
            return self._calls(method, list(zip(tasks, replies, strict=True)))
        method = _listing(method)
        (outcome,) = self._calls(method, [(tasks, replies)])
        if isinstance(outcome, RewardTimeoutError):
            return [outcome] * len(tasks)
        if not isinstance(outcome, Exception):
            return self._one_each(outcome, function, tasks)
        if len(tasks) == 1:
            return [outcome]
        # One bad reply must not cost the others their reward: find out whose it is.
        alone = self._calls(method, [([task], [reply]) for task, reply in zip(tasks, replies, strict=True)])
        return [
            one if isinstance(one, Exception) else self._one_each(one, function, [task])[0]
            for one, task in zip(alone, tasks, strict=True)
        ]

    def _one_each(self, outcome: Any, function: RewardFunction, tasks: Sequence[Task]) -> list[Any]:
        if not isinstance(outcome, list) or len(outcome) != len(tasks):
            got = len(outcome) if isinstance(outcome, list) else f"a single {type(outcome).__name__}"
            raise RewardError(
                f"{self._name}: batched reward {function.spec.name!r} must return one value a rollout: "
                f"expected {len(tasks)}, got {got}. The first task is {tasks[0].id}."
            ).at(defined_at(getattr(self._env, function.method), "def"))
        return outcome

    def _calls(self, method: Callable[..., Any], arguments: Sequence[Arguments]) -> list[Any]:
        """Outcomes in the order of the arguments."""
        beside = self._env.scored_elsewhere
        if inspect.iscoroutinefunction(method):
            outcomes = awaited(self._gathered(method, arguments))
        elif self._seconds is None and not beside:
            return [_outcome(method, one) for one in arguments]
        elif self._seconds is None and len(arguments) == 1:
            with self._places:
                return [_outcome(method, arguments[0])]
        else:
            threads = min(self._at_once if beside else 1, len(arguments))
            outcomes = _Round(method, arguments, self._places, self._seconds).run(threads)
        for outcome in outcomes:
            if _ends_all(outcome):
                raise outcome
        return outcomes

    async def _gathered(self, function: Callable[..., Any], arguments: Sequence[Arguments]) -> list[Any]:
        loop = asyncio.get_running_loop()
        if self._awaiting is None or self._awaiting[0] is not loop:  # after a fork there is another
            self._awaiting = loop, asyncio.Semaphore(self._at_once)
        places = self._awaiting[1]

        async def call(one: Arguments) -> Any:
            async with places:
                try:
                    async with asyncio.timeout(self._seconds) as limit:
                        return await function(*one)
                except asyncio.CancelledError:
                    raise
                except BaseException as error:  # SystemExit would end the loop for everybody
                    return _late(self._seconds) if limit.expired() else error

        return await asyncio.gather(*map(call, arguments))


def _late(seconds: float | None) -> RewardTimeoutError:
    """What becomes of a call that took too long."""
    return RewardTimeoutError(f"no value within {seconds:g} s, the environment's reward_timeout")


def _listing(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method whose many values come as a list: a generator may still fail."""

    def listed(returned: Any) -> Any:
        single = not isinstance(returned, Iterable) or getattr(returned, "ndim", 1) == 0
        return returned if single else list(returned)

    async def awaited(tasks: Sequence[Task], replies: Sequence[Any]) -> Any:
        return listed(await method(tasks, replies))

    def called(tasks: Sequence[Task], replies: Sequence[Any]) -> Any:
        return listed(method(tasks, replies))

    return awaited if inspect.iscoroutinefunction(method) else called


def _outcome(function: Callable[..., Any], arguments: Arguments) -> Any:
    try:
        return function(*arguments)
    except UnavailableError:
        raise
    except Exception as error:  # whatever it is, it is the scorer's failure, not a reward
        return error


def _ends_all(outcome: Any) -> bool:
    """Whether an outcome is of the machine or the user, and of no reply."""
    return isinstance(outcome, BaseException) and (
        isinstance(outcome, UnavailableError) or not isinstance(outcome, Exception)
    )


class _Round:
    """N calls by threads that take the next one each; a thread whose call is late is given up for a new one."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Arguments],
        places: threading.Semaphore,
        seconds: float | None,
    ) -> None:
        self._function, self._arguments = function, arguments
        self._places, self._seconds = places, seconds
        self._outcomes: list[Any] = [None] * len(arguments)
        self._waiting = list(reversed(range(len(arguments))))
        self._due: dict[int, float] = {}
        """Calls that are inside → when they are late."""
        self._left = len(arguments)
        self._changed = threading.Condition()

    def run(self, threads: int) -> list[Any]:
        """The outcomes, once all are there, or one of them ends all."""
        for _ in range(threads):
            self._start()
        try:
            with self._changed:
                while self._left > 0:
                    # Whatever begins while this waits is due later than what it waits for.
                    due = min(self._due.values(), default=time.monotonic() + (self._seconds or 0))
                    self._changed.wait(None if self._seconds is None else max(0.0, due - time.monotonic()))
                    if self._seconds is not None:
                        self._give_up(time.monotonic())
        finally:
            with self._changed:
                self._waiting.clear()  # after an interrupt nobody waits for the others
        return self._outcomes

    def _give_up(self, now: float) -> None:
        for row in [row for row, due in self._due.items() if due <= now]:
            del self._due[row]
            self._outcomes[row] = _late(self._seconds)
            self._left -= 1
            self._places.release()
            if self._waiting:
                self._start()

    def _start(self) -> None:
        threading.Thread(target=self._work, name="reward", daemon=True).start()

    def _work(self) -> None:
        self._places.acquire()
        while (row := self._next()) is not None:
            try:
                outcome = self._function(*self._arguments[row])
            except BaseException as error:
                outcome = error
            with self._changed:
                if row not in self._due:
                    return  # given up, and its place with it
                del self._due[row]
                self._outcomes[row] = outcome
                self._left = 0 if _ends_all(outcome) else self._left - 1
                if self._left <= 0:
                    self._waiting.clear()
                    self._changed.notify_all()
        self._places.release()

    def _next(self) -> int | None:
        with self._changed:
            if not self._waiting:
                return None
            row = self._waiting.pop()
            self._due[row] = time.monotonic() + (self._seconds or 0)
            return row
