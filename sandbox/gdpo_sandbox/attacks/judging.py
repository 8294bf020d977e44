"""Was an attack contained? Judged from outside, by what came back and by what the next program finds.

An attack is posed as the solution of a task whose answers are drawn at random, and each answer is the next test's input.
So one that finds any answer, in the judge or in inputs that are not yet due, is rewarded. It is contained if

- no test of it has the right answer, and none says that it got through;
- its tests ended in a way that is foreseen, and never by the sandbox's own fault;
- a program that runs after it on the same slot finds what a program finds on a fresh one, and is answered.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import SimpleQueue

from gdpo_sandbox.attacks.attack import BREACH, Attack
from gdpo_sandbox.pool import SandboxPool
from gdpo_sandbox.program import Limits, Program, ProgramRun, Status

TESTS = 3
LIMITS = Limits(cpu_s=0.5, wall_s=2.0, memory_mb=128, files_mb=8, output_bytes=1 << 20)
"""Tight, so that the whole catalogue takes about a minute."""

_PROBE = """
import gc, json, os, resource, signal, sys, threading
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
box = os.statvfs(".")
print(json.dumps({
    "answer": int(input()) + 1,
    "files": os.listdir("."),
    "space": (box.f_files - box.f_ffree, box.f_blocks - box.f_bfree),
    "folder": (os.getcwd(), oct(os.stat(".").st_mode), os.listxattr(".")),
    "processes": sum(name.isdigit() for name in os.listdir("/proc")),
    "threads": threading.active_count(),
    "priority": (os.nice(0), os.sched_getscheduler(0), open("/proc/self/oom_score_adj").read()),
    "cores": sorted(os.sched_getaffinity(0)),
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")},
    "rights": {key: value for key, value in status.items() if key.startswith(("Cap", "NoNewPrivs", "Seccomp", "Groups"))},
    "signals": {key: value for key, value in status.items() if key.startswith(("Sig", "Shd"))},
    "timers": [signal.getitimer(which) for which in range(3)],
    "environment": dict(os.environ),
    "descriptors": sorted(os.listdir("/proc/self/fd")),
    "umask": os.umask(0),
    "modules": sorted(sys.modules),
    "interpreter": (sys.path, sys.argv, sys.getrecursionlimit(), gc.isenabled(), json.dumps([1]), hash("x")),
}))
"""


@dataclass(frozen=True)
class Verdict:
    """What became of an attack."""

    attack: Attack
    run: ProgramRun
    findings: tuple[str, ...] = field(default=())
    """What went wrong, in words; none if it was contained."""

    @property
    def contained(self) -> bool:
        """Whether nothing went wrong."""
        return not self.findings


def fresh_state(pool: SandboxPool) -> dict[str, object]:
    """What a program finds on a slot that no attack has used."""
    return _probe(pool)


def draw_numbers() -> list[int]:
    """Inputs of the task's tests, and one more: each is the answer to the one before."""
    return [secrets.randbits(61) | 1 << 61 for _ in range(TESTS + 1)]


def judge(attack: Attack, pool: SandboxPool, fresh: dict[str, object]) -> Verdict:
    """Run an attack, and then a program that looks for its traces.

    Args:
        attack: The attack.
        pool: A pool of one slot, so that both run on the same one.
        fresh: From `fresh_state`, before any attack.
    """
    numbers = draw_numbers()
    calls = attack.mode == "call"
    inputs = [(number,) if calls else f"{number}\n" for number in numbers[:-1]]
    run = pool.run(Program(attack.source, inputs, attack.mode, "f" if calls else None, attack.isolation))
    findings = []
    for index, (test, answer) in enumerate(zip(run.tests, numbers[1:], strict=True), 1):
        if test.status is Status.OK and (_is(answer, test.value) if calls else test.stdout.split() == [str(answer)]):
            findings.append(f"test {index} was rewarded")
        if BREACH in test.stdout or BREACH in repr(test.value)[:10_000]:
            findings.append(f"it got through: {test.stdout.strip() or test.value!r:.60}")
        if test.status not in attack.ends:
            findings.append(f"test {index} ended as {test.status}: {test.error or test.stderr.strip()[-100:]}")
    left = _probe(pool)
    findings += [
        f"the next program found {key} = {left.get(key)!r:.80}" for key in fresh if left.get(key) != fresh[key]
    ]
    return Verdict(attack, run, tuple(findings))


def judge_all(
    attacks: Sequence[Attack], slots: int, make_pool: Callable[[], SandboxPool] | None = None
) -> Iterator[Verdict]:
    """Judge attacks, several at a time, as they finish.

    Args:
        attacks: Which.
        slots: How many at a time.
        make_pool: Makes a pool of one slot; by default with `LIMITS` on the default engine.

    Raises:
        SandboxError: No engine answers.
    """
    make_pool = make_pool or (lambda: SandboxPool(slots=1, limits=LIMITS))
    with ExitStack() as stack:
        free: SimpleQueue[tuple[SandboxPool, dict[str, object]]] = SimpleQueue()
        for _ in range(min(slots, len(attacks))):
            pool = stack.enter_context(make_pool())
            free.put((pool, fresh_state(pool)))

        def work(attack: Attack) -> Verdict:
            pool, fresh = free.get()
            try:
                return judge(attack, pool, fresh)
            finally:
                free.put((pool, fresh))

        threads = stack.enter_context(ThreadPoolExecutor(slots))
        yield from _finished(threads, work, attacks)


def _finished(
    threads: ThreadPoolExecutor, work: Callable[[Attack], Verdict], attacks: Iterable[Attack]
) -> Iterator[Verdict]:
    for future in as_completed([threads.submit(work, attack) for attack in attacks]):
        yield future.result()


def _probe(pool: SandboxPool) -> dict[str, object]:
    (test,) = pool.run(Program(_PROBE, ["41\n"])).tests
    if test.status is not Status.OK:
        return {"answer": f"{test.status}: {test.error}"}
    try:
        found: dict[str, object] = json.loads(test.stdout)
    except ValueError:
        return {"answer": f"no JSON: {test.stdout!r:.60}"}
    return found


def _is(answer: int, value: object) -> bool:
    """Whether it is the answer, also as the only item of a list, which a program could change after it has returned."""
    found = value[0] if type(value) is list and len(value) == 1 else value
    return type(found) is int and found == answer
