"""The processor: its cores, and the arithmetic that libraries choose by what it offers.

Torch, oneDNN and MKL take other kernels where a processor offers other instructions; these add up in another order, and
training amplifies the last bits. So all processes that compute for a result are pinned to kernels that every x86-64
processor with AVX2 has, before torch is imported: numbers are then the same, bit for bit, on all of them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Flags of processors that multiply matrices in bfloat16; without them such products are emulated, and slower."""
_RECORDED = ("cpu family", "model", "stepping", "flags")
"""Lines of `/proc/cpuinfo`."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cpu_info() -> Mapping[str, str]:
    """Family, model, stepping and flags of the processor as Linux tells them, `machine` elsewhere too."""
    found = {"machine": platform.machine()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:  # not Linux
        lines = []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return MappingProxyType(found | {name: fields[name] for name in _RECORDED if name in fields})


def arithmetic_pins(*, bfloat16: bool = False) -> dict[str, str]:
    """Environment variables that must stand before torch is imported, over whatever the user set.

    One thread, so that sums come in one order; and, where the processor has AVX2, kernels of AVX2 and nothing newer.

    Args:
        bfloat16: Whether what is computed gains by products in bfloat16. Where the processor has them, which AVX2 does
            not, nothing but the thread is pinned.
    """
    flags = _flags()
    return _ONE_THREAD | (_AVX2 if "avx2" in flags and not (bfloat16 and flags & _BFLOAT16) else {})


def multiplies_bfloat16() -> bool:
    """Whether the processor names instructions for products in bfloat16, and nothing keeps this process from them."""
    return bool(_flags() & _BFLOAT16) and not any(os.environ.get(name) for name in _AVX2 if name.endswith("_ISA"))


def _flags() -> frozenset[str]:
    return frozenset(cpu_info().get("flags", "").split())


def arithmetic() -> dict[str, str]:
    """What decides the arithmetic of this process: the pins as they stand in its environment."""
    return {name: os.environ[name] for name in sorted(_ONE_THREAD | _AVX2) if name in os.environ}
