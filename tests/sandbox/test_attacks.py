"""The sandbox against the catalogue of hostile programs, and the judge against programs that are not contained."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import docker
import pytest
from gdpo_sandbox import Mode, Program, ProgramRun, SandboxPool, Status
from gdpo_sandbox.attacks import CATALOGUE, Attack, Verdict, judge, judge_all, judging
from gdpo_sandbox.attacks.judging import LIMITS, TESTS, draw_numbers, fresh_state
from gdpo_sandbox.orphans import OWNER_LABEL, owner


def containers(engine: docker.DockerClient) -> set[str]:
    """Ids of those that this process has started."""
    label = f"{OWNER_LABEL}={owner()}"
    return {container["Id"] for container in engine.api.containers(all=True, filters={"label": label})}


@pytest.fixture(scope="module")
def before(engine: docker.DockerClient) -> set[str]:
    """Containers that were there before any attack."""
    return containers(engine)


@pytest.fixture(scope="module")
def verdicts(before: set[str], request: pytest.FixtureRequest) -> dict[str, Verdict]:
    """Of each attack that is to be tested, by its id."""
    chosen = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    attacks = [params["attack"] for params in chosen if "attack" in params]
    return {verdict.attack.id: verdict for verdict in judge_all(attacks or CATALOGUE[:2], slots=2)}


@pytest.fixture(scope="module")
def slot(engine: docker.DockerClient) -> Iterator[SandboxPool]:
    """A pool of one slot."""
    with SandboxPool(slots=1, limits=LIMITS) as pool:
        yield pool


@pytest.mark.parametrize("attack", CATALOGUE, ids=[attack.id for attack in CATALOGUE])
def test_attack_is_contained(attack: Attack, verdicts: dict[str, Verdict]) -> None:
    assert verdicts[attack.id].findings == ()


@pytest.mark.usefixtures("verdicts")
def test_no_attack_leaves_a_container(before: set[str], engine: docker.DockerClient) -> None:
    deadline = time.monotonic() + 30  # the engine removes them on its own time
    while (left := containers(engine) - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == set()


def test_families_are_many_and_large() -> None:
    families = Counter(attack.family for attack in CATALOGUE)
    assert len(CATALOGUE) == len({attack.id for attack in CATALOGUE}) >= 60
    assert len(families) == 6
    assert min(families.values()) >= 20


@pytest.mark.parametrize(
    ("source", "mode", "finding"),
    [
        ("def f(n): return n + 1", "call", "test 3 was rewarded"),
        ("def f(n): return [n + 1]", "call", "test 3 was rewarded"),
        ("print(int(input()) + 1)", "stdio", "test 3 was rewarded"),
        ("print('BREACH 7')\ndef f(n): return 0", "call", "it got through: 'BREACH 7'"),
        ("def f(n): return ['BREACH']", "call", "it got through: ['BREACH']"),
        ("def f(n): raise ValueError('x')", "call", "test 3 ended as runtime error: ValueError: x"),
    ],
)
def test_the_judge_finds_what_is_wrong(
    slot: SandboxPool, source: str, mode: Mode, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "draw_numbers", lambda: [1, 2, 3, 4])
    attack = Attack("made", "up", "", source, mode, ends=[Status.OK])
    assert finding in judge(attack, slot, fresh_state(slot)).findings


def test_answers_cannot_be_foreseen() -> None:
    assert len({number for _ in range(100) for number in draw_numbers()}) == 100 * (TESTS + 1)


def test_the_judge_finds_what_an_attack_has_left(slot: SandboxPool) -> None:
    class Leaking(SandboxPool):
        """After the first program, one file more is found."""

        programs = 0

        def run(self, program: Program) -> ProgramRun:
            run = super().run(program)
            self.programs += 1
            (test, *rest) = run.tests
            left = replace(test, stdout=test.stdout.replace('"files": []', '"files": ["left"]'))
            return run if self.programs == 1 else replace(run, tests=(left, *rest))

    harmless = Attack("made", "up", "", "def f(n): return 0")
    with Leaking(slots=1, limits=LIMITS) as pool:
        assert judge(harmless, pool, fresh_state(slot)).findings == ("the next program found files = ['left']",)
    assert judge(harmless, slot, fresh_state(slot)).contained
