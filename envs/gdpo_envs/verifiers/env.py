"""Any module for verifiers as an environment: each of its reward functions is a named reward.

gdpo-bench envs verifiers:my_module:ranges.similar=0..1 --play
python -m gdpo_bench.run --envs verifiers:my_module:ranges.similar=0..1 --policy hf:MODEL --normalizers grpo gdpo
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from random import Random
from typing import Any

from gdpo_bench.core import DeclarationError, Message, RewardError, Task, TextEnv, Turn, split_by_content
from gdpo_bench.core.env import Script
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.rewards import RewardFunction
from gdpo_envs.options import checked_count, checked_share
from gdpo_envs.verifiers.calls import opening
from gdpo_envs.verifiers.dialog import Dialog, first_request, outcomes_of
from gdpo_envs.verifiers.needs import check_playable, toolsets
from gdpo_envs.verifiers.ranges import declarations, read_ranges
from gdpo_envs.verifiers.scoring import Outcome, outcomes, prompt_messages
from gdpo_envs.verifiers.taskset import load_module, load_tasks

_WRONG_SHARE = 0.3


@dataclass(frozen=True)
class Item(Task):
    """A task of the taskset."""

    index: int
    """Its place in the taskset."""
    key: str
    """Its content's hash, as verifiers records it."""


class Verifiers(TextEnv[Item]):
    """The tasks and rewards of a module written for verifiers 0.4.

    Prompts and rewards are the module's, which runs here as any module of one's own. Each function that is marked
    `@vf.reward`, and each judge, is a reward of that name and weight. Tasks are held out by their prompts. Where the
    module has tools, or an Env whose `run` is the user, an episode has several turns, and rewards come with its last.
    What needs a container, a second model or a program of its own around the model is refused.

    A module may have two things that verifiers does not ask for: `ranges` in the taskset's class, reward → (low, high),
    and `reference(self)` in the task's, a reply of full marks (or a list of them, one a turn), from which
    demonstrations come.

    Version history:
        First version: verifiers 0.4.0.
    """

    def __init__(
        self,
        module: str,
        *,
        ranges: dict[str, Any] | None = None,
        size: int | None = None,
        eval_share: float = 0.2,
        max_turns: int | None = None,
        **config: Any,
    ) -> None:
        """Set the options.

        Args:
            module: What verifiers would import as a taskset; in the id.
            ranges: Reward → (low, high), where it cannot be known: `ranges.NAME=LOW..HIGH` on a command line.
            size: The first tasks that are taken; all if absent.
            eval_share: Expected share of the tasks that are held out, in [0, 1].
            max_turns: Replies of an episode with tools or a user, at most; by default what the module's Env says of its
                agent, or else 8.
            **config: Fields of the taskset's configuration, `task.NAME=…` those of its tasks; or arguments of
                `load_environment`.

        Raises:
            UnavailableError: The package is not installed.
            RegistrationError: The module cannot be imported.
            UnknownNameError: The taskset has no such option.
            DeclarationError: No taskset, a range that is not known, or tasks that need more than texts in reply.
        """
        self._given = {"ranges": ranges, "size": size, "eval_share": eval_share, "max_turns": max_turns, **config}
        self._id = f"verifiers:{module}"
        self._module = module
        self.eval_share = checked_share("eval_share", eval_share)
        nested = _nested(config)
        stated = {**(ranges or {}), **nested.pop("ranges", {})}
        self._taskset, own_env = load_module(module, nested)
        own: Mapping[str, Any] = getattr(type(self._taskset), "ranges", {})
        self._tasks = load_tasks(self._id, self._taskset, None if size is None else checked_count("size", size))
        self._last: tuple[Any, list[Outcome | Exception]] = (None, [])
        self._has_user = own_env is not None
        self._begun: dict[int, list[Message]] = {}
        with blaming(self._id):
            check_playable(self._id, self._tasks, self._taskset, own_env)
            declared = declarations(
                self._id, self._tasks[0], read_ranges(self._id, {**own, **stated}), elsewhere=self._has_user
            )
        self._stage = self._make_stage(own_env, max_turns)
        self.reward_functions = tuple(
            RewardFunction(spec, f"_reward_{name}", True) for name, (spec, _) in declared.items()
        )
        for name, (_, says) in declared.items():
            setattr(self, f"_reward_{name}", self._method(name, says))

    def _make_stage(self, own_env: Any, max_turns: int | None) -> Any:
        """Where episodes of several turns are played; None where one reply is all."""
        if not self._has_user and not toolsets(self._tasks[0], self._taskset):
            if max_turns is not None:
                raise DeclarationError(
                    f"{self._id}: max_turns={max_turns} is for tools or a user; here one reply is all."
                )
            return None
        turns = None if max_turns is None else checked_count("max_turns", max_turns)
        stage = importlib.import_module("gdpo_envs.verifiers.stage").Stage(self._taskset, own_env, turns)
        self.max_turns = stage.max_turns
        return stage

    def __reduce__(self) -> tuple[Callable[[], Verifiers], tuple[()]]:
        """The options: all else follows from them, and a module's objects need not be fit to be pickled."""
        return partial(type(self), self._module, **self._given), ()

    def data_revision(self) -> str:
        """The package's version, and the module with the hash of its file."""
        file = Path(inspect.getfile(type(self._taskset)))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        return f"verifiers {metadata.version('verifiers')}, {self._module} {digest}"

    @cached_property
    def _items(self) -> list[Item]:
        with blaming(self._id):
            texts = ["\n\n".join(m["content"] for m in self._prompt(index)) for index in range(len(self._tasks))]
            return [
                Item(text, index, task.key) for index, (task, text) in enumerate(zip(self._tasks, texts, strict=True))
            ]

    def tasks(self, split: str) -> Sequence[Item]:
        """The tasks of the split, in the taskset's order.

        Raises:
            DeclarationError: There are so few tasks that none is in it.
        """
        found = split_by_content(self._items, split, self.eval_share, lambda item: item.prompt, repeated=True)
        if not found:
            raise DeclarationError(
                f"{self._id}: none of its {len(self._items)} tasks is in the split {split!r}; a hash of the prompt "
                f"decides. Say another share than eval_share={self.eval_share:g}, or write more tasks."
            )
        return found

    def messages(self, task: Item) -> list[Message]:
        """The taskset's own, a system prompt first, and in it the tools."""
        if self._stage is None or self._has_user:
            return self._prompt(task.index)
        return opening(prompt_messages(self._tasks[task.index].data), self._tools)

    @cached_property
    def _tools(self) -> list[Any]:
        """Those of the first task, which all tasks must have."""
        with blaming(self._id):
            return first_request(partial(self._play, 0)).tools or []

    def _prompt(self, index: int) -> list[Message]:
        """What a task shows; where a user begins, only the play tells."""
        if self._has_user:
            if index not in self._begun:
                request = first_request(partial(self._play, index))
                self._begun[index] = opening(request.messages, request.tools or [])
            return [{**message} for message in self._begun[index]]
        return opening(prompt_messages(self._tasks[index].data), [])

    def begin(self, task: Item) -> Dialog | None:
        """A rollout of verifiers, where there is more than one reply."""
        if self._stage is None:
            return None
        return Dialog(partial(self._play, task.index), self.messages(task))

    async def _play(self, index: int, exchange: Any) -> Outcome:
        outcome: Outcome = await self._stage.play(self._tasks[index], exchange)
        return outcome

    def respond(self, task: Item, state: Dialog | None, reply: str) -> Message | None:
        """What the tools or the user say."""
        return None if state is None else state.respond(reply)

    def scored(self, turn: Turn[Dialog | None]) -> Any:
        """The reply, or of several turns all."""
        return turn.reply if self._stage is None else turn

    def reference(self, task: Item) -> Script | None:
        """What the task's `reference()` says, if it has one."""
        own = getattr(self._tasks[task.index], "reference", None)
        return own() if own else None

    def demonstrations(self, rng: Random) -> Iterator[tuple[Item, Script]]:
        """References, often those of other tasks."""
        items = self.tasks("train") if hasattr(self._tasks[0], "reference") else []
        while items:
            item = rng.choice(items)
            answered = rng.choice(items) if rng.random() < _WRONG_SHARE else item
            yield item, self.reference(answered) or ""

    def _method(self, name: str, says: str) -> Callable[[Sequence[Item], Sequence[Any]], list[Any]]:
        def reward(tasks: Sequence[Item], replies: Sequence[Any]) -> list[Any]:
            found = self._outcomes(tasks, replies) if self._stage is None else self._outcomes_of_turns(replies)
            return [None if outcome is None else self._value(name, outcome) for outcome in found]

        reward.__doc__ = says
        return reward

    def _outcomes(self, items: Sequence[Item], replies: Sequence[str]) -> list[Outcome | Exception]:
        """All rewards of each reply, scored once for all of them."""
        key = [(item.id, str(reply)) for item, reply in zip(items, replies, strict=True)]
        last, found = self._last
        if last != key:
            found = outcomes([self._tasks[item.index] for item in items], replies)
            self._last = key, found  # at once: threads may score side by side
        return found

    def _outcomes_of_turns(self, turns: Sequence[Turn[Dialog]]) -> list[Outcome | Exception | None]:
        """All rewards of each episode with its last turn; None for the turns before."""
        found = iter(outcomes_of([turn.state for turn in turns if turn.last]))
        return [next(found) if turn.last else None for turn in turns]

    def _value(self, name: str, outcome: Outcome | Exception) -> Any:
        if isinstance(outcome, Exception):
            return outcome
        declared = [function.spec.name for function in self.reward_functions]
        if strays := sorted(set(outcome) - set(declared)):
            raise RewardError(
                f"{self._id} gave rewards that nothing declares: {', '.join(strays)}. State a range for each, "
                f"ranges.{strays[0]}=LOW..HIGH, and let the function that gives them say `-> dict[str, float]`."
            )
        return outcome.get(name)


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`, as command lines give what belongs together."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        *path, last = name.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise DeclarationError(f"Options {part} and {name} contradict each other; leave one out.")
        inner[last] = value
    return found
