"""What can be known before a job starts is said before it starts."""

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from gdpo_bench.advantages import NormalizerOutputError
from gdpo_bench.agent.errors import ContextError, ScorerFailuresError
from gdpo_bench.agent.metrics import MissingLoggerError
from gdpo_bench.cli.main import main
from gdpo_bench.core import DeclarationError, make_env, registry
from gdpo_bench.jobs import replay
from gdpo_bench.jobs.job import JobError, check
from gdpo_bench.jobs.plan import plan
from gdpo_bench.leaderboard.files.store import read_entry

ENV = "gdpo/MathMini-v1"
_NUMBER = count()
Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def module(folder: Path) -> Iterator[Write]:
    """Write a module; returns its name."""
    before = dict(registry._registry), dict(gym.registry)

    def write(source: str) -> str:
        name = f"preflight_{next(_NUMBER)}"
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    yield write
    for live, saved in zip((registry._registry, gym.registry), before, strict=True):
        live.clear()
        live.update(saved)


@pytest.fixture
def environment(module: Write) -> Write:
    """Write an environment with further methods; returns its id."""

    def write(methods: str = "") -> str:
        number = next(_NUMBER)
        head = f"""
        from gdpo_bench import Task, TextEnv, register, reward
        from gdpo_bench.core import split_by_content

        @register("acme/Say{number}-v0")
        class Say(TextEnv[Task]):
            def tasks(self, split):
                return split_by_content([Task(self.prompt(n)) for n in range(100)], split)

            def prompt(self, n):
                return f"Say {{n}}"

            @reward(low=0, high=1)
            def right(self, task, reply):
                return task.prompt.endswith(reply)

            @reward(low=0, high=1)
            def even(self, task, reply):
                return None if task.prompt.endswith(("1", "3", "5", "7", "9")) else float(len(reply) == 2)
        """
        return (
            f"{module(textwrap.dedent(head) + textwrap.indent(textwrap.dedent(methods), '    '))}:acme/Say{number}-v0"
        )

    return write


def planned(**fields: Any) -> Any:
    return plan(check({"envs": [ENV]} | fields))


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("return batch.rewards.sum(1) / 0 if 1 // 0 else 0  # here", DeclarationError, "raised ZeroDivisionError"),
        ("return batch.reward.sum(1)  # here", DeclarationError, "raised AttributeError: .*'reward'"),
        ("return batch.rewards[:, 7]  # here", DeclarationError, "raised IndexError"),
        (
            "return batch.rewards",
            NormalizerOutputError,
            r"a tensor of shape \(128,\); got shape \(128, 4\)",
        ),
        ("return None", NormalizerOutputError, "got NoneType"),
        ("return batch.rewards.sum(1) / 0", NormalizerOutputError, "advantages must be finite"),
        ("return (batch.rewards.sum(1) / batch.lengths).log()", NormalizerOutputError, "advantages must be finite"),
        ("raise SystemExit('no licence')  # here", DeclarationError, "raised SystemExit: no licence"),
    ],
)
def test_a_normalizer_that_fails_on_a_toy_batch_of_the_jobs_size_is_refused(
    body: str, error: type[Exception], says: str, module: Write, folder: Path
) -> None:
    name = module(f"def mine(batch):\n    {body}\n")
    line = 2 if body.endswith("# here") else 1
    with pytest.raises(error, match=says) as raised:
        planned(normalizers=["gdpo", f"{name}:mine"])
    assert f"{folder / name}.py, line {line})" in str(raised.value)
    assert "toy batch of 16 × 8 rollouts with 4 rewards" in str(raised.value)
    assert "absent" not in str(raised.value)


def test_a_normalizer_is_tried_without_the_rewards_that_can_be_absent(environment: Write, module: Write) -> None:
    name = module("def mine(batch):\n    assert batch.complete, 'all of them'\n    return batch.rewards.sum(1)\n")
    planned(normalizers=[f"{name}:mine"])
    with pytest.raises(DeclarationError, match=r"AssertionError: all of them .* of which even can be absent"):
        planned(normalizers=[f"{name}:mine"], envs=[environment()])


def test_what_a_normalizer_remembers_of_the_toys_goes_with_them() -> None:
    alone, tried = planned(normalizers=["dgdo"]), planned(normalizers=["dgdo"], envs=[ENV, "gdpo/ToolCallingMini-v1"])
    assert alone.normalizers[0].normalizer.state_dict() == tried.normalizers[0].normalizer.state_dict()


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_is_named(logger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, logger, None)
    with pytest.raises(MissingLoggerError, match=rf"logger {logger} needs .*pip install 'gdpo-bench\[loggers\]'"):
        planned(runtime={"loggers": [logger]})


def test_without_ray_nothing_is_begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", "--envs", ENV, "--engine", "ray"]) == 2
    assert "needs Ray: pip install 'gdpo-bench[ray]'" in capsys.readouterr().err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("policy", "tokens", "says"),
    [
        ("mini", 512, "prompt of task .* of gdpo/MathMini-v1 has .* but the policy reads 512 at most"),
        ("mini", 513, r"A reply may have 513 tokens .* reads 512 at most.*\(small, mini:positions=…\)"),
        ("small", 3000, r"A reply may have 3000 tokens .* reads 2048 at most.*\(small:positions=…\)"),
        ("mini:positions=64", 60, "prompt of task .* reads 64 at most"),
    ],
)
def test_replies_that_do_not_fit_the_context_are_refused(policy: str, tokens: int, says: str) -> None:
    with pytest.raises(ContextError, match=says):
        planned(policy=policy, training={"max_new_tokens": tokens})
    with pytest.raises(ContextError, match="reads"):
        planned(policy=policy, training={"eval_max_new_tokens": tokens})


def test_the_longest_reply_that_fits_is_taken() -> None:
    assert planned(training={"max_new_tokens": 400})
    assert planned(policy="mini:positions=1024", training={"max_new_tokens": 512})


def test_prompts_that_do_not_fit_are_refused_though_they_may_never_be_drawn(environment: Write) -> None:
    id = environment("def prompt(self, n):\n    return f'Say {n}' + 'äé' * 300 * (n == 17)")
    with pytest.raises(ContextError, match=r"The prompt of task \w{16} of acme/Say\d+-v0 has \d+ tokens"):
        planned(envs=[id])
    assert planned(envs=[id], policy="oracle")


def test_half_a_character_in_a_prompt_is_named_with_the_line(environment: Write) -> None:
    text = "def messages(self, task):\n    return [{'role': 'user', 'content': task.prompt + '\\ud83d'}]"
    with pytest.raises(DeclarationError, match=r"half a character .*errors='replace'.*\.py, line 2\d\)"):
        planned(envs=[environment(text)])
    with pytest.raises(DeclarationError, match=r"prompt holds half a character .*'Say \d+\\ud83d'"):
        planned(envs=[environment("def prompt(self, n):\n    return f'Say {n}\\ud83d'")], policy="oracle")


@pytest.mark.parametrize("drawn", [201, 2000])
def test_demonstrations_that_end_during_the_warm_start_are_refused_before_it(drawn: int, environment: Write) -> None:
    body = f"for i in range({drawn}):\n        yield self.tasks('train')[0], 'a'"
    id = environment(f"def demonstrations(self, rng):\n    {body}")
    with pytest.raises(DeclarationError, match=f"ended after {drawn}; they must be endless"):
        planned(envs=[id])


def test_demonstrations_are_drawn_as_each_warm_start_will(environment: Write) -> None:
    body = (
        "task = self.tasks('train')[0]\n    chosen = rng.random()\n    while chosen < 0.5:\n        yield task, 'a'\n"
    )
    id = environment(f"def demonstrations(self, rng):\n    {body}    raise OSError('words.txt')")
    with pytest.raises(DeclarationError, match=r"demonstrations\(\) of acme/Say.* raised OSError: words.txt"):
        planned(envs=[id], seeds=[f"{warm_start}:0" for warm_start in range(8)])


def test_a_reward_that_always_fails_is_found_before_anything_is_trained(environment: Write) -> None:
    broken = "@reward(low=0, high=1)\ndef brief(self, task, reply):\n    return len(task.answer)"
    with pytest.raises(ScorerFailuresError, match=r"reward 'brief' failed on task .* has no attribute 'answer'"):
        planned(envs=[environment(broken)])


def test_a_suite_that_cannot_be_scored_here_is_refused(environment: Write) -> None:
    with pytest.raises(JobError, match=r"The suite .* cannot be scored here. Start the service"):
        planned(suites=[environment("def unavailable(self):\n    return 'Start the service.'")])


def test_environments_that_share_a_warm_start_are_named(environment: Write) -> None:
    minis = "gdpo/CodingMini-v1, gdpo/MathMini-v1 and gdpo/ToolCallingMini-v1"
    assert planned().warm_start_sentences() == [f"Warm start of {ENV}: on demonstrations of {minis}."]
    plain = environment()
    assert planned(envs=[ENV, plain, "gdpo/Bits-v0"]).warm_start_sentences() == [
        f"Warm start of {ENV} and {plain} together: on demonstrations of {minis}.",
        "Warm start of gdpo/Bits-v0: on demonstrations of gdpo/Bits-v0.",
    ]
    assert planned(policy="oracle").warm_start_sentences() == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"[1]\n", b'{"task_id": "a", "replies": "b"}\n'])
def test_a_replay_file_is_read_for_all_environments_before_anything_is_scored(
    content: bytes | None, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay, "score_rollouts", lambda *_: pytest.fail("scored before all replies were read"))
    if content is not None:
        (folder / "replies.jsonl").write_bytes(content)
    assert main(["run", "--envs", ENV, "gdpo/ToolCallingMini-v1", "--policy", "replay:replies.jsonl"]) == 2
    assert "replies.jsonl" in capsys.readouterr().err
    task = make_env(ENV).tasks("eval")[0]
    (folder / "replies.jsonl").write_text(json.dumps({"task_id": task.id, "replies": ["7"]}))
    assert main(["run", "--envs", ENV, "gdpo/ToolCallingMini-v1", "--policy", "replay:replies.jsonl"]) == 2
    assert "none of its 1 lines is about one of the" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_demonstrations_are_scored_in_groups(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--envs", ENV, "gdpo/ToolDialog-v0", "--policy", "demonstrations", "--normalizers", "grpo", "gdpo"]
    assert main(["run", *arguments]) == 0
    entries = [read_entry(path) for path in sorted(folder.glob("runs/*/entries/*.json"))]
    assert len(entries) == 4
    for entry in entries:
        found = entry.results[0].diagnostics
        assert (entry.environment.split, entry.policy.name, found["groups"]) == ("train", "demonstrations", 64)
        assert entry.policy.details["rollouts"] == 512
        assert found["distinct_levels"] > 50
        assert found["zero_signal_groups"] < 10
    (run,) = folder.glob("runs/*")
    assert main(["leaderboard", "validate", str(run)]) == 0
    first = next(folder.glob("runs/*/entries/*.json"))
    assert main(["leaderboard", "reproduce", str(first)]) == 0
    assert "Reproduced." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ("", r"offers no demonstrations to score\. Define `demonstrations\(rng\)`"),
        (
            "def demonstrations(self, rng):\n    yield from ((task, 'a') for task in self.tasks('train'))",
            "each of 88 demonstrations is of another task",
        ),
        ("def demonstrations(self, rng):\n    raise OSError('words.txt')", "raised OSError: words.txt"),
    ],
)
def test_demonstrations_that_cannot_be_compared_are_refused(
    methods: str, says: str, environment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--envs", environment(methods), "--policy", "demonstrations"]) == 2
    assert re.search(says, capsys.readouterr().err)
