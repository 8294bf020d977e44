"""Tasks of reasoning-gym as environments: each passes the checker or is left out with a reason."""

import math
import os
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from random import Random
from typing import Any

import pytest
from gdpo_envs.reasoning_gym.env import ReasoningGym
from gdpo_envs.reasoning_gym.left_out import LEFT_OUT

import gdpo_bench
from gdpo_bench.core import DeclarationError, UnknownNameError, make_env
from gdpo_bench.core.scoring import score

IN_TOX = "GDPO_BENCH_NEEDS_REASONING_GYM" in os.environ  # there a missing package is a failure
needs_package = pytest.mark.skipif(
    not IN_TOX and find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed: tox -e reasoning-gym"
)


def names() -> list[str]:
    if find_spec("reasoning_gym") is None:
        return ["chain_sum"]
    from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


@needs_package
@pytest.mark.parametrize("name", sorted(set(names()) - set(LEFT_OUT)) if IN_TOX else ["arc_1d", "chain_sum"])
def test_every_task_passes_the_checker(name: str) -> None:
    results = gdpo_bench.check_env(f"reasoning_gym:{name}:size=30", tasks=5)
    assert [str(result) for result in results if result.status == "failed"] == []
    # Without answers of the package there are no references and no demonstrations, and nothing else is skipped.
    assert {result.check for result in results if result.status == "skipped"} <= {
        "demonstrations",
        "reference",
        "varied",
        "distinct",
    }


@needs_package
def test_tasks_that_are_left_out_exist_and_are_refused_with_the_reason() -> None:
    assert set(LEFT_OUT) <= set(names())
    for name, reason in LEFT_OUT.items():
        with pytest.raises(DeclarationError) as refused:
            make_env(f"reasoning_gym:{name}")
        assert reason in str(refused.value)


@needs_package
def test_the_score_is_the_packages_own_and_graded() -> None:
    import reasoning_gym

    env = make_env("reasoning_gym:gcd:size=40,seed=3")
    theirs = reasoning_gym.create_dataset("gcd", size=40, seed=3)
    tasks: Any = [*env.tasks("train"), *env.tasks("eval")]
    assert len(tasks) > 30
    answers = ["", "-1", "17", "x" * 30_000]
    for task in tasks:
        entry = theirs[task.index]
        assert task.prompt.startswith(entry["question"])
        assert task.answer == entry["answer"]
        for answer in [task.answer, f"It is {task.answer}.", *answers[:3]]:
            reply = f"<think></think><answer>{answer}</answer>"
            (value, *_), *_ = score(env, "gcd", [task], [reply]).values.tolist()
            assert value == theirs.score_answer(answer, entry)
    replies = [f"<answer>{answer}</answer>" for answer in answers]
    assert not score(env, "gcd", [tasks[0]] * 4, replies).failed.any()


@needs_package
def test_format_and_length_are_as_declared() -> None:
    env = make_env("reasoning_gym:chain_sum:size=20")
    (task, *_) = env.tasks("train")
    long = "<think>" + "a" * 200 + f"</think><answer>{task.answer}</answer>"
    replies = [env.reference(task), f"<answer>{task.answer}</answer>", long, "<think></think><answer>x</answer>", "x"]
    values = score(env, "chain_sum", [task] * 5, [str(reply) for reply in replies]).values.tolist()
    assert values == [[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]]


@needs_package
def test_questions_are_held_out_by_their_text_and_follow_from_the_seed() -> None:
    env, same, other = (make_env(f"reasoning_gym:coin_flip:size=200,seed={seed}") for seed in (1, 1, 2))
    train, held_out = ({" ".join(task.prompt.split()) for task in env.tasks(split)} for split in ("train", "eval"))
    assert not train & held_out
    assert len(train) == len(env.tasks("train")) > 2 * len(held_out) > 20
    assert env.tasks("train") == same.tasks("train") != other.tasks("train")


@needs_package
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_demonstrations_have_their_share_of_right_formats_and_are_imperfect(rate: float) -> None:
    env = make_env("reasoning_gym:chain_sum", format_rate=rate)
    pairs = list(islice(env.demonstrations(Random(0)), 1000))
    assert {task.id for task, _ in pairs} <= {task.id for task in env.tasks("train")}
    correct, format, length = score(env, "x", [task for task, _ in pairs], [str(r) for _, r in pairs]).values.mean(0)
    assert format == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / 1000) + 1e-9)
    assert 0.3 < correct < 0.8
    assert 0.3 < length < 0.9


@needs_package
def test_entries_record_the_packages_version() -> None:
    env = make_env("reasoning_gym:chain_sum")
    assert env.data_revision() == "reasoning-gym 0.1.25"
    assert env.data_licence == "Apache-2.0"


@needs_package
def test_unknown_tasks_and_options_and_bad_values_are_a_sentence() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'chain_sum'"):
        make_env("reasoning_gym:chain_sums")
    with pytest.raises(UnknownNameError, match="min_term"):
        make_env("reasoning_gym:chain_sum:min_term=2")
    with pytest.raises(DeclarationError, match="reasoning_gym:chain_sum does not take"):
        make_env("reasoning_gym:chain_sum:min_terms=0").tasks("train")


def test_a_missing_package_is_a_sentence_that_says_how_to_install_it(
    refused_without: Callable[[str, str], str],
) -> None:
    printed = refused_without("reasoning_gym", "reasoning_gym:chain_sum")
    assert printed == "reasoning_gym:… needs a package: pip install reasoning-gym==0.1.25\n"


def test_ids_lead_to_the_adapter() -> None:
    found = gdpo_bench.spec("reasoning_gym:chain_sum:min_terms=3")
    assert gdpo_bench.core.registry.load_class("reasoning_gym:chain_sum") is ReasoningGym
    assert found.options == {"task": "chain_sum", "min_terms": 3}
