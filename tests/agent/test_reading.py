"""How far a reader has to go: the files that run a line in one training step, and the frames down to a reward function.

Traced: MathMini, gdpo, one process, the second step, from prompts to the optimizer's last step.
"""

import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from gdpo_envs.math.mini import MathMini

import gdpo_bench
from gdpo_bench.advantages import make_normalizer
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.step import TrainingStep
from gdpo_bench.agent.trainer import Trainer

PACKAGE = Path(gdpo_bench.__file__).parent
OURS = (str(PACKAGE), str(Path(sys.modules[MathMini.__module__].__file__ or "").parents[1]))
STEP = TrainingOptions(steps=2, prompts=2, group_size=4, eval_prompts=1, eval_group_size=1, max_new_tokens=4)


@pytest.fixture
def trainer(small_policy: Policy) -> Trainer:
    def vec(prompts: int, group: int, split: str) -> Any:
        return gdpo_bench.make_vec("gdpo/MathMini-v1", prompts, group, split)

    return Trainer(
        small_policy,
        vec(STEP.prompts, STEP.group_size, "train"),
        vec(STEP.eval_prompts, STEP.eval_group_size, "eval"),
        normalizer=make_normalizer("gdpo"),
        options=STEP,
        weights={},
        seed=0,
    )


@pytest.fixture
def rooms(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Room → files of ours that ran a line in a step."""
    found: dict[str, set[str]] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if file.startswith(str(PACKAGE)):
            inside = Path(file).relative_to(PACKAGE)
            found.setdefault(inside.parts[0], set()).add(str(inside))
        elif file.startswith(OURS):
            found.setdefault("environment", set()).add(Path(file).name)

    take = TrainingStep.__call__

    def traced(step: TrainingStep, number: int, *given: Any) -> Any:
        sys.setprofile(note if number else None)
        try:
            return take(step, number, *given)
        finally:
            sys.setprofile(None)

    update = TrainingStep.update
    steps = STEP.steps * STEP.epochs * STEP.minibatches

    def last(step: TrainingStep, rate: float) -> torch.Tensor:
        nonlocal steps
        norm = update(step, rate)
        steps -= 1
        if not steps:
            sys.setprofile(None)
        return norm

    monkeypatch.setattr(TrainingStep, "__call__", traced)
    monkeypatch.setattr(TrainingStep, "update", last)
    trainer.run()
    return found


def test_a_step_is_read_in_thirteen_files(rooms: dict[str, set[str]]) -> None:
    assert rooms["agent"] == {
        "agent/step.py",
        "agent/rollouts.py",
        "agent/policy.py",
        "agent/backends/transformers.py",
        "agent/loss.py",
    }
    assert rooms["core"] == {"core/vector_env.py", "core/env.py", "core/scoring.py"}
    assert rooms["advantages"] == {
        "advantages/compute.py",
        "advantages/batch.py",
        "advantages/arithmetic.py",
        "advantages/gdpo.py",
    }
    assert rooms["environment"] == {"mini.py"}
    assert rooms.keys() == {"agent", "core", "advantages", "environment"}
    assert sum(map(len, rooms.values())) == 13


def test_from_the_trainer_to_a_reward_function_are_seven_frames(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deepest: list[list[str]] = []
    correct = MathMini.correct

    def noted(env: MathMini, task: Any, reply: str) -> bool:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(OURS)]
        if any(frame.filename.endswith("step.py") for frame in frames):
            deepest.append([frame.name for frame in frames])
        return correct(env, task, reply)

    monkeypatch.setattr(MathMini, "correct", noted)
    trainer.run()
    # `correct` itself is the seventh.
    assert deepest
    assert all(frames[0] == "run" and len(frames) <= 6 for frames in deepest), deepest[0]
