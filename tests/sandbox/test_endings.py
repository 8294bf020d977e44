"""Programs end as in plain Python: what they have printed by then, and their exit code."""

import json
import re
from pathlib import Path

import docker
import pytest
from gdpo_sandbox import Program, SandboxPool
from gdpo_sandbox.building import ensure_image

ENDINGS = dict(
    section.split("\n", 1)
    for section in re.split("^=== ", Path(__file__).with_name("endings.txt").read_text(), flags=re.MULTILINE)[1:]
)
"""Small programs that end in many ways."""
STDIN = "2\n1 2\n3 4\n"
_DRIVER = """
import json, pathlib, subprocess, sys
ended = {}

for name, source in json.loads(sys.argv[1]).items():
    pathlib.Path("/tmp/solution.py").write_text(source)
    run = subprocess.run(
        [sys.executable, "solution.py"], input=sys.argv[2].encode(), capture_output=True, cwd="/tmp"
    )
    ended[name] = run.stdout.decode("utf-8", "backslashreplace"), run.returncode
print(json.dumps(ended))
"""

Ended = tuple[str, int | None]


@pytest.fixture(scope="module")
def plain(engine: docker.DockerClient) -> dict[str, Ended]:
    """How `python solution.py < input` of the image's own Python ends."""
    arguments = ["-c", _DRIVER, json.dumps(ENDINGS), STDIN]
    printed = engine.containers.run(
        ensure_image(engine), arguments, entrypoint="python3", network_mode="none", working_dir="/tmp", remove=True
    )
    return {name: tuple(ended) for name, ended in json.loads(printed).items()}


@pytest.fixture(scope="module")
def ours(pool: SandboxPool) -> dict[str, Ended]:
    """How the sandbox says that they end."""
    runs = pool.run_many([Program(source, [STDIN]) for source in ENDINGS.values()])
    return {name: (run.tests[0].stdout, run.tests[0].exit_code) for name, run in zip(ENDINGS, runs, strict=True)}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_program_ends_as_in_plain_python(name: str, ours: dict[str, Ended], plain: dict[str, Ended]) -> None:
    stdout, exit_code = plain[name]
    assert ours[name] == (stdout, 130 if exit_code == -2 else exit_code)
