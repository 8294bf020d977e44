"""An episode of several turns, as our engine plays one: a reply in, what it is answered out, rewards after the last."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gdpo_bench.core import Message
from gdpo_bench.core.event_loop import awaited
from gdpo_envs.verifiers.calls import answer, opening
from gdpo_envs.verifiers.exchange import Exchange
from gdpo_envs.verifiers.scoring import Outcome

Play = Callable[[Any], Coroutine[Any, Any, Outcome]]
"""An episode of verifiers, which asks the exchange that it is given."""


class Dialog:
    """How far an episode is. A pickled copy plays the replies again, from the beginning."""

    def __init__(self, play: Play, shown: Sequence[Message], replies: Sequence[str] = ()) -> None:
        """Nothing is started yet.

        Args:
            play: The episode.
            shown: What the policy has been shown first.
            replies: Those that have been given.
        """
        self._play, self._shown, self._replies = play, shown, list(replies)
        self._exchange: Exchange[Any, Outcome] | None = None

    def __reduce__(self) -> tuple[type[Dialog], tuple[Play, Sequence[Message], list[str]]]:
        """What it takes to play it again; a coroutine cannot be pickled."""
        return type(self), (self._play, self._shown, self._replies)

    def respond(self, reply: str) -> Message | None:
        """What a reply is answered; None where it ends the episode."""
        request = self.exchange().reply(reply)
        self._replies.append(reply)
        return None if request is None else answer(request.messages)

    def exchange(self) -> Exchange[Any, Outcome]:
        """The episode as far as it is.

        Raises:
            RuntimeError: It begins with something else than what was shown.
            Exception: What the author's code raised, if it ended before.
        """
        if self._exchange is None:
            request, self._exchange = begun(self._play)
            # Whoever leaves an episode unfinished leaves a coroutine that waits for a reply.
            weakref.finalize(self, self._exchange.abandon).atexit = False
            if opening(request.messages, request.tools or []) != self._shown:
                raise RuntimeError("began with other messages or tools than before; they must follow from the task")
            for reply in self._replies:
                self._exchange.reply(reply)
        return self._exchange


def begun(play: Play) -> tuple[Any, Exchange[Any, Outcome]]:
    """An episode that waits for its first reply, and the request for it, with messages and tools.

    Raises:
        Exception: What the author's code raised, if it ended before.
    """
    exchange: Exchange[Any, Outcome] = Exchange(play)
    request = exchange.first()
    if request is None:
        awaited(exchange.result())
        raise RuntimeError("the episode ended before the policy was asked for a reply")
    return request, exchange


def first_request(play: Play) -> Any:
    """With what an episode begins; it is not played any further."""
    request, exchange = begun(play)
    exchange.abandon()
    return request


def outcomes_of(dialogs: Sequence[Dialog]) -> list[Outcome | Exception]:
    """The rewards of episodes that are over, of all side by side, or what went wrong."""
    exchanges = [dialog.exchange() for dialog in dialogs]

    async def together() -> list[Outcome | Exception | BaseException]:
        return await asyncio.gather(*(exchange.result() for exchange in exchanges), return_exceptions=True)

    return [_no_interrupt(outcome) for outcome in awaited(together())]


def _no_interrupt(outcome: Outcome | BaseException) -> Outcome | Exception:
    if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
        raise outcome
    return outcome
