"""Any module for verifiers as an environment: each of its reward functions is a named reward.

gdpo-bench envs verifiers:my_module:ranges.similar=0..1 --play
python -m gdpo_bench.run --envs verifiers:my_module:ranges.similar=0..1 --policy hf:MODEL --normalizers grpo gdpo
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from random import Random
from typing import Any

from gdpo_bench.core import DeclarationError, Message, RewardError, Task, TextEnv, split_by_content
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.rewards import RewardFunction
from gdpo_envs.options import checked_count, checked_share
from gdpo_envs.verifiers.ranges import declarations, read_ranges
from gdpo_envs.verifiers.scoring import Outcome, outcomes, prompt_messages
from gdpo_envs.verifiers.taskset import load_tasks, load_taskset

_WRONG_SHARE = 0.3


@dataclass(frozen=True)
class Item(Task):
    """A task of the taskset."""

    index: int
    """Its place in the taskset."""
    key: str
    """Its content's hash, as verifiers records it."""


class Verifiers(TextEnv[Item]):
    """The tasks and rewards of a module written for verifiers 0.4, in one turn.

    Prompts and rewards are the module's, which runs here as any module of one's own. Each function that is marked
    `@vf.reward`, and each judge, is a reward of that name and weight. Tasks are held out by their prompts. What needs
    tools, several turns, a container or a program of its own around the model is refused.

    A module may have two things that verifiers does not ask for: `ranges` in the taskset's class, reward → (low, high),
    and `reference(self) -> str` in the task's, a reply of full marks, from which demonstrations come.

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
        **config: Any,
    ) -> None:
        """Set the options.

        Args:
            module: What verifiers would import as a taskset; in the id.
            ranges: Reward → (low, high), where it cannot be known: `ranges.NAME=LOW..HIGH` on a command line.
            size: The first tasks that are taken; all if absent.
            eval_share: Expected share of the tasks that are held out, in [0, 1].
            **config: Fields of the taskset's configuration, `task.NAME=…` those of its tasks; or arguments of
                `load_environment`.

        Raises:
            UnavailableError: The package is not installed.
            RegistrationError: The module cannot be imported.
            UnknownNameError: The taskset has no such option.
            DeclarationError: No taskset, a range that is not known, or tasks that need more than a reply.
        """
        self._given = {"ranges": ranges, "size": size, "eval_share": eval_share, **config}
        self._id = f"verifiers:{module}"
        self._module = module
        self.eval_share = checked_share("eval_share", eval_share)
        nested = _nested(config)
        stated = {**(ranges or {}), **nested.pop("ranges", {})}
        self._taskset = load_taskset(module, nested)
        own: Mapping[str, Any] = getattr(type(self._taskset), "ranges", {})
        self._tasks = load_tasks(self._id, self._taskset, None if size is None else checked_count("size", size))
        self._last: tuple[Any, list[Outcome | Exception]] = (None, [])
        with blaming(self._id):
            declared = declarations(self._id, self._tasks[0], read_ranges(self._id, {**own, **stated}))
        self.reward_functions = tuple(
            RewardFunction(spec, f"_reward_{name}", True) for name, (spec, _) in declared.items()
        )
        for name, (_, says) in declared.items():
            setattr(self, f"_reward_{name}", self._method(name, says))

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
            texts = ["\n\n".join(m["content"] for m in _messages(task)) for task in self._tasks]
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
        """The taskset's own, a system prompt first."""
        return _messages(self._tasks[task.index])

    def reference(self, task: Item) -> str | None:
        """What the task's `reference()` says, if it has one."""
        own = getattr(self._tasks[task.index], "reference", None)
        return own() if own else None

    def demonstrations(self, rng: Random) -> Iterator[tuple[Item, str]]:
        """References, often those of other tasks."""
        items = self.tasks("train") if hasattr(self._tasks[0], "reference") else []
        while items:
            item = rng.choice(items)
            answered = rng.choice(items) if rng.random() < _WRONG_SHARE else item
            yield item, self.reference(answered) or ""

    def _method(self, name: str, says: str) -> Callable[[Sequence[Item], Sequence[str]], list[Any]]:
        def reward(tasks: Sequence[Item], replies: Sequence[str]) -> list[Any]:
            return [self._value(name, outcome) for outcome in self._outcomes(tasks, replies)]

        reward.__doc__ = says
        return reward

    def _outcomes(self, items: Sequence[Item], replies: Sequence[str]) -> list[Outcome | Exception]:
        """All rewards of each rollout, scored once for all of them."""
        key = [(item.id, str(reply)) for item, reply in zip(items, replies, strict=True)]
        last, found = self._last
        if last != key:
            found = outcomes([self._tasks[item.index] for item in items], replies)
            self._last = key, found  # at once: threads may score side by side
        return found

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


def _messages(task: Any) -> list[Message]:
    return [{"role": message.role, "content": message.content or ""} for message in prompt_messages(task.data)]


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
