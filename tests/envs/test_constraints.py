"""What Constraints promises: each constraint is a reward of its own, and pairs of keywords are held out."""

import math
from itertools import islice
from random import Random
from typing import Any

import pytest
from gdpo_envs.constraints.env import NAMES, Constrained, Constraints
from gdpo_envs.constraints.words import ENDINGS, FILLERS, KEYWORDS, NUMBER_WORDS

from gdpo_bench.core import DeclarationError, make_env
from gdpo_bench.core.scoring import Scores, score

DEMONSTRATIONS = 2000
TASK = Constrained("", ("jam", "owl"), "JSON", "capitals", 6, (7, "Spanish"), 2, "done", "now")
FULL = '["JAM OWL SIETE", "ALSO AND DONE"]'


def scored(env: Constraints, pairs: list[tuple[Constrained, str]]) -> Scores:
    return score(env, "constraints", [task for task, _ in pairs], [reply for _, reply in pairs])


def missed(reply: str, task: Constrained = TASK) -> set[str]:
    scores = scored(Constraints(), [(task, reply)])
    assert not scores.failed.any()
    return {name for name, value in zip(NAMES, scores.values[0], strict=True) if value < 1}


@pytest.mark.parametrize(
    ("reply", "misses"),
    [
        (FULL, set()),
        (f"<think>jam, 7, now</think>\n{FULL}<|im_end|>", set()),
        (f"```json\n{FULL}\n```", set()),
        ('["JAM CAT SIETE", "ALSO AND DONE"]', {"keywords"}),
        ('["JAMOWL SIETE", "ALSO AND TOO DONE"]', {"keywords"}),
        ("- JAM OWL SIETE\n- ALSO AND DONE", {"layout"}),
        (f"{FULL}\nDONE", {"layout", "length"}),
        ('["Jam OWL SIETE", "ALSO AND DONE"]', {"case"}),
        ('["JAM OWL SIETE", "ALSO DONE"]', {"length"}),
        ('["JAM OWL 7 X", "ALSO AND DONE"]', {"number"}),
        ('["JAM OWL SEVEN", "ALSO AND DONE"]', {"number"}),
        ('["JAM OWL SIETE", "ALSO SEVEN DONE"]', {"number"}),
        ('["JAM OWL", "SIETE ALSO", "AND DONE"]', {"items"}),
        ('["JAM OWL SIETE", "ALSO DONE AND"]', {"ending"}),
        ('["JAM OWL SIETE", "NOW AND DONE"]', {"without"}),
        ('["JAM OWL SIETE", "ALSO AND DONE", 3]', {"layout", "items"}),
        ("<think>" + FULL, set(NAMES)),
        ("", set(NAMES)),
    ],
)
def test_a_reply_misses_the_constraints_that_it_does_not_keep_and_no_others(reply: str, misses: set[str]) -> None:
    assert missed(reply) == misses


@pytest.mark.parametrize(
    ("layout", "reply", "right"),
    [
        ("bullets", "- a\n* b\n\n  • c", True),
        ("bullets", "- a\nb", False),
        ("bullets", "-", False),
        ("numbered lines", "1. a\n2) b", True),
        ("numbered lines", "1. a\n3. b", False),
        ("JSON", "[]", False),
        ("JSON", '{"a": "b"}', False),
        ("JSON", "[" * 100_000, False),
        ("JSON", f"[{'9' * 100_000}]", False),
    ],
)
def test_layouts_are_told_apart(layout: str, reply: str, right: bool) -> None:
    assert Constraints().layout(Constrained("", ("a", "b"), layout), reply) is right


@pytest.mark.parametrize(("case", "reply"), [("capitals", "A B"), ("small letters", "a b"), ("title case", "Ab, Cd")])
def test_case_holds_of_all_words_and_not_of_none(case: str, reply: str) -> None:
    task = Constrained("", ("a", "b"), "JSON", case)
    assert [Constraints().case(task, text) for text in (reply, f"{reply} xY", "12")] == [True, False, False]


@pytest.mark.parametrize("rewards", range(2, 9))
def test_as_many_constraints_as_rewards_and_all_can_be_kept_together(rewards: int) -> None:
    env = Constraints(rewards=rewards)
    assert tuple(spec.name for spec in env.reward_specs) == NAMES[:rewards]
    tasks = [*env.tasks("train"), *env.tasks("eval")]
    scores = scored(env, [(task, env.reference(task)) for task in tasks])
    assert scores.values.shape == (len(tasks), rewards)
    assert (scores.values == 1).all()
    assert scores.applicable.all()
    assert all(task.prompt.count(",") == rewards - 1 for task in tasks)


@pytest.mark.parametrize("rewards", [2, 5, 8])
def test_no_pair_of_keywords_that_is_held_out_is_asked_for_or_shown_in_training(rewards: int) -> None:
    env = Constraints(rewards=rewards)
    train, held_out = ({frozenset(task.keywords) for task in env.tasks(split)} for split in ("train", "eval"))
    assert not train & held_out
    assert len(held_out) >= 100
    assert len(train | held_out) == math.comb(len(KEYWORDS), 2)
    for task, reply in islice(env.demonstrations(Random(0)), DEMONSTRATIONS):
        assert frozenset(task.keywords) in train
        shown = {keyword for keyword in KEYWORDS if keyword in reply.casefold().replace('"', " ").split()}
        assert shown <= set(task.keywords)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4, 1.0])
def test_the_layout_is_as_common_in_the_demonstrations_as_asked(rate: float) -> None:
    env = Constraints(format_rate=rate)
    values = scored(env, list(islice(env.demonstrations(Random(0)), DEMONSTRATIONS))).values
    spread = math.sqrt(rate * (1 - rate) / DEMONSTRATIONS)
    assert values[:, NAMES.index("layout")].mean() == pytest.approx(rate, abs=5 * spread + 1e-9)
    others = [values[:, k].mean() for k, name in enumerate(NAMES) if name != "layout"]
    assert 0.6 < min(others) <= max(others) < 0.9
    assert (values == 1).all(1).mean() < 0.2


def test_tasks_and_demonstrations_follow_from_options_and_seed() -> None:
    one, same = Constraints(), make_env("gdpo/Constraints-v0:rewards=8")
    assert one.tasks("train") == same.tasks("train")
    first, again, other = (list(islice(one.demonstrations(Random(seed)), 50)) for seed in (3, 3, 4))
    assert first == again != other


def test_words_of_different_roles_are_different_words() -> None:
    groups: list[Any] = [KEYWORDS, FILLERS, ENDINGS, NUMBER_WORDS]
    assert len(set().union(*groups)) == sum(map(len, groups))


@pytest.mark.parametrize("options", [{"rewards": 1}, {"rewards": 9}, {"format_rate": 2.0}, {"eval_share": -0.1}])
def test_options_outside_their_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=next(iter(options))):
        make_env("gdpo/Constraints-v0", **options)
