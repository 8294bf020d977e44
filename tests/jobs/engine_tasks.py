"""Tasks that worker processes can import; tests put this folder on the path."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.processor import arithmetic

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Do:
    """What a worker can be asked for in these tests."""

    what: str
    value: Any = None

    @property
    def label(self) -> str:
        return f"{self.what} [{self.value}]"

    def __call__(self, report: Report) -> Any:
        return getattr(self, self.what)(report)

    def double(self, report: Report) -> Any:
        report(0.5, "[half] way")
        return self.value * 2

    def mistake(self, report: Report) -> None:
        raise GdpoBenchError(self.value)

    def defect(self, report: Report) -> None:
        raise ConnectionResetError(self.value)

    def gpu(self, report: Report) -> Any:
        time.sleep(self.value)
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    def unpicklable(self, report: Report) -> Any:
        return lambda: None

    def die(self, report: Report) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def pid(self, report: Report) -> int:
        return os.getpid()

    def arithmetic(self, report: Report) -> tuple[int, str, dict[str, str]]:
        import torch

        return torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), arithmetic()

    def sleep(self, report: Report) -> None:
        report(0.0, str(os.getpid()))
        time.sleep(self.value)

    def report_for_ever(self, report: Report) -> None:
        while True:
            report(0.0, str(os.getpid()))
            time.sleep(0.05)

    def __reduce__(self) -> Any:
        return (broken, ()) if self.what == "unreadable" else (type(self), (self.what, self.value))


def broken() -> None:
    raise ImportError("the worker cannot read this")
