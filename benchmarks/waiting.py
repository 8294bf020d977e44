"""Whether replies whose rewards wait for others are scored side by side.

    OMP_NUM_THREADS=1 python benchmarks/waiting.py --markdown docs/performance.md

A reward takes 0.1 s, in which it waits as for a judge's answer. `speed-up` is the time of all calls one after the other
over the time on the clock; `share` is that speed-up over the number of workers. verl's `compute_score` is called by as
many threads as there are workers, as by its reward managers; NeMo Gym's `verification` by an event loop, as by its
server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measuring import in_turns, report, spread

from gdpo_bench import Task, TextEnv, make_vec, register, reward
from gdpo_bench.integrations.nemo_gym import verification
from gdpo_bench.integrations.scoring import beside
from gdpo_bench.integrations.verl import compute_score

SECONDS = 0.1
TASK = Task("Say something.")


@register("waiting/Called-v0")
class Called(TextEnv[Task]):
    """A judge that is called."""

    def tasks(self, split: str) -> Sequence[Task]:
        """One."""
        return [TASK]

    @reward(low=0, high=1)
    def judged(self, task: Task, reply: str) -> float:
        """After a while 1."""
        time.sleep(SECONDS)
        return 1.0


@register("waiting/Elsewhere-v0")
class Elsewhere(Called):
    """The same, declared."""

    scored_elsewhere = True


@register("waiting/Awaited-v0")
class Awaited(Called):
    """A judge that is awaited."""

    @reward(low=0, high=1)
    async def judged(self, task: Task, reply: str) -> float:
        """After a while 1."""
        await asyncio.sleep(SECONDS)
        return 1.0


@register("waiting/Turns-v0")
class Turns(Elsewhere):
    """A judge that is not safe for threads."""

    reward_workers = 1


def verl(env_id: str, calls: int, workers: int) -> None:
    """As verl calls."""
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(lambda n: compute_score(env_id, f"{n}", TASK.id), range(calls)))


def nemo_gym(env_id: str, calls: int, workers: int) -> None:
    """As NeMo Gym's server calls."""

    async def serve() -> None:
        await asyncio.gather(*[beside(verification, env_id, TASK.id, f"{n}") for n in range(calls)])

    asyncio.run(serve())


def batch(env_id: str, calls: int, workers: int) -> None:
    """One step of a vector environment."""
    env = make_vec(env_id, num_prompts=1, group_size=calls, reward_workers=workers)
    env.reset(seed=0)
    env.step([f"{n}" for n in range(calls)])


ROWS: tuple[tuple[str, Callable[[str, int, int], None], str, int, int], ...] = (
    ("verl, `def`", verl, "waiting/Called-v0", 16, 16),
    ("verl, `reward_workers = 1`", verl, "waiting/Turns-v0", 16, 1),
    ("NeMo Gym, `def`", nemo_gym, "waiting/Called-v0", 32, 32),
    ("NeMo Gym, `async def`", nemo_gym, "waiting/Awaited-v0", 32, 32),
    ("batch, `scored_elsewhere`", batch, "waiting/Elsewhere-v0", 64, 16),
    ("batch, `scored_elsewhere`", batch, "waiting/Elsewhere-v0", 64, 32),
    ("batch, `scored_elsewhere`", batch, "waiting/Elsewhere-v0", 64, 64),
    ("batch, `async def`", batch, "waiting/Awaited-v0", 64, 64),
)


def table(turns: int) -> Iterator[str]:
    """Its rows."""
    yield "| | calls | workers | s on the clock | speed-up | share |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, run, env_id, calls, workers in ROWS:
        run(env_id, 1, 1)  # makes the environment, starts what is started once
        seconds = []
        for _ in range(turns):
            start = time.perf_counter()
            run(env_id, calls, workers)
            seconds.append(time.perf_counter() - start)
        speed_up = calls * SECONDS / statistics.median(seconds)
        cells = [name, str(calls), str(workers), spread(seconds, ".3f"), f"{speed_up:.1f}", f"{speed_up / workers:.2f}"]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the table into this file's section `waiting`")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    lines = itertools.chain([in_turns(options.turns), ""], table(options.turns))
    report(lines, "waiting", options.markdown)


if __name__ == "__main__":
    main()
