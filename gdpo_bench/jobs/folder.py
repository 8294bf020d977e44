"""The folder of one job run: what was asked, each run's result, and what was made of them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from gdpo_bench.core import yaml
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.task import content_hash
from gdpo_bench.jobs.job import Job, JobError
from gdpo_bench.jobs.run import RunRecord, TrainingTask

_NAME_LENGTH = 100
"""Longest readable part of a result's name; options can be many, and names of files are limited."""
_RECORD = TypeAdapter(RunRecord)


class RunFolder:
    """`OUT/<job name>-<job hash>[-n]/`, with `job.yaml`, `work/`, `results/`, `vectors/`, `entries/` and the report."""

    def __init__(self, path: Path) -> None:
        """Use a folder.

        Args:
            path: Where it lies.
        """
        self.path = path

    @classmethod
    def create(cls, out: Path, job: Job) -> RunFolder:
        """A new folder for a job; one from an earlier run is left alone.

        Raises:
            JobError: The folder cannot be made.
        """
        for number in range(1, 10_000):
            path = out / (f"{job.name}-{job.key}" + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise JobError(
                    f"Cannot make the run folder {path}: {error.strerror}. Choose another with --out."
                ) from error
            text = yaml.dump(job.model_dump(mode="json"))
            write_atomically(path / "job.yaml", text)
            return cls(path)
        raise JobError(f"{out} holds too many runs of this job; clear it, or choose another with --out.")

    def declare(self, declared: dict[str, Any]) -> None:
        """Keep the plan, before its first run."""
        write_atomically(self.path / "plan.json", json.dumps(declared, indent=1, sort_keys=True) + "\n")

    @classmethod
    def newest(cls, out: Path, job: Job) -> RunFolder | None:
        """The last folder of the same job, or None."""
        name = re.compile(re.escape(f"{job.name}-{job.key}") + r"(?:-(\d+))?")
        found = [(int(match[1] or 1), path) for path in _folders(out) if (match := name.fullmatch(path.name))]
        return cls(max(found)[1]) if found else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder; a killed process lets go by itself.

        Raises:
            JobError: Another run is in it, or it cannot be locked.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise JobError(
                f"Another run is going on in {self.path}; wait for it, or start without --resume."
            ) from error
        except OSError as error:
            raise JobError(f"Cannot lock {lock.lock_file}: {error.strerror or error}.") from error
        try:
            yield
        finally:
            lock.release()

    def files(self, task: TrainingTask) -> Path:
        """The folder for what a run writes while it goes on."""
        return self.path / "work" / self._result(task).stem

    def _result(self, task: TrainingTask) -> Path:
        choices = [choice.model_dump() for choice in (task.env, task.normalizer, task.seed)]
        key = content_hash([*choices, task.weights, task.policy.key, task.fingerprint], 8)
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", task.label.replace(":", "-"))[:_NAME_LENGTH]
        return self.path / "results" / f"{readable}.{key}.json"

    def _vectors(self, task: TrainingTask) -> Path:
        return self.path / "vectors" / f"{self._result(task).stem}.jsonl.gz"

    def save(self, task: TrainingTask, record: RunRecord) -> None:
        """Keep the result of a run; its checkpoints are no longer needed.

        The reward vectors go into a file of their own, first: a run is finished once its result is there.
        """
        fields = asdict(record) | {"vectors": hashlib.sha256(record.vectors).hexdigest()}
        fields["run"] = self._result(task).stem
        fields["sha256"] = content_hash(fields, 64)
        write_atomically(self._vectors(task), record.vectors)
        write_atomically(self._result(task), json.dumps(fields, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(self.files(task) / "checkpoints", ignore_errors=True)

    def load(self, task: TrainingTask) -> RunRecord | None:
        """The result of a run with its reward vectors, or None where there is none yet.

        Raises:
            JobError: A file is damaged.
        """
        path = self._result(task)
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(fields, dict) or fields.pop("sha256", None) != content_hash(fields, 64):
                raise ValueError("not the result that was written")
            if fields.pop("run", path.stem) != path.stem:  # absent from those of older versions
                raise ValueError("the result of another run")
            record = _RECORD.validate_python(fields)
            if not record.vectors:
                return None
            path = self._vectors(task)
            vectors = path.read_bytes()
            if hashlib.sha256(vectors).hexdigest() != record.vectors.decode():
                raise ValueError("not the reward vectors of this result")
            return replace(record, vectors=vectors)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise JobError(f"{path} is damaged; delete it and start again with --resume. ({error})") from error


def _folders(out: Path) -> Iterator[Path]:
    return (path for path in out.iterdir() if path.is_dir()) if out.is_dir() else iter(())
