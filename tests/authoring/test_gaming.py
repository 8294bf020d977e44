"""What replies that ignore their task earn is measured, kept, and shown without being measured again."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rich.console import Console

import gdpo_bench
from gdpo_bench.authoring import gaming as measuring
from gdpo_bench.authoring.describe import describe
from gdpo_bench.authoring.gaming import certify
from gdpo_bench.authoring.gaming_policies import Frame, Seen, gaming_policies
from gdpo_bench.cli.main import main
from gdpo_bench.core import DataError, GdpoBenchError, Task, make_env, registry
from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.gaming import (
    ALL_RIGHT,
    GamingCertificate,
    certificate_path,
    gamed,
    outdated,
    read_certificate,
)
from gdpo_bench.core.task import content_hash

Register = Callable[[str], str]

LEAKY = '''
from gdpo_bench import Task, TextEnv, register, reward

CAPITALS = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Poland": "Warsaw", "Greece": "Athens"}


@register("acme/Leaky-v0")
class Leaky(TextEnv[Task]):
    """Capitals, of which every list of all is right."""

    def tasks(self, split):
        when = "today" if split == "train" else "in 1990"
        return [Task(f"The capital of {country} {when}?") for country in CAPITALS]

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def correct(self, task, reply):
        """1 if the capital occurs."""
        return self.reference(task) in reply

    @reward(low=0, high=1, kind="binary")
    def short(self, task, reply):
        """1 if there are at most ten letters."""
        return len(reply) <= 10

    def reference(self, task):
        return CAPITALS[task.prompt.split()[3]]

    def demonstrations(self, rng):
        while True:
            task = rng.choice(self.tasks("train"))
            yield task, self.reference(task)
'''


@pytest.fixture
def leaky(registered: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An environment in a module of its own whose correctness is had by listing all answers; its id."""
    (tmp_path / "leaky_capitals.py").write_text(LEAKY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.spec("leaky_capitals:acme/Leaky-v0")
    yield "acme/Leaky-v0"
    import sys

    sys.modules.pop("leaky_capitals")


def verdicts(certificate: GamingCertificate) -> dict[str, str]:
    return {one.name: one.verdict for one in gamed(certificate)}


def test_a_list_of_all_answers_is_found_where_it_is_right_and_what_it_costs(leaky: str) -> None:
    certificate = certify(leaky)
    correct, short, right = gamed(certificate)
    assert (correct.policy, correct.best, correct.reach, correct.verdict) == ("list everything", 1, 1, "gamed")
    assert correct.cost == {"short": 1, ALL_RIGHT: 1}
    assert (short.floor, short.best, short.verdict) == (1, 1, "free")
    assert right.verdict == "holds"
    assert right.best == pytest.approx(1 / 5)  # a constant answer is that of one of five
    assert certificate.oracle == {"correct": 1, "short": 1, ALL_RIGHT: 1}


def test_what_is_declared_to_be_gameable_is_allowed(leaky: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = registry.load_class(leaky)
    monkeypatch.setattr(cls, "gameable", lambda self: {"correct": "it is a test."})
    assert verdicts(certify(leaky)) == {"correct": "allowed", "short": "free", ALL_RIGHT: "holds"}
    monkeypatch.setattr(cls, "gameable", lambda self: {"corect": "it is a test."})
    with pytest.raises(GdpoBenchError, match=r"'corect'.*'correct'"):
        certify(leaky)


def test_it_follows_from_the_seed_and_returns_from_json(leaky: str) -> None:
    first = certify(leaky, seed=3)
    assert first == certify(leaky, seed=3)
    assert GamingCertificate.model_validate_json(first.model_dump_json()) == first


def test_without_a_training_split_what_is_known_is_not_replied_to(leaky: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = registry.load_class(leaky)
    monkeypatch.setattr(cls, "splits", ("eval",))
    monkeypatch.setattr(cls, "demonstrations", lambda self, rng: iter(()))
    certificate = certify(leaky)
    assert certificate.tasks == 2
    assert certificate.seen.startswith("3 references of 'eval'")
    assert certificate.policies["list everything"]["correct"] == 0  # the other answers are not in the list


def test_an_environment_that_shows_no_replies_is_gamed_without(leaky: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = registry.load_class(leaky)
    monkeypatch.setattr(cls, "correct", lambda self, task, reply: reply == "Paris")
    monkeypatch.setattr(cls, "reference", lambda self, task: None)
    monkeypatch.setattr(cls, "demonstrations", lambda self, rng: iter(()))
    certificate = certify(leaky)
    assert certificate.oracle is None
    assert list(certificate.policies) == ["empty", "one word", "copy the prompt", "copy all messages"]
    assert {one.oracle for one in gamed(certificate)} == {1.0}


@pytest.mark.parametrize(
    ("reply", "frame"),
    [
        ("<think>a</think><answer>7</answer>", ("<think>a</think><answer>", "7", "</answer>")),
        ("so <answer>it is \\boxed{7}.</answer>", ("so <answer>it is \\boxed{", "7", "}.</answer>")),
        ("well\n```python\nprint(1)\n```", ("well\n```python\n", "print(1)\n", "```")),
        ("seven", ("", "seven", "")),
        ("</answer> 7 <answer>", ("", "</answer> 7 <answer>", "")),
        ("```", ("", "```", "")),
        ("", ("", "", "")),
    ],
)
def test_a_reply_is_taken_apart_into_its_format_and_its_content(reply: str, frame: tuple[str, str, str]) -> None:
    assert Frame.of(reply) == Frame(*frame)
    assert Frame.of(reply).around(frame[1]) == reply


def test_lists_hold_every_reply_that_was_seen_each_once() -> None:
    replies = (("<a>1</a>",), ("<a>2</a>",), ("no",), ("<b>2</b>",))
    seen = Seen(replies, replies[:1], lambda task: "all of " + task.prompt)
    policies = {one.name: one.reply(Task("it"))[0] for one in gaming_policies(seen, Random(0))}
    assert policies["list everything"] == "<a>1</a>\n<a>2</a>\nno\n<b>2</b>"
    assert policies["list everything, in the format"] == "<a>1\n2\nno</a>"
    assert policies["copy the prompt, in the format"] == "<a>it</a>"
    assert policies["copy all messages"] == "all of it"
    assert policies["format only"] == "<a>1</a>"
    assert len(policies["longest"]) >= 8000


def certificate(**policies: dict[str, float | None]) -> GamingCertificate:
    reward = {"low": -1.0, "high": 1.0}
    return GamingCertificate.model_validate(
        {
            "environment": "acme/Some-v0",
            "options": {},
            "grader_revision": 1,
            "data_revision": None,
            "split": "eval",
            "task_ids_hash": "0" * 16,
            "tasks": 4,
            "seed": 0,
            "seen": "nothing",
            "rewards": {"a": reward | {"correctness": True}, "b": reward | {"correctness": False}},
            "oracle": {"a": 1.0, "b": 0.5, ALL_RIGHT: 1.0},
            "policies": policies,
            "allowed": {},
        }
    )


def test_of_equal_replies_the_one_that_costs_least_is_told() -> None:
    a, b, right = gamed(
        certificate(
            empty={"a": -1.0, "b": 0.5, ALL_RIGHT: 0.0},
            other={"a": -0.5, "b": 0.5, ALL_RIGHT: 0.0},
        )
    )
    assert (b.policy, b.cost, b.floor) == ("other", {"a": 1.5, ALL_RIGHT: 1.0}, 0.5)
    assert (a.policy, a.reach, a.cost) == ("other", 0.25, {ALL_RIGHT: 1.0})
    assert (right.policy, right.cost, right.reach) == ("", {}, 0)


def test_a_reward_that_applies_nowhere_is_left_out() -> None:
    found = gamed(certificate(empty={"a": None, "b": 0.0, ALL_RIGHT: None}))
    assert [one.name for one in found] == ["b"]


@pytest.mark.parametrize(("reach", "verdict"), [(0.49, "holds"), (0.5, "gamed")])
def test_half_of_what_references_earn_is_too_much(reach: float, verdict: str) -> None:
    found = certificate(empty={"a": 2 * reach - 1, "b": 0.0, ALL_RIGHT: reach})
    assert verdicts(found) == {"a": verdict, "b": "free", ALL_RIGHT: verdict}


def test_the_command_keeps_what_came_out_and_tells_when_it_changes(
    leaky: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id = f"leaky_capitals:{leaky}"
    assert main(["check", id, "--gaming"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "'list everything', which ignores its task, reaches 100% of what the references earn in correct" in said
    file = tmp_path / "gaming" / "acme-Leaky-v0.json"
    assert not file.exists()
    assert main(["check", id, "--gaming", "--write"]) == 1
    assert read_certificate(leaky) == certify(leaky)
    changed = json.loads(file.read_text())
    changed["policies"]["empty"]["short"] = 0.5
    file.write_text(json.dumps(changed))
    capsys.readouterr()
    main(["check", id, "--gaming"])
    assert "says something else" in " ".join(capsys.readouterr().out.split())


def test_the_command_fails_when_what_was_kept_is_no_longer_so(
    leaky: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = registry.load_class(leaky)
    monkeypatch.setattr(cls, "gameable", lambda self: {"correct": "it is a test."})
    assert main(["check", leaky, "--gaming", "--write"]) == 0
    assert main(["check", leaky, "--gaming"]) == 0
    monkeypatch.setattr(cls, "short", cls.correct)
    assert main(["check", leaky, "--gaming"]) == 1


def test_a_page_shows_what_was_kept_and_scores_nothing(
    leaky: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "check acme/Leaky-v0 --gaming measures" in shown(leaky)
    main(["check", leaky, "--gaming", "--write"])
    monkeypatch.setattr(measuring, "played", lambda *_: pytest.fail("it was scored"))
    monkeypatch.setattr(registry.load_class(leaky), "correct", lambda *_: pytest.fail("it was scored"))
    page = shown(leaky)
    assert re.search(r"correct +0\.00 +1\.00 +1\.00 +list everything +short 1, all right 1", page)
    monkeypatch.setattr(registry.load_class(leaky), "grader_revision", 2)
    assert "what was measured is of other grader revision" in shown(leaky)


def shown(id: str) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(describe(id))
    return captured.get()


def test_a_damaged_file_is_told(leaky: str, tmp_path: Path) -> None:
    (tmp_path / "gaming").mkdir()
    (tmp_path / "gaming" / "acme-Leaky-v0.json").write_text('{"environment": "acme/Leaky-v0"}')
    with pytest.raises(DataError, match=r"acme-Leaky-v0\.json is no certificate .*--gaming --write"):
        read_certificate(leaky)


def test_options_have_no_file_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "gdpo/MathMini-v1:limit=9", "--gaming", "--write", "--tasks", "2"]) != 0
    assert "without options" in " ".join(capsys.readouterr().err.split())


def test_unknown_environments_have_no_certificate() -> None:
    assert certificate_path("gdpo/MathMini-v0") is None
    assert read_certificate("acme/Nowhere-v0") is None


OURS = [id for id in gdpo_bench.list_envs() if id.startswith("gdpo/")]
UNMEASURED = {
    "gdpo/AIME24-v0",
    "gdpo/AMC-v0",
    "gdpo/APPS-v0",
    "gdpo/CodeContests-v0",
    "gdpo/Eurus2Code-v0",
    "gdpo/Minerva-v0",
    "gdpo/OlympiadBench-v0",
}
"""Where data, or solutions that a policy could know, were not at hand; docs/environments.md says so."""
QUICK = ["gdpo/Bits-v0", "gdpo/Constraints-v0", "gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1", "gdpo/ToolDialog-v0"]


def test_each_of_our_environments_was_measured_or_is_named() -> None:
    assert {id for id in OURS if read_certificate(id) is None} == UNMEASURED
    told = (Path(__file__).parents[2] / "docs/environments.md").read_text(encoding="utf-8")
    gaming = told.partition("## Gaming")[2]
    for id in UNMEASURED:
        assert id.removeprefix("gdpo/").removesuffix("-v0") in gaming


@pytest.mark.parametrize("id", sorted(set(OURS) - UNMEASURED))
def test_ours_hold_or_say_what_they_allow(id: str) -> None:
    found = read_certificate(id)
    assert found is not None
    assert "gamed" not in verdicts(found).values()
    assert {one.name for one in gamed(found) if one.verdict == "allowed"} == set(found.allowed)


@pytest.mark.parametrize("id", sorted(set(OURS) - UNMEASURED))
def test_what_was_measured_is_about_the_environment_of_today(id: str) -> None:
    """Its tasks, declarations and revisions; a reward that changes without raising its revision is found below."""
    found, env = read_certificate(id), make_env(id)
    assert found is not None
    try:
        tasks = tasks_of(env, env.splits[-1])
    except DataError as error:
        pytest.skip(str(error))
    now: dict[str, Any] = {
        "environment": id,
        "options": {},
        "grader_revision": env.grader_revision,
        "data_revision": env.data_revision(),
        "split": env.splits[-1],
        "task_ids_hash": content_hash(sorted({task.id for task in tasks})),
        "allowed": dict(env.gameable()),
    }
    assert not outdated(found, now)
    assert {name: (one.low, one.high) for name, one in found.rewards.items()} == {
        spec.name: (spec.low, spec.high) for spec in env.reward_specs
    }


@pytest.mark.parametrize("id", QUICK)
def test_what_is_quickly_measured_comes_out_again(id: str) -> None:
    assert certify(id) == read_certificate(id)
