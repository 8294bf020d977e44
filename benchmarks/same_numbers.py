"""Whether one job gives the same numbers whatever arithmetic the environment asks for, and what the pins cost.

    python benchmarks/same_numbers.py --markdown docs/performance.md

Each line is the whole job in processes of its own, with a cold cache, so that the warm start is made anew: first as it
is, then with what stands in the line, as far as a machine can imitate others. Equal ids of entries are equal numbers,
reward vectors included. The last lines show that it is the pins: without them the same wishes give other ids.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from measuring import measured_on, report

JOB = shlex.split(
    "--envs gdpo/ToolCallingMini-v1 --normalizers grpo gdpo --seeds 0 --steps 8 --policy mini:warm_start_steps=100"
)
_NEWER = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR FMA3 AVX2 F16C"
_GLIBC = "glibc.cpu.hwcaps=-AVX512F,-AVX2_Usable,-AVX2,-FMA_Usable,-FMA,-FMA4_Usable,-AVX_Usable,-ERMS"
WISHES: Mapping[str, Mapping[str, str]] = {
    "ATen without AVX2": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN without AVX": {"ONEDNN_MAX_CPU_ISA": "SSE41", "DNNL_MAX_CPU_ISA": "SSE41"},
    "oneDNN in bfloat16": {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "DNNL_DEFAULT_FPMATH_MODE": "BF16"},
    "MKL compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL with AVX-512": {"MKL_CBWR": "AVX512"},
    "MKL's own switch": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_DEBUG_CPU_TYPE": "4"},
    "2 threads": {"OMP_NUM_THREADS": "2", "OMP_DYNAMIC": "TRUE", "MKL_DYNAMIC": "FALSE"},
    "8 threads": {"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "3"},
    "numpy without AVX2 and FMA": {"NPY_DISABLE_CPU_FEATURES": _NEWER},
    "glibc without AVX2 and FMA": {"GLIBC_TUNABLES": _GLIBC},
    "all of these": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "2",
        "NPY_DISABLE_CPU_FEATURES": _NEWER,
        "GLIBC_TUNABLES": _GLIBC,
        "OPENBLAS_CORETYPE": "Prescott",
    },
}
UNPINNED = ("ATen without AVX2", "MKL compatible")
_WITHOUT_PINS = """
import sys
from gdpo_bench.core import processor
one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
if __name__ == "__main__":
    import gdpo_bench.jobs.training
    gdpo_bench.jobs.training.arithmetic_pins = lambda **_: one_thread
    from gdpo_bench.cli.run import main
    sys.exit(main())
"""


def run(wish: Mapping[str, str], *, pinned: bool) -> tuple[tuple[str, ...], float]:
    """Ids of the job's entries, and its seconds of CPU.

    Args:
        wish: Environment variables.
        pinned: Whether workers are started as they are, or with one thread and no other pin.
    """
    decided = {name for one in WISHES.values() for name in one}
    environment = {name: value for name, value in os.environ.items() if name not in decided} | wish
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "unpinned.py"
        script.write_text(_WITHOUT_PINS)
        command = [sys.executable, *(("-m", "gdpo_bench.run") if pinned else (str(script),)), *JOB, "--out", folder]
        before = _cpu_s()
        subprocess.run(
            command,
            check=True,
            env=environment | {"GDPO_BENCH_CACHE": f"{folder}/cache"},
            stdout=subprocess.DEVNULL,
        )
        return tuple(sorted(file.stem for file in Path(folder).glob("*/entries/*.json"))), _cpu_s() - before


def lines(turns: int) -> Iterator[str]:
    """The table, line by line, and what the pins cost.

    Args:
        turns: How often the job is timed with and without them.
    """
    yield f"{measured_on()}."
    yield ""
    yield "| pinned | asked for | ids |"
    yield "|---|---|---|"
    expected, first = run({}, pinned=True)
    yield _row("yes", "nothing", expected, expected)
    for wish, variables in WISHES.items():
        yield _row("yes", wish, run(variables, pinned=True)[0], expected)
    plain, without = run({}, pinned=False)
    yield _row("no", "nothing", plain, expected)
    for wish in UNPINNED:
        yield _row("no", wish, run(WISHES[wish], pinned=False)[0], expected)
    ratios = [first / without, *(run({}, pinned=True)[1] / run({}, pinned=False)[1] for _ in range(turns - 1))]
    yield ""
    yield (
        f"With the pins the job takes {statistics.median(ratios):.2f} times the seconds of CPU that it takes without "
        f"(median of {turns}: {', '.join(f'{ratio:.2f}' for ratio in ratios)})."
    )


def _row(pinned: str, wish: str, found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    return f"| {pinned} | {wish} | {_ids(found, expected)} |"


def _ids(found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    return f"{'the same' if found == expected else 'others'}: {', '.join(f'`{id[:8]}`' for id in found)}"


def _cpu_s() -> float:
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken.ru_utime + taken.ru_stime


def main() -> None:
    """Measure, print, and write the table into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="document with a section `same numbers`")
    parser.add_argument("--turns", type=int, default=3, help="how often the job is timed with and without the pins")
    chosen = parser.parse_args()
    report(lines(chosen.turns), "same numbers", chosen.markdown)


if __name__ == "__main__":
    main()
