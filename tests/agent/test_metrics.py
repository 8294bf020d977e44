import json
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


@pytest.mark.parametrize(("logger", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_logger_that_is_missing_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingLoggerError, match=r"pip install 'gdpo-bench\[loggers\]'"):
        MetricsLog(tmp_path, "run", [logger])  # type: ignore[list-item]
