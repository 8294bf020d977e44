"""How fast environments score completions, and whether time and memory grow as they should.

    GDPO_BENCH_DATA=data OMP_NUM_THREADS=1 python benchmarks/scoring.py --markdown docs/performance.md

Completions are the tasks' own reference replies, in turn, each made another text by a number in its thought, so that
nothing is remembered from one to the next. They are scored by all rewards of the environment, checks and gates
included, in one thread; seconds are of CPU. `growth` is the exponent by which time grows from a thousand completions
to a hundred thousand: 1 is linear. `memory` is what a further hundred thousand leave behind, beside themselves and
their scores.

Answers to mathematical problems are scored by Math-Verify in worker processes. Against it, called directly in one
thread, stand workers on all cores, on the clock, in turns that each have answers of their own to the same problems, as
a group of rollouts has. Half of the answers are right, in other words than the true answer (`x=5`), and half are wrong
(`5+1`), so that none is settled by its text.

Programs are measured by `benchmarks/sandbox.py`, rewards that wait for others by `benchmarks/waiting.py`.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gdpo_envs.math.pool import Pool, Question
from math_verify import LatexExtractionConfig, parse, verify
from measuring import in_turns, report, resident_bytes, spread

import gdpo_bench
from gdpo_bench.core import TextEnv
from gdpo_bench.core.processor import usable_cores
from gdpo_bench.core.scoring import Scores, score

ENVS = (
    "gdpo/ToolCallingMini-v1",
    "gdpo/ToolCalling-v0",
    "gdpo/BFCL3Simple-v0",
    "gdpo/BFCL3Multiple-v0",
    "gdpo/BFCL3Parallel-v0",
    "gdpo/BFCL3ParallelMultiple-v0",
    "gdpo/BFCL3Irrelevance-v0",
    "gdpo/BFCL3Live-v0",
    "gdpo/MathMini-v1",
    "gdpo/GSM8K-v0",
    "gdpo/Math-v0",
)
SIZES = 1_000, 10_000, 100_000
MATH = {"MATH-500": "gdpo/Math-v0", "GSM8K": "gdpo/GSM8K-v0"}
"""Source of answers → the environment that reads them."""
PROBLEMS, UNKNOWNS = 500, "xyzuvwabcdfghkmnpqrst"
_CONFIG = [LatexExtractionConfig(boxed_match_priority=0)]

Completions = tuple[list[Any], list[str]]
"""N tasks, and N replies."""


class Bench:
    """One environment, and an endless supply of completions.

    Args:
        env_id: Its id.
    """

    def __init__(self, env_id: str) -> None:
        self.env_id = env_id
        self.env: TextEnv[Any] = gdpo_bench.make_env(env_id)
        known = [(task, self.env.reference(task)) for task in self.env.tasks("eval")]
        self._pairs = itertools.cycle([(task, reply) for task, reply in known if isinstance(reply, str)])
        self._numbers = itertools.count()

    def completions(self, count: int) -> Completions:
        """That many, all different."""
        pairs = list(itertools.islice(self._pairs, count))
        replies = [reply.replace("<think>", f"<think>{n} ", 1) for (_, reply), n in zip(pairs, self._numbers)]  # noqa: B905 (endless)
        return [task for task, _ in pairs], replies

    def score(self, completions: Completions) -> tuple[Scores, float]:
        """Their scores, and seconds of CPU."""
        start = time.process_time()
        scores = score(self.env, self.env_id, *completions)
        seconds = time.process_time() - start
        if scores.failed.any():
            raise RuntimeError(f"{self.env_id}: {scores.failures[0]}")
        return scores, seconds

    def growth(self) -> float:
        """Exponent of time over number, from the least to the most of `SIZES`; 1 is linear."""
        seconds = [
            statistics.median(self.score(self.completions(size))[1] for _ in range(3 if size == SIZES[-1] else 9))
            for size in SIZES
        ]
        # The slope of a line through the logarithms.
        return statistics.linear_regression([math.log(size) for size in SIZES], [math.log(s) for s in seconds]).slope

    def memory(self) -> float:
        """Bytes that stay in use after a hundred thousand more completions, without these and their scores."""
        growths = []
        for _ in range(3):
            completions = self.completions(SIZES[-1])
            gc.collect()
            before = resident_bytes("VmRSS")
            scores, _ = self.score(completions)
            gc.collect()
            kept = sum(part.nbytes for part in (scores.values, scores.raw, scores.applicable, scores.failed))
            growths.append(resident_bytes("VmRSS") - before - kept)
        return statistics.median(growths)


def scoring_table(env_ids: Sequence[str], turns: int) -> Iterator[str]:
    """Rows of the table of environments."""
    yield "| environment | characters | completions/s | growth | memory, MB |"
    yield "|---|---:|---:|---:|---:|"
    for env_id in env_ids:
        bench = Bench(env_id)
        bench.score(bench.completions(SIZES[0]))  # warm up
        rates = [2 * SIZES[0] / bench.score(bench.completions(2 * SIZES[0]))[1] for _ in range(turns)]
        replies = bench.completions(SIZES[0])[1]
        cells = [f"`{env_id}`", f"{statistics.mean(map(len, replies)):.0f}", spread(rates, ",.0f")]
        cells += [f"{bench.growth():.2f}", f"{bench.memory() / 1e6:.1f}"]
        yield f"| {' | '.join(cells)} |"


def questions_of(env_id: str, turn: int) -> list[Question]:
    """Right answers, each with an answer that is right in other words or wrong; others in each turn."""
    answers = [task.answer for task in gdpo_bench.make_env(env_id).tasks("eval")[:PROBLEMS]]
    return [
        (answer, f"{UNKNOWNS[turn]}={answer}" if (i + turn) % 2 else f"{answer}+{turn + 1}")
        for i, answer in enumerate(answers)
    ]


def math_verify(questions: Sequence[Question]) -> list[bool]:
    """What Math-Verify alone says, in this thread, without its time limits."""

    def read(text: str) -> list[Any]:
        return parse(f"\\boxed{{{text}}}", _CONFIG, fallback_mode="no_fallback", parsing_timeout=None)

    return [verify(read(truth), read(answer), timeout_seconds=None) for truth, answer in questions]


def math_table(turns: int) -> Iterator[str]:
    """Rows of the table of Math-Verify."""
    cores = usable_cores()
    yield f"| answers of | Math-Verify, answers/s | on {cores} cores, answers/s | ratio | ratio / cores |"
    yield "|---|---:|---:|---:|---:|"
    for name, env_id in MATH.items():
        pool = Pool(workers=cores)
        alone, ours = [], []
        for turn in range(turns + 1):
            questions = questions_of(env_id, turn)
            start = time.perf_counter()
            wanted = math_verify(questions)
            middle = time.perf_counter()
            verdicts = pool.score(questions)
            end = time.perf_counter()
            if sum(a != b for a, b in zip(wanted, verdicts, strict=True)) > len(questions) // 50:  # known slips apart
                raise RuntimeError(f"{name}: expected Math-Verify's verdicts {wanted}; got {verdicts}")
            if turn:  # the first starts the workers
                alone.append(len(questions) / (middle - start))
                ours.append(len(questions) / (end - middle))
        pool.close()
        ratios = [own / theirs for own, theirs in zip(ours, alone, strict=True)]
        cells = [name, spread(alone), spread(ours), spread(ratios), spread([ratio / cores for ratio in ratios])]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the tables into this file's section `scoring`")
    parser.add_argument("--envs", nargs="+", default=ENVS, metavar="ID")
    parser.add_argument("--turns", type=int, default=7, choices=range(2, len(UNKNOWNS)))
    options = parser.parse_args()
    logging.disable()  # Math-Verify's, on lacking time-outs
    measured = itertools.chain(scoring_table(options.envs, options.turns), [""], math_table(options.turns))
    report(itertools.chain([in_turns(options.turns), ""], measured), "scoring", options.markdown)


if __name__ == "__main__":
    main()
