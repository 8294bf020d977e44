"""Lists of words under two to eight constraints that a program can check: the natural case of many rewards.

Procedural, in the manner of instruction-following benchmarks (IFEval, arXiv 2311.07911, whose instructions are
checkable too); nothing of theirs is used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from gdpo_bench.core import DeclarationError, RewardSpec, Task, TextEnv, reward, split_by_content
from gdpo_envs.constraints.text import CASES, LAYOUTS, body, has_case, has_layout, laid_out, list_items, words
from gdpo_envs.constraints.words import ENDINGS, FILLERS, KEYWORDS, NUMBER_WORDS, NUMBERS
from gdpo_envs.options import checked_count, checked_share

_VARIANTS = 4
"""Instructions for each two keywords in each order."""
_CHOICES: dict[str, Sequence[Any]] = {
    "layout": LAYOUTS,
    "case": CASES,
    "length": range(5, 9),
    "number": [(number, language) for language in NUMBERS for number in NUMBERS[language]],
    "items": range(2, 5),
    "ending": ENDINGS,
    "without": FILLERS,
}
"""What each constraint beside the keywords may ask for, in the order in which options add them."""
NAMES = ("keywords", *_CHOICES)
_KEPT = 0.7
"""Share of the demonstrations that keep a constraint other than the layout."""


@dataclass(frozen=True)
class Constrained(Task):
    """An instruction; what it does not ask for is None."""

    keywords: tuple[str, str]
    layout: str
    case: str | None = None
    length: int | None = None
    """Words in all."""
    number: tuple[int, str] | None = None
    """A number and the language that it is to be written in."""
    items: int | None = None
    ending: str | None = None
    """The last word."""
    without: str | None = None
    """A word that may not occur."""


class Constraints(TextEnv[Constrained]):
    r"""Lists such as `List jam and owl, as JSON, in capitals, 6 words` → `["JAM AND PLUS", "OWL NOW TOO"]`.

    Each instruction has as many constraints as there are rewards, one for each. All can be kept together, and some are
    easier to keep than others. Two keywords that are asked for together in evaluation are so in no training task, in no
    order, and no demonstration shows them together.

    A reply is read without its thought (`<think>…</think>`), and may stand in a code block.

    Version history:
        v0: First version.
    """

    def __init__(self, rewards: int = 8, format_rate: float = 0.4, eval_share: float = 0.3) -> None:
        """Set the options.

        Args:
            rewards: Constraints of an instruction, 2 to 8: keywords, layout, case, length, number, items, ending,
                without, the first so many of them.
            format_rate: Share of the demonstrations that have the right layout, in [0, 1].
            eval_share: Expected share of the pairs of keywords that are held out, in [0, 1].

        Raises:
            DeclarationError: A value outside its range.
        """
        self.rewards = checked_count("rewards", rewards, at_least=2)
        if rewards > len(NAMES):
            raise DeclarationError(f"rewards must be at most {len(NAMES)}; got {rewards}.")
        self.format_rate = checked_share("format_rate", format_rate)
        self.eval_share = checked_share("eval_share", eval_share)
        self._asked = NAMES[1:rewards]

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """A reward for each constraint."""
        return super().reward_specs[: self.rewards]

    def tasks(self, split: str) -> Sequence[Constrained]:
        """Instructions for every two keywords of the split, in both orders."""
        rng = Random("gdpo/Constraints-v0")
        drawn = (
            self._task(pair, {name: value for name, value in _draw(rng).items() if name in self._asked})
            for pair in itertools.permutations(KEYWORDS, 2)
            for _ in range(_VARIANTS)
        )
        return split_by_content(drawn, split, self.eval_share, lambda task: sorted(task.keywords), repeated=True)

    def _task(self, pair: tuple[str, str], asked: dict[str, Any]) -> Constrained:
        clauses = (f"List {pair[0]} and {pair[1]}", *(_clause(name, value) for name, value in asked.items()))
        return Constrained(", ".join(clauses) + "\n", pair, **asked)

    @reward(low=0, high=1, metric="accuracy")
    def keywords(self, task: Constrained, reply: str) -> float:
        """Share of the keywords that occur as words, in any case."""
        found = _folded(reply)
        return sum(keyword in found for keyword in task.keywords) / len(task.keywords)

    @reward(low=0, high=1, kind="binary", metric="format_rate")
    def layout(self, task: Constrained, reply: str) -> bool:
        """1 if the reply is a JSON array of texts, lines of bullets, or lines numbered from 1, as asked."""
        return has_layout(body(reply), task.layout)

    @reward(low=0, high=1, kind="binary")
    def case(self, task: Constrained, reply: str) -> bool | None:
        """1 if all words are in capitals, small letters or title case, as asked."""
        return None if task.case is None else has_case(body(reply), task.case)

    @reward(low=0, high=1, kind="binary", metric="exceed_ratio")
    def length(self, task: Constrained, reply: str) -> bool | None:
        """1 if there are as many words as asked for."""
        return None if task.length is None else len(_folded(reply)) == task.length

    @reward(low=0, high=1, kind="binary")
    def number(self, task: Constrained, reply: str) -> bool | None:
        """1 if the number stands there in the language asked for, and no other number word does."""
        return None if task.number is None else NUMBER_WORDS.intersection(_folded(reply)) == {_number(task.number)}

    @reward(low=0, high=1, kind="binary")
    def items(self, task: Constrained, reply: str) -> bool | None:
        """1 if there are as many elements of the JSON array, or lines, as asked for."""
        return None if task.items is None else len(list_items(body(reply))) == task.items

    @reward(low=0, high=1, kind="binary")
    def ending(self, task: Constrained, reply: str) -> bool | None:
        """1 if the last word is the one asked for."""
        return None if task.ending is None else _folded(reply)[-1:] == [task.ending]

    @reward(low=0, high=1, kind="binary")
    def without(self, task: Constrained, reply: str) -> bool | None:
        """1 if there are words, and the forbidden one is not among them."""
        found = _folded(reply)
        return None if task.without is None else bool(found) and task.without not in found

    def reference(self, task: Constrained) -> str:
        """The keywords, what else is asked for, and fillers up to the length."""
        return _written(task, list(task.keywords), _fillers(task))

    def gameable(self) -> dict[str, str]:
        """The keywords."""
        return {"keywords": "the instruction holds them, and who copies it keeps hardly any other constraint."}

    def demonstrations(self, rng: Random) -> Iterator[tuple[Constrained, str]]:
        """Replies that miss some of the constraints, as if another instruction had been given."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            yield task, self._demonstration(task, rng)

    def _demonstration(self, task: Constrained, rng: Random) -> str:
        missed = [name for name in NAMES if rng.random() >= (self.format_rate if name == "layout" else _KEPT)]
        # What is not asked for is free, so that replies differ in it.
        followed = _draw(rng) | {name: getattr(task, name) for name in self._asked}
        for name in self._asked:
            if name in missed:
                followed[name] = rng.choice([value for value in _CHOICES[name] if value != getattr(task, name)])
        allowed = _fillers(task)
        rng.shuffle(allowed)
        # Missing keywords are left out: others in their place could be a pair that is held out.
        keywords = [rng.choice(task.keywords)] if "keywords" in missed else list(task.keywords)
        if task.without and "without" in missed:
            keywords.append(task.without)
        return _written(replace(task, **followed), keywords, allowed)


def _draw(rng: Random) -> dict[str, Any]:
    """A value for each constraint beside the keywords."""
    return {name: rng.choice(choices) for name, choices in _CHOICES.items()}


def _clause(name: str, value: Any) -> str:
    """What an instruction says of a constraint."""
    return {
        "layout": "as a JSON array" if value == "JSON" else f"as {value}",
        "case": f"in {value}",
        "length": f"{value} words",
        "number": f"with {value[0]} in {value[1]}" if name == "number" else "",
        "items": f"{value} items",
        "ending": f"ending in {value}",
        "without": f"without {value}",
    }[name]


def _number(number: tuple[int, str]) -> str:
    return NUMBERS[number[1]][number[0]]


def _folded(reply: str) -> list[str]:
    """The words of a reply, whatever their case."""
    return [word.casefold() for word in words(body(reply))]


def _fillers(task: Constrained) -> list[str]:
    return [word for word in FILLERS if word != task.without]


def _written(task: Constrained, first: list[str], fillers: Sequence[str]) -> str:
    """A list that begins with these words and keeps the constraints, as far as so many words leave room."""
    begun = [*first, *([_number(task.number)] if task.number else [])]
    last = [task.ending] if task.ending else []
    count = task.items or 2
    missing = max(task.length or 0, count) - len(begun) - len(last)
    written = [*begun, *fillers[: max(0, missing)], *last]
    bounds = [len(written) * i // count for i in range(count + 1)]
    parts = [" ".join(written[start:end]) for start, end in itertools.pairwise(bounds)]
    return laid_out(parts, task.layout, task.case or "small letters")
