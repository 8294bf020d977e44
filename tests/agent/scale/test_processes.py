"""Two processes on the CPU learn what one learns."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

import gdpo_bench
from gdpo_bench.advantages import compute_advantages
from gdpo_bench.agent.checkpoint import Checkpoints
from gdpo_bench.agent.scale.processes import World
from gdpo_bench.core import DataError, registry

from . import world_processes
from .world_processes import RUN, UPDATES, Letters, learn, make_rollouts, make_trainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, Any]]:
    """What each of two processes found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, world_processes.__file__, folder],
            env=os.environ | shared | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(autouse=True)
def letters() -> Iterator[None]:
    saved = [(live, dict(live)) for live in (registry._registry, gym.registry)]
    gdpo_bench.register("test/Letters-v0", Letters)
    yield
    for live, before in saved:
        live.clear()
        live.update(before)


def test_processes_tell_each_other_what_they_found(two: list[dict[str, Any]]) -> None:
    first, second = (found["meet"] for found in two)
    for found in (first, second):
        assert found["all_gather"] == [0, 10]
        assert found["broadcast"] == "of 0"
        assert found["still in step"] == [0, 1]
    assert (first["barrier"], second["barrier"]) == (0, 1)
    assert (first["share"], second["share"]) == ([0, 2, 4], [1, 3])


def test_noise_is_each_processes_own_and_that_of_the_first_is_that_of_one_alone(two: list[dict[str, Any]]) -> None:
    first, second = (found["meet"]["noise"] for found in two)
    assert torch.equal(first, torch.rand(3, generator=World().generator(7)))
    assert not (first == second).any()


@pytest.mark.parametrize(
    ("case", "first", "second"),
    [
        ("refused", "PeerError: no room", "GdpoBenchError: no room"),
        ("refused in the first", "GdpoBenchError: no file", "PeerError: no file"),
        ("both", "GdpoBenchError: of 0", "PeerError: of 0"),
        ("nested", "PeerError: inner", "GdpoBenchError: inner"),
        ("defect", "KeyError: 'oops'", "PeerDefectError: In process 0:\nTraceback"),
        ("elsewhere", "PeerDefectError: In process 1:\nTraceback", "KeyError: "),
    ],
)
def test_error_in_one_process_is_raised_in_all(two: list[dict[str, Any]], case: str, first: str, second: str) -> None:
    assert two[0]["meet"][case].startswith(first)
    assert two[1]["meet"][case].startswith(second)


@pytest.mark.parametrize("name", UPDATES)
def test_two_processes_make_the_update_of_one(two: list[dict[str, Any]], name: str) -> None:
    weights, measures, _ = learn(make_rollouts(), World(), **UPDATES[name])
    before, _, _ = learn(make_rollouts(), World(), **UPDATES[name] | {"learning_rate": 1e-30})
    for found, measured, _ in (one["updates"][name] for one in two):
        assert measured == pytest.approx(measures, rel=1e-4, abs=1e-5)
        moved = sum(float((weights[key] - before[key]).abs().mean()) for key in weights)
        apart = sum(float((weights[key] - found[key]).abs().mean()) for key in weights)
        # Adam makes a step of full size even of a gradient that is only rounding.
        assert apart < 0.01 * moved


def test_memory_that_runs_out_in_one_process_makes_micro_batches_smaller_in_both(two: list[dict[str, Any]]) -> None:
    assert [found["updates"]["memory runs out in one process"][2] for found in two] == [2, 2]


def test_all_processes_see_the_rollouts_of_all_on_the_tasks_that_one_would_draw(two: list[dict[str, Any]]) -> None:
    first, second = (found["train"]["played"] for found in two)
    assert len(first) == RUN.steps
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1].tolist() == other[1].tolist() == [prompt for prompt in range(4) for _ in range(4)]
    alone = make_trainer(World())
    for step, (token_ids, _, _) in enumerate(first):
        _, info = alone.env.reset(seed=5 if step == 0 else None)
        for row, messages in enumerate(info["messages"]):
            prompt = alone.policy.encode(messages)
            assert token_ids[row, : len(prompt)].tolist() == prompt


def test_advantages_are_those_of_the_whole_batch(two: list[dict[str, Any]]) -> None:
    for found in (one["train"] for one in two):
        _, groups, values = found["played"][0]
        expected = compute_advantages("gdpo", values, groups)
        assert torch.equal(found["advantages"], expected)
        assert float(expected.abs().sum()) > 0
    assert [found["train"]["seen"] for found in two] == [RUN.steps, 0]


def test_all_processes_end_with_the_same_numbers_and_weights(two: list[dict[str, Any]]) -> None:
    first, second = (found["train"] for found in two)
    assert first["result"] == second["result"]
    assert first["dynamic"] == second["dynamic"] > 0
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])


def test_a_stopped_run_goes_on_to_the_numbers_of_one_that_was_not(two: list[dict[str, Any]]) -> None:
    for found in (one["train"] for one in two):
        assert "Stopped" in found["stopped"]
        assert found["resumed"] == found["result"]
        assert all(torch.equal(value, found["resumed weights"][name]) for name, value in found["weights"].items())


def test_a_checkpoint_of_two_processes_is_refused_in_one(two: list[dict[str, Any]], folder: Path) -> None:
    trainer = make_trainer(World(), checkpoints=Checkpoints(folder / "checkpoints"))
    with pytest.raises(DataError, match="of 2 processes, whose sampling noise this run cannot go on with in 1"):
        trainer.run()


def test_a_loss_that_is_no_number_in_one_process_stops_both_by_one_message(two: list[dict[str, Any]]) -> None:
    messages = [found["train"]["diverged"] for found in two]
    assert messages[0] == messages[1] == "DivergedError: The loss became nan at step 0; try a smaller learning_rate."


def test_prompts_that_cannot_be_shared_evenly_are_refused(two: list[dict[str, Any]]) -> None:
    assert "3 prompts cannot be shared evenly by 2 processes" in two[0]["train"]["uneven"]
