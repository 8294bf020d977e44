r"""Worker processes that score answers: one a core, started at the first use, ended with the program.

A hostile answer costs one worker some processor seconds, see `gdpo_envs.math.worker`, while the others go on.
Workers are plain subprocesses, since a process that is itself a worker of a training job may not have
children through `multiprocessing`. They belong to the process, not to an environment, which stays picklable.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from gdpo_bench.core.processes import start_module
from gdpo_bench.core.processor import usable_cores
from gdpo_envs.math.latex import plain, too_large

Question = tuple[str, str]
"""The right answer, and the one to be scored."""

WALL_SECONDS = 300.0
"""After so long on the clock a worker is taken for broken; its processor time ends long before."""
_REMEMBERED = 20_000
"""Verdicts that are kept, for answers that are given again and again; some 10 MB."""


class WorkerError(RuntimeError):
    """A worker process broke, through no fault of the answer."""


class Pool:
    """Scores answers on worker processes. Safe to use from several threads, which share the workers."""

    def __init__(self, workers: int | None = None, wall_seconds: float = WALL_SECONDS) -> None:
        """Set the options; workers start when there is work for them.

        Args:
            workers: How many at most. By default one for each core that this process may use, and one
                in a process that was started by `multiprocessing`: there, others use the other cores.
            wall_seconds: How long a worker may take for one answer, on the clock.
        """
        self._workers = workers
        self.wall_seconds = wall_seconds
        self._idle: list[subprocess.Popen[bytes]] = []
        self._known: dict[Question, bool] = {}
        self._lock = threading.Lock()
        self._places: threading.Semaphore | None = None
        """One for each worker that may run; counted at the first use, in the process that uses them."""

    @property
    def workers(self) -> int:
        """How many workers may run at once."""
        alone = multiprocessing.parent_process() is None
        return self._workers or (usable_cores() if alone else 1)

    def judge(self, questions: Sequence[Question]) -> list[bool | WorkerError]:
        """Whether each answer is right.

        Args:
            questions: Right answer and given answer, in LaTeX, of any number of rollouts.

        Returns:
            A verdict each: an answer that takes too much time or memory is wrong. An error stands for an
            answer that could not be scored, since its worker was killed from outside, or did not come back.
        """
        with self._lock:
            self._places = self._places or threading.Semaphore(self.workers)
            found = {question: self._known[question] for question in questions if question in self._known}
        new = [question for question in dict.fromkeys(questions) if question not in found]
        verdicts = dict(self._work_on(new, self._places))
        with self._lock:
            if len(self._known) + len(new) > _REMEMBERED:
                self._known.clear()
            self._known.update((question, v) for question, v in verdicts.items() if isinstance(v, bool))
        return [verdicts[question] if question in verdicts else found[question] for question in questions]

    def close(self) -> None:
        """End the workers; they start again when they are needed."""
        with self._lock:
            while self._idle:
                _kill(self._idle.pop())

    def _work_on(
        self, questions: list[Question], places: threading.Semaphore
    ) -> Iterable[tuple[Question, bool | WorkerError]]:
        waiting = questions[::-1]
        busy: dict[subprocess.Popen[bytes], tuple[Question, float]] = {}
        """Worker → its question, and when it must have answered."""
        with selectors.DefaultSelector() as answers:
            try:
                while waiting or busy:
                    while waiting and places.acquire(blocking=not busy):
                        try:
                            worker = self._worker()
                        except OSError:
                            places.release()
                            raise
                        question = waiting.pop()
                        _ask(worker, question)
                        busy[worker] = (question, time.monotonic() + self.wall_seconds)
                        answers.register(worker.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
                    patience = min(due for _, due in busy.values()) - time.monotonic()
                    ready = {key.data for key, _ in answers.select(max(0.0, patience))}
                    late = {worker for worker, (_, due) in busy.items() if due <= time.monotonic()} - ready
                    for worker in ready | late:
                        answers.unregister(worker.stdout)  # type: ignore[arg-type]
                        verdict = self._verdict(worker, worker in late)
                        question, _ = busy.pop(worker)
                        if not isinstance(verdict, WorkerError):
                            with self._lock:
                                self._idle.append(worker)
                        places.release()
                        yield question, verdict
            finally:
                for worker in busy:  # interrupted
                    _kill(worker)
                    places.release()

    def _worker(self) -> subprocess.Popen[bytes]:
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return _start()
            if worker.poll() is None:
                return worker
            _kill(worker)  # it has died while it had nothing to do

    def _verdict(self, worker: subprocess.Popen[bytes], late: bool) -> bool | WorkerError:
        if late:
            _kill(worker)
            return WorkerError(f"no verdict within {self.wall_seconds:g} s; is the machine overloaded?")
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            _kill(worker)
            return WorkerError(
                f"its worker process ended with status {worker.returncode}; is the machine out of memory?"
            )
        return bool(json.loads(line))


def _start() -> subprocess.Popen[bytes]:
    return start_module(
        "gdpo_envs.math.worker",
        hash_seed=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us, and the worker can be killed with its child
    )


def _ask(worker: subprocess.Popen[bytes], question: Question) -> None:
    assert worker.stdin is not None
    with suppress(BrokenPipeError):  # it has died, as reading from it will say
        worker.stdin.write(json.dumps(question).encode() + b"\n")
        worker.stdin.flush()


def _kill(worker: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            pipe.close()
    worker.wait()


_pool = Pool()


def judge(questions: Sequence[Question]) -> list[bool | WorkerError]:
    """Whether each answer is right, by the pool of this process.

    What is the same text is right, and what is too large to be read is wrong, without asking a worker.

    Args:
        questions: As for `Pool.judge`.

    Returns:
        As `Pool.judge`.
    """
    settled = [_settled(truth, answer) for truth, answer in questions]
    asked = iter(_pool.judge([q for q, verdict in zip(questions, settled, strict=True) if verdict is None]))
    return [next(asked) if verdict is None else verdict for verdict in settled]


def _settled(truth: str, answer: str) -> bool | None:
    if plain(truth) == plain(answer):
        return True
    return False if too_large(truth) or too_large(answer) else None


def _forget() -> None:
    """After a fork the workers belong to the parent alone."""
    global _pool  # noqa: PLW0603
    _pool = Pool()


def _end() -> None:
    _pool.close()


atexit.register(_end)
os.register_at_fork(after_in_child=_forget)
