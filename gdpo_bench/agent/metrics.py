"""What a run measures at every step: JSON lines always, TensorBoard and Weights & Biases if wanted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from gdpo_bench.advantages import diagnose, reward_signals
from gdpo_bench.agent.rollouts import Rollouts
from gdpo_bench.core import GdpoBenchError, RewardSpec
from gdpo_bench.core.files import WriteError, write_atomically
from gdpo_bench.core.measurements import Evaluation, evaluate

Logger = Literal["tensorboard", "wandb"]
_LONGEST_NAME = 128
"""Characters of a run's name on Weights & Biases."""
_MISSING: dict[Logger, str] = {
    "tensorboard": "The logger tensorboard needs TensorBoard: pip install 'gdpo-bench[loggers]', or leave it out.",
    "wandb": "The logger wandb needs Weights & Biases: pip install 'gdpo-bench[loggers]', or leave it out.",
}


class MissingLoggerError(GdpoBenchError, ImportError):
    """A logger that is not installed."""


def check_loggers(loggers: Sequence[Logger]) -> None:
    """Make sure that loggers are installed, without importing them.

    Raises:
        MissingLoggerError: One is not.
    """
    for logger in loggers:
        if find_spec(logger) is None:  # packages of the same names
            raise MissingLoggerError(_MISSING[logger])


def step_measures(rollouts: Rollouts, specs: Sequence[RewardSpec]) -> dict[str, float]:
    """Rewards and lengths of what a step learned from."""
    return reward_measures(evaluate(rollouts.scores, specs)) | {
        "reply_tokens": float(rollouts.lengths.double().mean()),
        "truncated_share": float(rollouts.truncated.double().mean()),
    }


def told_apart(rollouts: Rollouts, advantages: Tensor) -> dict[str, float]:
    """What the advantages (N,) of a step's rollouts tell apart."""
    scores = rollouts.scores
    return diagnose(advantages, scores.values, rollouts.groups, scores.applicable, scores.failed).as_dict()


def signal_measures(rollouts: Rollouts, advantages: Tensor, specs: Sequence[RewardSpec]) -> dict[str, float]:
    """How much of each reward the advantages (N,) of a step's rollouts carry on, as `signal/<what>/<reward>`."""
    scores = rollouts.scores
    signals = reward_signals(
        advantages,
        scores.values,
        rollouts.groups,
        applicable=scores.applicable,
        failed=scores.failed,
        highest=[spec.high for spec in specs],
    )
    return {
        f"signal/{what}/{spec.name}": value
        for spec, signal in zip(specs, signals, strict=True)
        for what, value in asdict(signal).items()
    }


def reward_measures(found: Evaluation, prefix: str = "") -> dict[str, float]:
    """Means of rewards, and the shares that they are over: where a share is 0 there is no mean."""
    means = {f"{prefix}reward/{name}": value for name, value in found.rewards.items()}
    return means | {f"{prefix}applicable/{name}": share for name, share in found.applicable.items()}


def evaluation_measures(found: Evaluation) -> dict[str, float]:
    """Rewards and metrics of an evaluation."""
    metrics = {f"eval/metric/{name}": value for name, value in found.metrics.items()}
    return reward_measures(found, "eval/") | metrics


class Sink(Protocol):
    """Takes measures of steps."""

    def write(self, step: int, measures: Mapping[str, float]) -> None:
        """Take the measures of a step, by name."""

    def close(self) -> None:
        """Write out what is still held."""


class MetricsLog:
    """`metrics.jsonl`, a line a step, and what else is wanted beside it."""

    def __init__(self, folder: Path, name: str, loggers: Sequence[Logger] = (), first_step: int = 0) -> None:
        """Begin, or go on at a step: lines from there on are of a process that was stopped, and go.

        Args:
            folder: Where the files go.
            name: Of the run, for the loggers.
            loggers: Beside JSON lines.
            first_step: The first step that will be written.

        Raises:
            WriteError: The folder cannot be written to.
            MissingLoggerError: A logger is not installed.
        """
        self._path = folder / "metrics.jsonl"
        write_atomically(self._path, "".join(_lines_before(self._path, first_step)))
        self._sinks: list[Sink] = [_SINKS[logger](folder, name, first_step) for logger in loggers]

    def write(self, step: int, measures: Mapping[str, float]) -> None:
        """Keep the measures of a step.

        Raises:
            WriteError: The disk is full.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **measures}) + "\n")
        except OSError as error:
            raise WriteError(f"Cannot write {self._path}: {error.strerror or error}.") from error
        for sink in self._sinks:
            sink.write(step, measures)

    def close(self) -> None:
        """Close the loggers."""
        for sink in self._sinks:
            sink.close()


def _lines_before(path: Path, step: int) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError):  # of a crash; the measures are only there to be looked at
        return []
    return [line for line in lines if _step_of(line) < step]


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # the last line of a process that was killed
        return float("inf")


class _TensorBoard:
    def __init__(self, folder: Path, name: str, first_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError as error:
            raise MissingLoggerError(_MISSING["tensorboard"]) from error
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def write(self, step: int, measures: Mapping[str, float]) -> None:
        for name, value in measures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, folder: Path, name: str, first_step: int) -> None:
        try:
            import wandb  # noqa: PLC0415
        except ImportError as error:
            raise MissingLoggerError(_MISSING["wandb"]) from error
        # Offline unless the user says otherwise: a benchmark does not send anything anywhere by itself.
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "gdpo-bench"),
            name=name[:_LONGEST_NAME],
            dir=folder,
            mode=None if "WANDB_MODE" in os.environ else "offline",
            config={"first_step": first_step},
        )

    def write(self, step: int, measures: Mapping[str, float]) -> None:
        self._run.log(dict(measures), step=step)

    def close(self) -> None:
        self._run.finish()


_SINKS: dict[Logger, Any] = {"tensorboard": _TensorBoard, "wandb": _WandB}
