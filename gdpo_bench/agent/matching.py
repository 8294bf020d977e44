"""Which of an environment's tasks a logged prompt is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic

from gdpo_bench.core import Message
from gdpo_bench.core.chat_logs import prompt_of
from gdpo_bench.core.task import TaskT

_EXAMPLES = 20
"""Laid-out prompts that are compared with every task, to find how a chat template lays them out."""
_Key = tuple[tuple[str, str], ...]


class PromptMatcher(Generic[TaskT]):
    """Tasks by their ids, their prompts, and their messages."""

    def __init__(self, tasks: Sequence[TaskT], messages: Callable[[TaskT], Sequence[Message]]) -> None:
        """Index the tasks.

        Args:
            tasks: All that can be meant.
            messages: A task as an environment asks it.
        """
        self.by_id = {task.id: task for task in tasks}
        self._by_prompt: dict[str, list[TaskT]] = {}
        self._by_messages: dict[_Key, list[TaskT]] = {}
        self._contents: list[tuple[tuple[str, ...], TaskT]] = []
        for task in tasks:
            asked = messages(task)
            self._by_prompt.setdefault(task.prompt.strip(), []).append(task)
            self._by_messages.setdefault(_key(asked), []).append(task)
            self._contents.append((tuple(message["content"].strip() for message in asked), task))
        self._lengths = sorted({len(key) for key in self._by_messages}, reverse=True)
        self._laid_out: dict[str, list[TaskT]] = {}

    def learn_layout(self, prompts: Iterable[str]) -> None:
        """Find out how a chat template lays out tasks, from prompts of which most should be about them.

        Texts between messages are the same in all prompts of one template. Those that most of the first prompts have
        in common are taken; from then on a prompt matches if it is a task's, laid out so, from beginning to end.

        Args:
            prompts: Laid-out prompts of one file.
        """
        found: Counter[tuple[str, ...]] = Counter()
        for prompt in list(dict.fromkeys(prompts))[:_EXAMPLES]:
            fitting = {between for contents, _ in self._contents if (between := _between(prompt, contents))}
            # The longest prompt that fits explains most of the text: `1+2` stands in `11+2` too.
            found.update(sorted(fitting, key=lambda between: sum(map(len, between)))[:1])
        if not found:
            return
        ((between, _),) = found.most_common(1)
        for contents, task in self._contents:
            if len(contents) == len(between) - 1:
                text = between[0] + "".join(map(str.__add__, contents, between[1:]))
                self._laid_out.setdefault(text.strip(), []).append(task)

    def of_text(self, prompt: str) -> list[TaskT]:
        """Tasks whose prompt this is, bare or laid out."""
        return self._by_prompt.get(prompt.strip()) or self._laid_out.get(prompt.strip(), [])

    def of_chat(self, chat: Sequence[Message]) -> tuple[list[TaskT], Sequence[Message]]:
        """Tasks that a chat begins with, and what follows.

        Where no task's messages are its beginning, since its system prompt is another, the last message before the
        last reply counts, if it is a task's prompt.
        """
        key = _key(chat)
        for length in self._lengths:
            if found := self._by_messages.get(key[:length]):
                return found, chat[length:]
        asked = prompt_of(chat)
        return (self._by_prompt.get(asked[-1]["content"].strip(), []) if asked else []), chat[len(asked) :]


def _key(messages: Sequence[Message]) -> _Key:
    return tuple((message["role"], message["content"].strip()) for message in messages)


def _between(text: str, contents: Sequence[str]) -> tuple[str, ...]:
    """What stands before, between and behind these contents in a text; nothing where they do not stand in it so."""
    return tuple(_pieces(text, contents))


def _pieces(text: str, contents: Sequence[str]) -> Iterator[str]:
    start = 0
    places = []
    for content in contents:
        place = text.find(content, start)
        if place < 0 or not content:
            return
        places.append((start, place))
        start = place + len(content)
    yield from (text[begin:end] for begin, end in places)
    yield text[start:]
