"""NeMo Gym's contract of several rewards. What needs nemo-gym runs where it is installed (Python 3.13.14 or newer).

Where it is not, the contract stands here as NeMo-RL checks it:
https://github.com/NVIDIA-NeMo/RL/blob/7ea279abfbeb698b092856d0dab61e7cf39bc909/nemo_rl/environments/nemo_gym.py#L1037
"""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gdpo_bench import make_env, make_vec
from gdpo_bench.core import Task, TextEnv, UnknownNameError, register, reward
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.nemo_gym import reply_text, reward_weights, verification, write_server

ENV = "gdpo/ToolCallingMini-v1"


@register("nemo-test/Reserved-v0")
class Reserved(TextEnv[Task]):
    def tasks(self, split):
        return [Task(f"{split}: say something")]

    @reward(low=0, high=1)
    def response(self, task, reply):
        return 1


def answered(text, *thoughts):
    """The output of a response, as a model server writes it."""
    items = [{"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": t}]} for t in thoughts]
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return [*items, {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}]


def test_components_are_our_rewards_and_their_plain_sum_is_the_reward():
    vec = make_vec(ENV, num_prompts=4, group_size=2)
    tasks = vec.tasks[:4]
    vec.reset(options={"task_ids": [task.id for task in tasks]})
    replies = [text for task in tasks for text in (vec.text_env.reference(task), "<tool_call>")]
    expected = vec.step(replies)[1]
    found = [verification(ENV, tasks[i // 2].id, reply) for i, reply in enumerate(replies)]
    names = [spec.name for spec in vec.reward_specs]
    assert np.array_equal([[row["reward_components"][name] for name in names] for row in found], expected)
    assert [row["reward"] for row in found] == pytest.approx(expected.sum(1).tolist())
    assert [row[names[0]] for row in found] == expected[:, 0].tolist()


def test_components_come_in_the_order_in_which_weights_are_bound():
    env = make_env("gdpo/MathMini-v1")
    found = verification("gdpo/MathMini-v1", env.tasks("train")[0].id, "")
    names = [spec.name for spec in env.reward_specs]
    assert names != sorted(names)
    assert list(found["reward_components"]) == sorted(names)
    weights = {name: float(number) for number, name in enumerate(names)}
    assert dict(zip(sorted(names), reward_weights("gdpo/MathMini-v1", weights), strict=True)) == weights
    declared = {spec.name: spec.weight for spec in env.reward_specs}
    assert reward_weights("gdpo/MathMini-v1") == [declared[name] for name in sorted(names)]
    with pytest.raises(UnknownNameError, match="Did you mean 'correct'"):
        reward_weights("gdpo/MathMini-v1", {"corect": 1.0})


def test_what_is_absent_is_zero_in_the_components_and_left_out_of_the_metrics(moody):
    tasks = make_env(moody).tasks("train")
    odd, even = (next(t for t in tasks if int(t.prompt.split(":")[0]) % 2 == rest) for rest in (1, 0))
    absent, broken = verification(moody, odd.id, "aaaaa"), verification(moody, even.id, "abaaa")
    assert absent["reward_components"] == {"gated": 1.0, "luck": 5.0, "size": 0.0}
    assert absent["size"] is None
    assert not absent["mask_sample"]
    assert broken["reward_components"] == {"gated": 0.0, "luck": 0.0, "size": 5.0}
    assert broken["luck"] is None
    assert broken["mask_sample"]
    assert "an unlucky letter" in broken["failure_reason"]
    for row in (absent, broken):  # what NeMo-RL checks of every result
        assert math.isclose(row["reward"], sum(row["reward_components"].values()), rel_tol=1e-5, abs_tol=1e-6)


def test_a_reply_is_the_text_with_its_thought():
    assert reply_text(answered("<answer>3</answer>", "one and two")) == "<think>one and two</think><answer>3</answer>"
    assert reply_text(answered("<think>a</think>b")) == "<think>a</think>b"
    assert reply_text([]) == ""
    with pytest.raises(IntegrationError, match="without a tool parser"):
        reply_text([{"type": "function_call", "name": "add", "arguments": "{}"}])


def test_a_reward_with_the_name_of_a_field_is_refused(tmp_path):
    with pytest.raises(IntegrationError, match="a reward named 'response'"):
        verification("nemo-test/Reserved-v0", Task("train: say something").id, "")
    with pytest.raises(IntegrationError, match="a reward named 'response'"):
        write_server("nemo-test/Reserved-v0", tmp_path / "reserved")
    assert not list(tmp_path.iterdir())


def test_a_written_server_has_the_tasks_and_a_configuration(tmp_path):
    command = [sys.executable, "-m", "gdpo_bench.integrations.nemo_gym", f"{ENV}:format_rate=0.04"]
    subprocess.run([*command, "--out", str(tmp_path / "tools")], check=True, capture_output=True)
    env = make_env(ENV, format_rate=0.04)
    rows = [json.loads(line) for line in (tmp_path / "tools/data/eval.jsonl").read_text().splitlines()]
    assert [row["task_id"] for row in rows] == [task.id for task in env.tasks("eval")]
    assert rows[0]["responses_create_params"] == {"input": env.messages(env.tasks("eval")[0])}
    assert rows[0]["options"] == {"format_rate": 0.04}
    assert "GdpoBenchServer" in (tmp_path / "tools/app.py").read_text()
    assert (tmp_path / "tools/requirements.txt").read_text().split() == ["nemo-gym", "gdpo-bench"]
    text = (tmp_path / "tools/configs/tools.yaml").read_text()
    assert "tools_simple_agent:" in text
    assert "SERVER" not in text


def test_nemo_gyms_own_command_accepts_a_written_server(tmp_path):
    pytest.importorskip("nemo_gym", reason="nemo-gym is not installed")
    write_server(ENV, tmp_path / "resources_servers/tools")
    command = [shutil.which("gym", path=Path(sys.executable).parent), "env", "validate", "--resources-server", "tools"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Config is valid" in done.stdout


class TestServer:
    """The resources server itself, by nemo-gym's own models and web application."""

    @pytest.fixture
    def client(self):
        pytest.importorskip("nemo_gym", reason="nemo-gym is not installed")
        from unittest.mock import MagicMock

        from fastapi.testclient import TestClient
        from nemo_gym.base_resources_server import BaseResourcesServerConfig
        from nemo_gym.server_utils import ServerClient

        from gdpo_bench.integrations.nemo_gym.server import GdpoBenchServer

        config = BaseResourcesServerConfig(host="127.0.0.1", port=8080, entrypoint="app.py", name="tools")
        server = GdpoBenchServer(config=config, server_client=MagicMock(spec=ServerClient))
        return TestClient(server.setup_webserver())

    def rollout(self, task, text, *thoughts, env_id=ENV, **more):
        response = {
            "id": "x",
            "created_at": 0.0,
            "model": "m",
            "object": "response",
            "output": answered(text, *thoughts),
        }
        response |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        prompt = {"input": make_env(env_id).messages(task)}
        return {"responses_create_params": prompt, "response": response, "env": env_id, "task_id": task.id} | more

    def test_verify_answers_with_components_and_each_reward_by_its_name(self, client):
        env = make_env(ENV)
        task = env.tasks("train")[0]
        reply = env.reference(task)
        answer = client.post("/verify", json=self.rollout(task, reply))
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["reward_components"] == verification(ENV, task.id, reply)["reward_components"]
        assert found["reward"] == sum(found["reward_components"].values()) > 0
        assert found["format"] == 1.0
        assert found["response"]["output"][0]["content"][0]["text"] == reply

    def test_a_thought_that_the_server_took_out_counts(self, client):
        env = make_env(ENV)
        task = env.tasks("train")[0]
        thought, rest = env.reference(task).removeprefix("<think>").split("</think>", 1)
        found = client.post("/verify", json=self.rollout(task, rest, thought)).json()
        assert found["format"] == 1.0

    def test_aggregate_metrics_report_each_reward(self, client):
        env = make_env(ENV)
        task = env.tasks("train")[0]
        found = [client.post("/verify", json=self.rollout(task, text)).json() for text in (env.reference(task), "")]
        rows = [row | {"_ng_task_index": 0, "_ng_rollout_index": i} for i, row in enumerate(found)]
        metrics = client.post("/aggregate_metrics", json={"verify_responses": rows}).json()["agent_metrics"]
        assert metrics["mean/format"] == 0.5
        assert metrics["mean/reward"] == sum(row["reward"] for row in found) / 2

    def test_absent_and_failed_rewards_are_left_out_of_the_metrics(self, client, moody):
        tasks = make_env(moody).tasks("train")
        odd, even = (next(t for t in tasks if int(t.prompt.split(":")[0]) % 2 == rest) for rest in (1, 0))
        replies = [(odd, "aaaaa"), (even, "aaaa"), (even, "abaaa")]
        found = [client.post("/verify", json=self.rollout(*reply, env_id=moody)).json() for reply in replies]
        assert [row["mask_sample"] for row in found] == [False, False, True]
        rows = [row | {"_ng_task_index": 0, "_ng_rollout_index": i} for i, row in enumerate(found)]
        metrics = client.post("/aggregate_metrics", json={"verify_responses": rows}).json()["agent_metrics"]
        assert metrics["mean/size"] == 4.0
        assert metrics["mean/luck"] == 4.5
