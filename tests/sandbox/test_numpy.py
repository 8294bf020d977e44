"""The image with numpy: that it is built of packages anew, that numpy works within the limits, and nowhere else."""

import shutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import docker
import numpy as np
import pytest
from gdpo_sandbox import ImageError, Limits, Program, SandboxPool, Status, building
from gdpo_sandbox.image.worker import values

needs_debian = pytest.mark.skipif(shutil.which("apt-get") is None, reason="numpy's image is made of Debian packages")
COMPUTE = """
import numpy as np
square = np.array([[2.0, 1.0], [1.0, 3.0]])
print(np.linalg.solve(square, [3.0, 4.0]).round(9).tolist())
print(np.linalg.eigvalsh(square @ square).sum().round(9), np.fft.fft([1, 2, 3, 4])[0].real)
print(np.random.default_rng(0).integers(10, size=50).max() < 10, np.median(np.arange(1_000_001)))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("Threads:")))
"""


@pytest.fixture(scope="module")
def numpy_pool(engine: docker.DockerClient) -> Iterator[SandboxPool]:
    with SandboxPool(slots=1, limits=Limits(cpu_s=5, memory_mb=128), numpy=True) as pool:
        yield pool


@pytest.mark.seldom
@needs_debian
def test_an_image_is_built_of_packages_anew(engine: docker.DockerClient) -> None:
    lines: list[str] = []
    tag = building.build_image(engine, "debian", lines.append, numpy=True)
    assert lines[0] == "Downloading Debian packages"
    code = "import numpy; print(numpy.linalg.inv([[2.0]]))"
    output = engine.containers.run(tag, ["-c", code], entrypoint="python3", network_mode="none", remove=True)
    assert output == b"[[0.5]]\n"


@pytest.mark.seldom
@needs_debian
def test_numpy_computes_within_the_limits_on_one_thread(numpy_pool: SandboxPool) -> None:
    (outcome,) = numpy_pool.run(Program(COMPUTE, [""])).tests
    assert outcome.error == outcome.stderr == ""
    assert outcome.stdout.splitlines() == ["[1.0, 1.0]", "15.0 10.0", "True 500000.0", "1"]


@pytest.mark.seldom
@needs_debian
def test_what_numpy_takes_counts(numpy_pool: SandboxPool) -> None:
    hoard = "import numpy as np\nx = [np.ones(1 << 17) for _ in range(1000)]"
    endless = "import numpy as np\nx = np.ones((400, 400))\nwhile True: x @ x"
    for source, status in ((hoard, Status.MEMORY_LIMIT), (endless, Status.TIMEOUT)):
        (outcome,) = numpy_pool.run(Program(source, [""])).tests
        assert outcome.status is status


@pytest.mark.seldom
@needs_debian
def test_each_program_imports_numpy_anew(numpy_pool: SandboxPool) -> None:
    spoil = "import numpy as np\nnp.sum = None\nnp.random.seed(1)\nprint(np.random.random())"
    look = "import numpy as np\nprint(np.sum([1, 2]), np.random.random())"
    spoilt = numpy_pool.run(Program(spoil, [""])).tests[0]
    first, second = (numpy_pool.run(Program(look, [""])).tests[0].stdout.split() for _ in range(2))
    assert spoilt.status is Status.OK
    assert first[0] == second[0] == "3"
    assert first[1] != second[1]


@pytest.mark.seldom
@needs_debian
def test_numbers_of_numpy_come_back_as_numbers(numpy_pool: SandboxPool) -> None:
    source = "import numpy as np\ndef f(name): return {np.int8(1): [getattr(np, name)(3)]}"
    names = ["int64", "uint8", "float32", "float64", "complex64", "bool_"]
    run = numpy_pool.run(Program(source, [(name,) for name in names], mode="call", entry="f"))
    assert [(test.value[1][0], type(test.value[1][0])) for test in run.tests] == [
        *[(3, int)] * 2,
        *[(3.0, float)] * 2,
        (3 + 0j, complex),
        (True, bool),
    ]


def test_libraries_are_told_to_start_no_threads(pool: SandboxPool) -> None:
    source = "import os\nprint(*[os.environ[f'{library}_NUM_THREADS'] for library in ('OMP', 'OPENBLAS')])"
    assert pool.run(Program(source, [""])).tests[0].stdout == "1 1\n", "a base may have numpy with OpenBLAS"


def test_without_numpy_importing_it_is_an_error_as_ever(pool: SandboxPool) -> None:
    (outcome,) = pool.run(Program("import numpy", [""])).tests
    assert outcome.status is Status.RUNTIME_ERROR
    assert outcome.error == "ModuleNotFoundError: No module named 'numpy'"


def test_a_base_without_numpy_is_refused(engine: docker.DockerClient) -> None:
    building.ensure_image(engine)
    base = next(name for name in (building.PUBLIC_BASE, building.DEBIAN_BASE) if building._id(engine, name))
    with pytest.raises(ImageError, match="The base has no package numpy"):
        building.build_image(engine, base, numpy=True)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float16(0.5), 0.5),
        (np.float64("nan"), float("nan")),
        (np.longdouble(0.5), 0.5),
        (np.complex64(1j), 1j),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ([(np.int32(1), {np.float32(2): np.bool_(False)})], [(1, {2.0: False})]),
    ],
    ids=repr,
)
def test_a_number_of_numpy_is_encoded_as_pythons(value: Any, plain: Any) -> None:
    assert values.encode(value, 1000) == values.encode(plain, 1000)


def test_arrays_are_no_plain_data_nor_are_numbers_of_numpy_in_what_is_sent() -> None:
    assert values.encode(np.array([1, 2]), 1000) == '{"o":["ndarray","array([1, 2])"]}'
    with pytest.raises(TypeError, match="int64"):
        values.encode(np.int64(1), 1000, strict=True)


def test_a_program_may_put_anything_in_the_place_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    for stand_in in (ModuleType("numpy"), None, 3):
        monkeypatch.setitem(sys.modules, "numpy", stand_in)  # type: ignore[arg-type]
        assert values.encode(Ellipsis, 1000) == '{"o":["ellipsis","Ellipsis"]}'
