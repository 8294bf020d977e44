"""A coroutine that asks for replies, seen from where the replies come from; it waits in the event loop meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from gdpo_bench.core.event_loop import awaited

QuestionT = TypeVar("QuestionT")
ResultT = TypeVar("ResultT")


class Exchange(Generic[QuestionT, ResultT]):
    """Questions of a coroutine, one at a time, and what it gives in the end.

    The coroutine calls `ask` and `conclude`; whoever has the replies calls the rest, from any thread.
    """

    def __init__(self, play: Callable[[Exchange[QuestionT, ResultT]], Coroutine[Any, Any, ResultT]]) -> None:
        """Nothing is started yet.

        Args:
            play: Makes the coroutine, which asks the exchange that it is given.
        """
        self._play = play
        self._task: asyncio.Task[ResultT] | None = None
        self._asked: asyncio.Future[QuestionT | None] | None = None
        self._answer: asyncio.Future[str | None] | None = None
        self._concluded = False

    async def ask(self, question: QuestionT) -> str | None:
        """The reply; None where no more replies come.

        Raises:
            RuntimeError: It asks a second time before the first is answered, or after it has concluded.
        """
        if self._asked is None or self._asked.done() or self._concluded:
            raise RuntimeError("asks for two replies at once, or for one after the end; a policy gives one at a time")
        self._answer = asyncio.get_running_loop().create_future()
        self._asked.set_result(question)
        return await self._answer

    def conclude(self) -> None:
        """There are no more questions: what is left to do need not be waited for."""
        self._concluded = True
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)

    def first(self) -> QuestionT | None:
        """The first question; None where there is none."""
        return awaited(self._next(None))

    def reply(self, text: str) -> QuestionT | None:
        """The question after a reply; None where that was the last."""
        return awaited(self._next(text))

    async def _next(self, text: str | None) -> QuestionT | None:
        self._asked = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._play(self))
        elif self._answer is not None:
            self._answer.set_result(text)
        await asyncio.wait((self._task, self._asked), return_when=asyncio.FIRST_COMPLETED)
        return self._asked.result() if self._asked.done() else None

    async def result(self) -> ResultT:
        """What the coroutine gives, once it has run to its end; a question that is open then gets no reply."""
        if self._task is None:
            raise RuntimeError("an exchange that never began")
        if self._answer is not None and not self._answer.done():
            self._asked = asyncio.get_running_loop().create_future()
            self._answer.set_result(None)
        return await asyncio.shield(self._task)

    def abandon(self) -> None:
        """Cancel the coroutine, if it is not done; from any thread."""
        if self._task is not None and not self._task.done():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
