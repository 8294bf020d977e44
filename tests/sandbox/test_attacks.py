"""The sandbox against the catalogue of hostile programs, and the judge against programs that are not contained."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import docker
import pytest
from gdpo_sandbox import Program, ProgramRun, SandboxPool, Status
from gdpo_sandbox.attacks import CATALOGUE, Attack, Verdict, judge, judge_all
from gdpo_sandbox.attacks.judging import LIMITS, fresh_state
from gdpo_sandbox.building import image_tag

KNOWS_THE_TASK = "def f(n): return (n * 7919 + 31) % 1009 + 5000"


@pytest.fixture(scope="module")
def verdicts(engine: docker.DockerClient) -> dict[str, Verdict]:
    """Each attack's, by its id."""
    return {verdict.attack.id: verdict for verdict in judge_all(CATALOGUE, slots=2)}


@pytest.fixture(scope="module")
def slot(engine: docker.DockerClient) -> Iterator[SandboxPool]:
    """A pool of one slot."""
    with SandboxPool(slots=1, limits=LIMITS) as pool:
        yield pool


@pytest.mark.parametrize("attack", CATALOGUE, ids=[attack.id for attack in CATALOGUE])
def test_attack_is_contained(attack: Attack, verdicts: dict[str, Verdict]) -> None:
    assert verdicts[attack.id].findings == ()


def test_no_attack_leaves_a_container(verdicts: dict[str, Verdict], engine: docker.DockerClient) -> None:
    names = [
        container.name for container in engine.containers.list(filters={"ancestor": image_tag(), "status": "exited"})
    ]
    assert names == []


def test_families_are_many_and_large() -> None:
    families = Counter(attack.family for attack in CATALOGUE)
    assert len(CATALOGUE) == len({attack.id for attack in CATALOGUE}) >= 60
    assert len(families) == 6
    assert min(families.values()) >= 20


@pytest.mark.parametrize(
    ("source", "ends", "finding"),
    [
        (KNOWS_THE_TASK, frozenset(Status), "test 3 was rewarded"),
        ("print('BREACH 7')\ndef f(n): return 0", frozenset(Status), "it got through: 'BREACH 7'"),
        ("def f(n): return ['BREACH']", frozenset(Status), "it got through: ['BREACH']"),
        ("def f(n): return 0", frozenset({Status.TIMEOUT}), "test 3 ended as ok"),
    ],
)
def test_the_judge_finds_what_is_wrong(slot: SandboxPool, source: str, ends: frozenset[Status], finding: str) -> None:
    attack = Attack("made", "up", "", source, ends=ends)
    assert finding in judge(attack, slot, fresh_state(slot)).findings[0]


def test_the_judge_finds_what_an_attack_has_left(slot: SandboxPool) -> None:
    class Leaking(SandboxPool):
        """After the first program, one file more is found."""

        programs = 0

        def run(self, program: Program) -> ProgramRun:
            run = super().run(program)
            self.programs += 1
            (test, *rest) = run.tests
            left = replace(test, stdout=test.stdout.replace("'files': []", "'files': ['left']"))
            return run if self.programs == 1 else replace(run, tests=(left, *rest))

    harmless = Attack("made", "up", "", "def f(n): return 0")
    with Leaking(slots=1, limits=LIMITS) as pool:
        assert judge(harmless, pool, fresh_state(slot)).findings == ("the next program found files = ['left']",)
    assert judge(harmless, slot, fresh_state(slot)).contained
