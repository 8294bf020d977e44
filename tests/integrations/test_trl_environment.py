"""Reward functions and data for TRL, which need no TRL."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from gdpo_bench import make_env, make_vec
from gdpo_bench.core import UnknownNameError
from gdpo_bench.integrations.errors import IntegrationError, MissingExtraError
from gdpo_bench.integrations.trl import TRLEnvironment, TRLMixture

IDS = ["gdpo/ToolCallingMini-v1", "gdpo/MathMini-v1"]


def message(reply):
    return [{"role": "assistant", "content": reply}]


def call_all(env, task_ids, replies, **columns):
    prompts, completions = ["?"] * len(replies), [message(reply) for reply in replies]
    return {
        f.__name__: f(prompts=prompts, completions=completions, task_id=task_ids, **columns) for f in env.reward_funcs
    }


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("split", ["train", "eval"])
def test_rewards_are_those_of_the_environments_step(env_id, split):
    author = make_env(env_id)
    tasks = author.tasks(split)[:8]
    replies = [
        reply
        for i, task in enumerate(tasks)
        for reply in (author.reference(task), author.reference(tasks[i - 1]), f"<think>{i}</think>5", "7" * 50)
    ]
    vec = make_vec(env_id, num_prompts=8, group_size=4, split=split)
    vec.reset(options={"task_ids": [task.id for task in tasks]})
    _, rewards, _, _, _ = vec.step(replies)
    found = call_all(TRLEnvironment(env_id), [task.id for task in tasks for _ in range(4)], replies)
    assert list(found) == [spec.name for spec in vec.reward_specs]
    assert np.array_equal(np.array(list(found.values())).T, rewards)
    assert (rewards.std(0) > 0).all()


def test_reference_replies_of_gsm8k_get_full_marks(data_dir):
    env = TRLEnvironment("gdpo/GSM8K-v0")
    rows = env.dataset("eval").select(range(20))
    by_id = {task.id: task for task in env.env.tasks("eval")}
    found = call_all(env, rows["task_id"], [env.env.reference(by_id[task_id]) for task_id in rows["task_id"]])
    assert found == {spec.name: [spec.high] * 20 for spec in env.env.reward_specs}


def test_texts_score_as_messages_do():
    env = TRLEnvironment("gdpo/MathMini-v1")
    task = env.env.tasks("train")[0]
    reply = env.env.reference(task)
    assert [f(["?"], [reply], task_id=[task.id]) for f in env.reward_funcs] == list(
        call_all(TRLEnvironment("gdpo/MathMini-v1"), [task.id], [reply]).values()
    )


def test_none_stands_for_not_applicable_and_for_failed_and_gates_apply(moody, caplog):
    env = TRLEnvironment(moody)
    tasks = sorted(env.env.tasks("train"), key=lambda task: int(task.prompt.split(":")[0]))
    even, odd = (next(t.id for t in tasks if int(t.prompt.split(":")[0]) % 2 == rest) for rest in (0, 1))
    metrics = {}
    with caplog.at_level(logging.WARNING):
        found = call_all(env, [even, odd, even, even], ["aaaaa", "a", "bbbbb", "ccccc"], log_metric=metrics.__setitem__)
    assert found == {
        "size": [5.0, None, 5.0, 5.0],
        "luck": [5.0, 1.0, None, 0.0],
        "gated": [1.0, 0.0, None, 0.0],  # what it hangs on failed in the third, and was not reached in the fourth
    }
    assert [f.last_failed.tolist() for f in env.reward_funcs] == [
        [False] * 4,
        [False, False, True, False],
        [False, False, True, False],
    ]
    assert metrics == {"rewards/size/failed": 0.0, "rewards/luck/failed": 0.25, "rewards/gated/failed": 0.25}
    (record,) = caplog.records
    assert "1 of 4 replies" in record.message
    assert "an unlucky letter" in record.message


def test_a_batch_is_scored_once_for_all_rewards(moody):
    env = TRLEnvironment(moody)
    ids = env.dataset()["task_id"][:2]
    assert call_all(env, ids, ["a", "aa"])["luck"] == [1.0, 2.0]
    assert env.env.calls == 1
    assert call_all(env, ids, ["a", "aaa"])["luck"] == [1.0, 3.0]
    assert env.env.calls == 2
    call_all(env, ids[::-1], ["a", "aaa"])
    assert env.env.calls == 3


@pytest.mark.parametrize("env_id", IDS)
def test_the_data_are_the_tasks_as_the_environment_shows_them(env_id):
    env = TRLEnvironment(env_id)
    for split in ("train", "eval"):
        rows, tasks = env.dataset(split), env.env.tasks(split)
        assert rows.column_names == ["prompt", "task_id", "env"]
        assert list(rows["task_id"]) == [task.id for task in tasks]
        assert list(rows["prompt"]) == [env.env.messages(task) for task in tasks]
    assert list(env.dataset()["task_id"]) == list(env.dataset("train")["task_id"])


def test_options_reach_the_environment():
    assert TRLEnvironment("gdpo/MathMini-v1", limit=7).env.tasks("train")[0].limit == 7


def test_weights_by_name_come_in_the_order_of_the_reward_functions(moody):
    env = TRLEnvironment(moody)
    assert env.reward_weights() == [0.5, 1.0, 1.0]
    assert env.reward_weights({"gated": 3.0, "size": 2}) == [2, 1.0, 3.0]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'gated'\?"):
        env.reward_weights({"gate": 1.0})


def test_a_dialogue_that_nobody_plays_is_refused():
    env = TRLEnvironment("gdpo/ToolDialog-v0")
    (task_id,) = env.dataset().select([0])["task_id"]
    with pytest.raises(IntegrationError, match=r"gdpo/ToolDialog-v0 is a dialogue of up to 6 turns.*rollout_func="):
        env.reward_funcs[0](["?"], ["hello"], task_id=[task_id])


def test_prompts_of_a_dialogue_name_their_task_for_what_plays_it():
    env = TRLEnvironment("gdpo/ToolDialog-v0", signatures=False)
    row, task = env.dataset()[0], env.env.tasks("train")[0]
    assert row["prompt"][-1] == env.env.messages(task)[-1] | {"task_id": task.id, "env": env.source}
    assert env.source == 'gdpo/ToolDialog-v0 {"signatures":false}'


@pytest.fixture
def mixture(moody):
    return TRLMixture(TRLEnvironment("gdpo/MathMini-v1"), TRLEnvironment(moody))


def test_in_a_mixture_rewards_of_others_are_none_and_have_not_failed(mixture):
    sums, moods = mixture.envs
    task = sums.env.tasks("train")[0]
    even = next(one.id for one in moods.env.tasks("train") if int(one.prompt.split(":")[0]) % 2 == 0)
    columns = {"env": [sums.source, moods.source, None, moods.source], "task_id": [task.id, even, None, even]}
    replies = [sums.env.reference(task), "aaaaa", "of another data set", "b"]
    found = {f.__name__: f(["?"] * 4, replies, **columns) for f in mixture.reward_funcs}
    for spec, own in zip(sums.env.reward_specs, mixture.reward_funcs, strict=False):
        assert found[f"MathMini_v1_{spec.name}"] == [spec.high, None, None, None]
        assert own.last_failed.tolist() == [False] * 4
    assert found["Moody_v0_size"] == [None, 5.0, None, 1.0]
    assert found["Moody_v0_luck"] == [None, 5.0, None, None]
    assert mixture.reward_funcs[-1].last_failed.tolist() == [False, False, False, True]


def test_rewards_of_a_mixture_have_names_of_their_own_and_gates_follow(mixture):
    gated = mixture.reward_funcs[-1].spec
    assert (gated.name, gated.gate.on) == ("Moody_v0_gated", "Moody_v0_luck")
    assert mixture.reward_weights({"Moody_v0_size": 2})[-3:] == [2, 1.0, 1.0]
    assert set(mixture.dataset("eval")["env"]) == {"gdpo/MathMini-v1", "test/Moody-v0"}
    assert mixture.rollout_func is None


def test_a_batch_of_other_data_alone_has_no_rewards(mixture):
    assert mixture.reward_funcs[0](["?"], ["5"], task_id=[None]) == [None]


def test_a_mixture_of_one_environment_twice_is_refused():
    with pytest.raises(IntegrationError, match="of different environments; got gdpo/MathMini-v1, gdpo/MathMini-v1"):
        TRLMixture(TRLEnvironment("gdpo/MathMini-v1"), TRLEnvironment("gdpo/MathMini-v1"))
    TRLMixture(TRLEnvironment("gdpo/MathMini-v1"), TRLEnvironment("gdpo/MathMini-v1", limit=7))


def test_what_reward_functions_cannot_score_is_refused():
    env = TRLEnvironment("gdpo/MathMini-v1")
    task_id = env.env.tasks("train")[0].id
    function = env.reward_funcs[0]
    with pytest.raises(IntegrationError, match="column 'task_id', which is missing"):
        function(["?"], ["5"])
    with pytest.raises(UnknownNameError, match="task id of gdpo/MathMini-v1 'nowhere'"):
        function(["?"], ["5"], task_id=["nowhere"])
    with pytest.raises(IntegrationError, match=r"one message with a text; got assistant: str, tool: str"):
        function(["?"], [[*message("a"), {"role": "tool", "content": "b"}]], task_id=[task_id])
    with pytest.raises(IntegrationError, match="split a reply into content and tool_calls"):
        function(["?"], [[{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]], task_id=[task_id])


def test_without_trl_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.delitem(sys.modules, "gdpo_bench.integrations.trl.trainer", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'gdpo-bench\[trl\]'"):
        from gdpo_bench.integrations.trl import NormalizerGRPOTrainer  # noqa: F401
    with pytest.raises(MissingExtraError, match=r"gdpo-bench\[trl\]"):
        TRLEnvironment("gdpo/MathMini-v1").config("out")


def test_reward_functions_import_no_trl():
    code = "import sys, gdpo_bench.integrations.trl; assert 'trl' not in sys.modules and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
