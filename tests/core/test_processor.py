import os

import pytest

from gdpo_bench.core import processor
from gdpo_bench.core.processor import arithmetic_pins, multiplies_bfloat16


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("named", "products", "avx2_for_all", "avx2_for_bfloat16"),
    [
        ("sse2 avx avx2 avx512f avx512_bf16", True, True, False),
        ("avx2 amx_bf16 amx_tile", True, True, False),
        ("avx2 avx512f", False, True, True),
        ("sse2", False, False, False),
        ("", False, False, False),
    ],
)
def test_kernels_of_avx2_are_pinned_unless_products_in_bfloat16_are_wanted_and_there(
    flags: pytest.MonkeyPatch, named: str, products: bool, avx2_for_all: bool, avx2_for_bfloat16: bool
) -> None:
    flags.setattr(processor, "cpu_info", lambda: {"flags": named})
    assert multiplies_bfloat16() is products
    assert ("ATEN_CPU_CAPABILITY" in arithmetic_pins()) is avx2_for_all
    assert ("ATEN_CPU_CAPABILITY" in arithmetic_pins(bfloat16=True)) is avx2_for_bfloat16
    assert arithmetic_pins(bfloat16=True)["OMP_NUM_THREADS"] == "1"


def test_a_process_that_is_pinned_has_no_products_in_bfloat16(flags: pytest.MonkeyPatch) -> None:
    flags.setattr(processor, "cpu_info", lambda: {"flags": "avx2 avx512_bf16"})
    for name, value in arithmetic_pins().items():
        flags.setitem(os.environ, name, value)
    assert not multiplies_bfloat16()
