import json
import os
import sys
from pathlib import Path

import pytest

from gdpo_bench.agent.metrics import MetricsLog, MissingLoggerError


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_step_is_a_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, "run")
    log.write(0, {"loss": 0.5})
    log.write(1, {"loss": 0.25, "grad_norm": 1.0})
    assert lines(tmp_path) == [{"step": 0, "loss": 0.5}, {"step": 1, "loss": 0.25, "grad_norm": 1.0}]


def test_steps_that_are_done_again_stand_once(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, "run")
    for step in range(4):
        log.write(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "los')  # a process that was killed
    log = MetricsLog(tmp_path, "run", first_step=2)
    log.write(2, {"loss": 20.0})
    assert [line["loss"] for line in lines(tmp_path)] == [0.0, 1.0, 20.0]


@pytest.mark.parametrize(
    "line", ['{"step": 1' + "0" * 400 + "}", "[" * 100_000, '{"step": null}', "5", '{"step": 1e999}']
)
def test_lines_that_nobody_wrote_go(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n' + line + "\n")
    MetricsLog(tmp_path, "run", first_step=2)
    assert lines(tmp_path) == [{"step": 0, "loss": 1.0}]


def has(module: str) -> None:
    """Skip where a logger is not installed; in its own environment that is a failure."""
    if "GDPO_BENCH_NEEDS_LOGGERS" not in os.environ:
        pytest.importorskip(module)


def test_tensorboard_shows_each_step_once(tmp_path: Path) -> None:
    has("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, steps in ((0, range(4)), (2, range(2, 5))):
        log = MetricsLog(tmp_path, "run", ["tensorboard"], first)
        for step in steps:
            log.write(step, {"loss": step / 10 + first})
        log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, round(event.value, 1)) for event in events.Scalars("loss")] == [
        (0, 0.0),
        (1, 0.1),
        (2, 2.2),
        (3, 2.3),
        (4, 2.4),
    ]


def test_weights_and_biases_stays_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    log = MetricsLog(tmp_path, "run", ["wandb"])
    log.write(0, {"loss": 0.5})
    log.close()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert lines(tmp_path) == [{"step": 0, "loss": 0.5}]


@pytest.mark.parametrize(("logger", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_logger_that_is_missing_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingLoggerError, match=r"pip install 'gdpo-bench\[loggers\]'"):
        MetricsLog(tmp_path, "run", [logger])  # type: ignore[list-item]
