"""What an instance declares counts everywhere: its ranges, its gates, and which rewards it has at all."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import gdpo_bench
from gdpo_bench.authoring.describe import env_rows
from gdpo_bench.authoring.playing import reward_table
from gdpo_bench.cli.main import main
from gdpo_bench.core import (
    DeclarationError,
    DialogEnv,
    Gate,
    GroupVectorEnv,
    Message,
    RewardError,
    RewardSpec,
    Task,
    TextEnv,
    Turn,
    UnknownNameError,
    reward,
    split_by_content,
)
from gdpo_bench.core.scoring import score
from gdpo_bench.leaderboard.files.store import entry_files, read_measured
from gdpo_bench.leaderboard.files.verification import check_follows

ID = "test/Marks-v0"


class Marks(TextEnv[Task]):
    """Three letters, then up to three marks; how many rewards there are and how much they are worth is an option."""

    def __init__(self, rewards: int = 3, scale: float = 1.0, gated: bool = False, broken: str = "") -> None:
        self.rewards, self.scale, self.gated, self.broken = rewards, scale, gated, broken

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The first is worth `scale`; the others may be conditioned on it."""
        first, *others = super().reward_specs[: self.rewards]
        if self.gated:
            others = [replace(spec, gate=Gate("letters", self.scale)) for spec in others]
        return (replace(first, high=self.scale, weight=2.0), *others)

    def tasks(self, split: str) -> Sequence[Task]:
        return split_by_content((Task(f"{a}{b}{c}") for a in "abcd" for b in "abcd" for c in "abcd"), split, 0.5)

    def reference(self, task: Task) -> str:
        return f"{task.prompt}+++"

    @reward(low=0, high=1, metric="accuracy")
    def letters(self, task: Task, reply: str) -> float:
        """Share of the letters, times the scale."""
        return self.scale * sum(a == b for a, b in zip(reply, task.prompt, strict=False)) / 3

    @reward(low=0, high=1, kind="binary")
    def one(self, task: Task, reply: str) -> bool:
        """1 if the first mark is a plus."""
        return reply[3:4] == "+"

    @reward(low=0, high=1, kind="binary")
    def two(self, task: Task, reply: str) -> bool:
        """1 if the second mark is a plus."""
        return reply[4:5] == "+"


@pytest.fixture
def marks(clean_registry: None) -> Callable[..., GroupVectorEnv]:
    gdpo_bench.register(ID, Marks)
    return lambda **options: gdpo_bench.make_vec(ID, 1, 3, **options)


def step(venv: GroupVectorEnv) -> tuple[np.ndarray, dict[str, Any]]:
    (prompt, *_), _ = venv.reset(seed=0)
    _, rewards, _, _, info = venv.step([f"{prompt}++", prompt, "++++"])
    return rewards, info


def test_a_range_by_option_holds_in_step(marks: Callable[..., GroupVectorEnv]) -> None:
    venv = marks(scale=6)
    assert step(venv)[0].tolist() == [[6, 1, 1], [6, 0, 0], [0, 1, 0]]
    assert venv.reward_space.high.tolist() == [6, 1, 1]
    assert [spec.weight for spec in venv.reward_specs] == [2, 1, 1]
    venv = marks(scale=0.5)
    venv.text_env.letters = lambda task, reply: 0.6  # type: ignore[attr-defined]
    with pytest.raises(RewardError, match=r"'letters' .* must lie in \[0, 0.5\] as declared; got 0.6"):
        step(venv)


def test_two_instances_of_a_class_have_each_their_own(marks: Callable[..., GroupVectorEnv]) -> None:
    large, small = marks(scale=6), marks()
    assert step(large)[0][0].tolist() == [6, 1, 1]
    assert step(small)[0][0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("rewards", [1, 2, 3])
def test_the_number_of_rewards_may_depend_on_options(marks: Callable[..., GroupVectorEnv], rewards: int) -> None:
    venv = marks(rewards=rewards)
    values, info = step(venv)
    assert values.tolist() == [[1, 1, 1][:rewards], [1, 0, 0][:rewards], [0, 1, 0][:rewards]]
    assert list(info["reward_components"]) == ["letters", "one", "two"][:rewards]
    assert info["raw"].shape == info["applicable"].shape == info["failed"].shape == (3, rewards)
    assert venv.reward_dim == rewards


def test_the_order_may_depend_on_options() -> None:
    class Backwards(Marks):
        @property
        def reward_specs(self) -> tuple[RewardSpec, ...]:
            return super().reward_specs[::-1]

    env = Backwards(scale=6)
    task = env.tasks("train")[0]
    assert score(env, "test", [task], [f"{task.prompt}+-"]).values.tolist() == [[0, 1, 6]]


def test_a_gate_by_option_is_applied(marks: Callable[..., GroupVectorEnv]) -> None:
    rewards, info = step(marks(gated=True, scale=2))
    assert rewards.tolist() == [[2, 1, 1], [2, 0, 0], [0, 0, 0]]
    assert info["raw"][2].tolist() == [0, 1, 0]


def test_gymnasium_and_texts_reach_the_same_instance(marks: Callable[..., GroupVectorEnv]) -> None:
    venv = gdpo_bench.make_vec(f"{ID}:rewards=2,scale=6", 1, 3)
    assert step(venv)[0].tolist() == step(marks(rewards=2, scale=6))[0].tolist() == [[6, 1], [6, 0], [0, 1]]
    single = gym.make(ID, rewards=2, scale=6)
    prompt, _ = single.reset(seed=0)
    assert single.step(prompt)[1].tolist() == [6, 0]


def test_sums_over_a_dialogue_are_of_the_instances_rewards() -> None:
    class Talk(DialogEnv[Task, None]):
        max_turns = 2

        @property
        def reward_specs(self) -> tuple[RewardSpec, ...]:
            return (replace(super().reward_specs[1], high=2),)

        def tasks(self, split: str) -> Sequence[Task]:
            return [Task(f"{split}?")]

        def begin(self, task: Task) -> None:
            return None

        def respond(self, task: Task, state: None, reply: str) -> Message | None:
            return {"role": "user", "content": "and?"}

        @reward(low=0, high=1)
        def left_out(self, task: Task, turn: Turn[None]) -> float:
            raise AssertionError("nobody asks for it")

        @reward(low=0, high=1)
        def turns(self, task: Task, turn: Turn[None]) -> float:
            return 1.0

    venv = GroupVectorEnv(Talk(), "test/Talk-v0", 1, 2)
    venv.reset(seed=0)
    for _ in range(2):
        _, rewards, _, truncated, info = venv.step(["a", "b"])
        assert rewards.tolist() == [[1], [1]]
        assert info["failures"] == []
    assert truncated.all()


def declaring(specs: Any) -> type[Marks]:
    class Declared(Marks):
        @property
        def reward_specs(self) -> tuple[RewardSpec, ...]:
            return specs  # type: ignore[no-any-return]

    return Declared


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        ((), DeclarationError, "declares no reward with these options"),
        (("letters",), DeclarationError, r"must be a tuple of RewardSpec; got \('letters',\)"),
        (None, DeclarationError, "must be a tuple of RewardSpec; got None"),
        ((RewardSpec("lettres", 0, 1),), UnknownNameError, "'lettres'. Did you mean 'letters'.*@reward"),
        ((RewardSpec("one", 0, 1), RewardSpec("one", 0, 1)), DeclarationError, "must be unique"),
        ((RewardSpec("one", 0, 1, gate=Gate("letters", 1)),), UnknownNameError, "in the gate of 'one' 'letters'"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused_before_anything_is_played(
    clean_registry: None, specs: Any, error: type[Exception], message: str
) -> None:
    gdpo_bench.register(ID, declaring(specs))
    with pytest.raises(error, match=message):
        gdpo_bench.make_vec(ID)


def test_it_passes_the_checker_and_is_shown_as_declared(
    marks: Callable[..., GroupVectorEnv], capsys: pytest.CaptureFixture[str]
) -> None:
    results = gdpo_bench.check_env(f"{ID}:rewards=2,scale=6")
    assert not [result for result in results if result.status == "failed"]
    env = marks(rewards=2, scale=6).text_env
    table = reward_table(env, score(env, "test", env.tasks("train")[:1], ["a"]))
    assert [list(table.columns[i].cells) for i in (0, 2)] == [["letters", "one"], ["[0, 6]", "{0, 1}"]]
    assert main(["envs", f"{ID}:rewards=2,scale=6"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"letters +\[0, 6\] +graded +2 ", shown)
    assert "mark is a plus" in shown
    assert "second mark" not in shown
    assert next(row.rewards for row in env_rows() if row.id == ID) == "letters [0, 1], one {0, 1}, two {0, 1}"


def test_an_entry_holds_what_the_instance_declares(marks: Callable[..., GroupVectorEnv], tmp_path: Path) -> None:
    chosen = ["--envs", f"{ID}:rewards=2,scale=6", "--normalizers", "gdpo"]
    assert main(["run", "--policy", "oracle", *chosen, "--out", str(tmp_path)]) == 0
    (measured,) = (read_measured(file) for file in entry_files(tmp_path))
    described = measured.entry.environment
    assert [(r.name, r.high, r.weight) for r in described.rewards] == [("letters", 6, 2), ("one", 1, 1)]
    assert described.options == {"rewards": 2, "scale": 6}
    assert {name: value.final for name, value in measured.entry.results[0].rewards.items()} == {"letters": 6, "one": 1}
    check_follows(measured.entry, measured.sidecar)
