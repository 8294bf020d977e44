"""Tasks for Ray's workers; tests put this folder on the path."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Noted:
    """Writes down each beginning, in a file of its own in `folder`."""

    folder: str
    name: str
    what: str
    value: Any = None

    @property
    def label(self) -> str:
        return self.name

    def __call__(self, report: Report) -> Any:
        with open(Path(self.folder, self.name), "a") as notes:
            notes.write(f"{os.environ.get('RAY_NODE_ID', '')} {os.getpid()}\n")
        return getattr(self, self.what)(report)

    def beginnings(self) -> int:
        path = Path(self.folder, self.name)
        return len(path.read_text().splitlines()) if path.exists() else 0

    def done(self, report: Report) -> Any:
        return self.value

    def die(self, report: Report) -> Any:
        if self.beginnings() <= self.value:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.beginnings()

    def defect(self, report: Report) -> None:
        raise ConnectionResetError(self.value)

    def wait(self, report: Report) -> str:
        report(0.5, "waiting")
        while not Path(self.folder, "go").exists():
            time.sleep(0.1)
        return self.name

    def surroundings(self, report: Report) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in self.value}
