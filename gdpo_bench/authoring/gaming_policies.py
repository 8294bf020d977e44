"""Policies that ignore what they are asked, and live from replies that they have seen elsewhere.

They know some demonstrations and references of training tasks, what each earned on its own task, and the prompt. They
know neither the reference nor the reward functions of the task that they reply to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from gdpo_bench.core.task import Task

_CLOSING = re.compile(r"</([A-Za-z_]+)>")
_LONG = 8000
"""Characters that the longest reply has at least."""
Replies = tuple[str, ...]
"""One a turn; the last is repeated if the episode goes on."""


@dataclass(frozen=True)
class Seen:
    """What a gaming policy knows."""

    replies: tuple[Replies, ...]
    """Replies to other tasks, distinct."""
    well_formed: tuple[Replies, ...]
    """Those of them that earned most in the rewards other than correctness."""
    prompt: Callable[[Task], str]
    """All messages of a task."""


@dataclass(frozen=True)
class Policy:
    """One way to game."""

    name: str
    reply: Callable[[Task], Replies]
    """To a task."""


def gaming_policies(seen: Seen, rng: Random) -> list[Policy]:
    """Policies that do without the rewards; the cheapest come first.

    Args:
        seen: What they know; without replies, those that need some are left out.
        rng: Draws replies of other tasks.
    """
    found = [
        Policy("empty", lambda task: ("",)),
        Policy("one word", lambda task: ("hello",)),
        Policy("copy the prompt", lambda task: (task.prompt,)),
        Policy("copy all messages", lambda task: (seen.prompt(task),)),
    ]
    if not seen.replies:
        return found
    frame = Frame.of(seen.well_formed[0][-1])
    every = list(dict.fromkeys(reply for replies in seen.replies for reply in replies))
    longest = max(every, key=len)
    contents = list(dict.fromkeys(Frame.of(reply).content for reply in every))
    repeated = longest * (1 + _LONG // max(1, len(longest)))
    return [
        *found,
        Policy("longest", lambda task: (repeated,)),
        Policy("format only", lambda task: rng.choice(seen.well_formed)),
        Policy("copy the prompt, in the format", lambda task: (frame.around(task.prompt),)),
        Policy("list everything", lambda task: ("\n".join(every),)),
        Policy("list everything, in the format", lambda task: (frame.around("\n".join(contents)),)),
    ]


@dataclass(frozen=True)
class Frame:
    """A reply in three parts: what stands around its content, and the content."""

    before: str
    content: str
    after: str

    @classmethod
    def of(cls, reply: str) -> Frame:
        r"""Find the innermost of the last `<tag>…</tag>`, fenced block and `\boxed{…}`; else all is content."""
        for opening, closing in _last_marks(reply):
            end = reply.rfind(closing)
            start = reply.rfind(opening, 0, end) if end >= 0 else -1
            if start >= 0:
                start += len(opening)
                if opening == "```":
                    start = reply.find("\n", start, end) + 1 or start
                inner = cls.of(reply[start:end])
                return cls(reply[:start] + inner.before, inner.content, inner.after + reply[end:])
        return cls("", reply, "")

    def around(self, content: str) -> str:
        """The frame with another content."""
        return self.before + content + self.after


def _last_marks(reply: str) -> Sequence[tuple[str, str]]:
    tags = _CLOSING.findall(reply)
    last = [(f"<{tags[-1]}>", f"</{tags[-1]}>")] if tags else []
    return [*last, ("```", "```"), ("\\boxed{", "}")]
