"""What both Mini environments promise to the embedded policy."""

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest
from gdpo_envs.math.mini import MathMini, SumTask
from gdpo_envs.tool_calling.mini import ToolCallingMini, ToolTask

from gdpo_bench.core import DeclarationError, TextEnv, make_env, make_vec
from gdpo_bench.core.scoring import Scores, score

IDS = ["gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1"]
DEMONSTRATIONS = 3000
HOSTILE = [
    "",
    "\x00\ud800\udfff\u202e",
    "x" * 1_000_000,
    "<think>" * 20_000,
    "<think></think><answer>" + "9" * 100_000 + "</answer>",
    "<think></think><tool_call>" + "[" * 100_000 + "</tool_call>",
    '<think></think><tool_call>{"name": NaN, "parameters": 1e999}</tool_call>',
    '<think></think><tool_call>{"name": "weather", "parameters": {"city": "\\ud800"}}</tool_call>',
    "<answer>٣</answer>",
]


def content(task: SumTask | ToolTask) -> object:
    """What a task asks, whatever its wording and the order of its addends or parameters."""
    if isinstance(task, SumTask):
        return tuple(sorted(task.numbers))
    return task.name, frozenset(task.parameters.items())


def shown(reply: str) -> Iterator[object]:
    """The sums that a reply works out, step by step, and the calls that it makes, also those that are cut off."""
    steps = [(int(a), int(b)) for a, b in re.findall(r"(\d+)\+(\d+)=", reply)]
    numbers = [*steps[0][:1], *(b for _, b in steps)] if steps else []
    yield from (tuple(sorted(step)) for step in steps)
    yield from (tuple(sorted(numbers[:count])) for count in range(2, len(numbers) + 1))
    for name, parameters in re.findall(r'{"name":"(\w+)","parameters":({.*?})', reply):
        yield name, frozenset(json.loads(parameters).items())


@pytest.fixture(params=IDS)
def env_id(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def env(env_id: str) -> TextEnv[Any]:
    return make_env(env_id)


def demonstrations(env: TextEnv[Any], count: int = DEMONSTRATIONS, seed: int = 0) -> Iterator[tuple[Any, str]]:
    return islice(env.demonstrations(Random(seed)), count)


def scored(env: TextEnv[Any], pairs: list[tuple[Any, str]]) -> Scores:
    return score(env, "test", [task for task, _ in pairs], [reply for _, reply in pairs])


def test_reference_earns_full_marks_on_every_reward_of_every_task(env: TextEnv[Any]) -> None:
    tasks = [*env.tasks("train"), *env.tasks("eval")]
    scores = scored(env, [(task, env.reference(task) or "") for task in tasks])
    assert (scores.values == [spec.high for spec in env.reward_specs]).all()
    assert scores.applicable.all()


def test_reference_fits_into_the_default_length_of_a_reply(env: TextEnv[Any]) -> None:
    assert max(len(env.reference(task) or "") for task in env.tasks("eval")) < 150


def test_splits_share_no_task_and_no_prompt_and_are_large_enough(env: TextEnv[Any]) -> None:
    train, held_out = env.tasks("train"), env.tasks("eval")
    assert not {task.id for task in train} & {task.id for task in held_out}
    assert not {task.prompt for task in train} & {task.prompt for task in held_out}
    for tasks in (train, held_out):
        assert len({task.id for task in tasks}) == len(tasks) > 10
    assert len(train) > 1.5 * len(held_out)


def test_at_least_a_hundred_held_out_contents_are_asked_nowhere_in_training_in_any_words(env: TextEnv[Any]) -> None:
    train, held_out = ({content(task) for task in env.tasks(split)} for split in ("train", "eval"))
    assert not train & held_out
    assert len(held_out) >= 100
    assert len(train) > 1.5 * len(held_out)


def test_demonstrations_never_show_what_is_held_out_not_even_by_mistake(env: TextEnv[Any]) -> None:
    held_out = {content(task) for task in env.tasks("eval")}
    seen = {found for _, reply in demonstrations(env) for found in shown(reply)}
    assert len(seen) > 100
    assert not seen & held_out


def test_longer_sums_are_not_worked_out_by_way_of_held_out_ones() -> None:
    env = make_env("gdpo/MathMini-v1", digits=1, max_digit=9, max_addends=4)
    held_out = {content(task) for task in env.tasks("eval")}
    steps = [found for _, reply in demonstrations(env) for found in shown(reply)]
    assert len(set(steps)) > 100
    assert not set(steps) & held_out


def test_tasks_are_the_same_every_time(env: TextEnv[Any], env_id: str) -> None:
    assert [task.id for task in env.tasks("train")] == [task.id for task in make_env(env_id).tasks("train")]


@pytest.mark.parametrize("rate", [0.0, 0.04, 0.4, 1.0])
def test_format_is_as_common_in_the_demonstrations_as_asked(env_id: str, rate: float) -> None:
    env = make_env(env_id, format_rate=rate)
    column = [spec.metric for spec in env.reward_specs].index("format_rate")
    found = scored(env, list(demonstrations(env))).values[:, column].mean()
    # Five standard errors; a demonstration may be spoiled in other ways too, but not often.
    assert found == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / DEMONSTRATIONS) + 1e-9)


def test_demonstrations_are_of_the_training_split_and_imperfect(env: TextEnv[Any]) -> None:
    pairs = list(demonstrations(env))
    train = {task.id for task in env.tasks("train")}
    assert all(task.id in train for task, _ in pairs)
    assert len({content(task) for task, _ in pairs}) > 0.8 * len({content(task) for task in env.tasks("train")})
    values = scored(env, pairs).values
    for k, spec in enumerate(env.reward_specs):
        assert len(set(values[:, k])) >= 2, f"{spec.name} says the same of all demonstrations"
        assert values[:, k].mean() < spec.high
    best = (values == [spec.high for spec in env.reward_specs]).all(1)
    assert 0 < best.mean() < 0.5  # all rewards can be had together, and seldom are


def test_demonstrations_follow_from_the_seed(env: TextEnv[Any]) -> None:
    one, same, other = (list(demonstrations(env, 50, seed)) for seed in (3, 3, 4))
    assert one == same != other


@pytest.mark.parametrize("reply", HOSTILE, ids=range(len(HOSTILE)))
def test_every_reply_is_scored(env_id: str, reply: str) -> None:
    vec = make_vec(env_id, 1, 2, "eval")
    vec.reset(seed=0)
    _, rewards, terminated, _, info = vec.step([reply, reply])
    assert terminated.all()
    assert not info["failed"].any()
    assert info["applicable"].all()
    for k, spec in enumerate(vec.reward_specs):
        assert spec.low <= rewards[0, k] == rewards[1, k] <= spec.high
    assert (rewards[0] < [spec.high for spec in vec.reward_specs]).any()


SUM = SumTask("2+3=?\n", (2, 3), 36)


@pytest.mark.parametrize(
    ("reply", "correct", "length", "format", "integer"),
    [
        ("<think></think><answer>5</answer>", 1, 1, 1, 1),
        ("<think>2+3=5; so it is 5</think><answer>5</answer>", 1, 0, 1, 1),
        ("<think></think><answer>4</answer>", 0, 1, 1, 1),
        ("<think></think><answer>5 in all</answer>", 1, 0, 1, 0),
        ("<answer>5</answer>", 1, 1, 0, 1),
        ("<think>5</think>5", 0, 1, 0, 0),
        ("5", 0, 1, 0, 0),
        ("<think></think><answer>5</answer>!", 1, 1, 0, 1),
        ("<think></think><answer></answer>", 0, 1, 1, 0),
        ("<think></think><answer>five</answer>", 0, 1, 1, 0),
        ("", 0, 1, 0, 0),
    ],
)
def test_rewards_of_a_sum_are_independent(reply: str, correct: int, length: int, format: int, integer: int) -> None:
    env = MathMini()
    assert scored(env, [(SUM, reply)]).values.tolist() == [[correct, length, format, integer]]
    assert [spec.name for spec in env.reward_specs] == ["correct", "length", "format", "integer"]


CALL = ToolTask("temp in Oslo as C\n", "weather", {"city": "Oslo", "unit": "C"})


def test_the_length_of_a_sum_can_be_conditioned_on_its_correctness() -> None:
    task = SumTask("1+1=?\n", (1, 1), 36)
    replies = ["<think></think><answer>2</answer>", "<think></think><answer>3</answer>"]
    for conditioned, lengths in ((False, [1, 1]), (True, [1, 0])):
        scores = score(MathMini(conditioned=conditioned), "test", [task, task], replies)
        assert scores.values[:, 1].tolist() == lengths
        assert scores.raw[:, 1].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("call", "correctness"),
    [
        ('{"name":"weather","parameters":{"city":"Oslo","unit":"C"}}', 3),
        ('{"name":"weather","parameters":{"city":"Rome","unit":"C"}}', 1.5),
        ('{"name":"stock","parameters":{"city":"Oslo","unit":"C"}}', -3),
        ('{"name":"weather","parameters":{}}', -1.5),
        ('{"name":"weather"', -3),
        ("", -3),
    ],
)
def test_correctness_of_a_call_does_not_depend_on_its_format(call: str, correctness: float) -> None:
    env = ToolCallingMini()
    replies = [f"<think>use it</think><tool_call>{call}</tool_call>", f"<tool_call>{call}</tool_call>"]
    values = scored(env, [(CALL, reply) for reply in replies]).values
    assert values.tolist() == [[1, correctness], [0, correctness]]
    assert [spec.name for spec in env.reward_specs] == ["format", "correctness"]


@pytest.mark.parametrize(
    "options", [{"max_addends": 3}, {"max_digit": 4, "digits": 1, "max_addends": 4}, {"limit": 1}, {"format_rate": 0}]
)
def test_options_make_other_tasks_that_still_keep_the_promises(options: dict[str, Any]) -> None:
    env = make_env("gdpo/MathMini-v1", **options)
    pairs = list(demonstrations(env, 100))
    train = {task.id for task in env.tasks("train")}
    assert all(task.id in train for task, _ in pairs)
    assert {len(task.numbers) for task, _ in pairs} == set(range(2, env.max_addends + 1))  # type: ignore[attr-defined]
    if options.get("limit") != 1:
        references = [(task, env.reference(task) or "") for task in env.tasks("eval")]
        assert (scored(env, references).values == 1).all()


@pytest.mark.parametrize("options", [{"max_addends": 4}, {"max_digit": 10}, {"digits": 9}])
def test_more_sums_than_can_be_listed_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"and there can be at most 100,000 sums; max_digit="):
        make_env("gdpo/MathMini-v1", **options)
