"""Every check catches what breaks its rule alone, and says what to change."""

import pickle
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import gdpo_bench
from gdpo_bench import check_env
from gdpo_bench.authoring import CHECKS, CheckResult, processes
from gdpo_bench.core import DataError, DeclarationError, GdpoBenchError, UnknownNameError

Register = Callable[[str], str]


def by_status(results: list[CheckResult], status: str) -> dict[str, str]:
    return {result.check: result.detail for result in results if result.status == status}


@pytest.mark.parametrize("name", ["Fine", "FineAwaited", "FineDialog"])
def test_what_is_fine_passes_every_check(name: str, registered: Register) -> None:
    results = check_env(registered(name))
    assert [result.check for result in results] == list(CHECKS)
    assert set(by_status(results, "passed")) == set(CHECKS), results


VIOLATIONS = [
    ("NoBeginning", "api", r"No episode can be played: TimeoutError: no database \(.*specimens.py, line"),
    ("MessageWithoutText", "json", "a message is a dict with the texts 'role' and 'content'"),
    ("SeedlessTasks", "tasks", "gives other tasks or another order when called again"),
    ("RepeatedTask", "tasks", "1 tasks occur more than once in 'train'"),
    ("TaskWithASet", "json", "A task of 'train' is not JSON-able"),
    ("OverlappingSplits", "splits", "is also in 'eval'"),
    ("NotANumber", "values", "reward 'short' on task .* must be finite; got nan"),
    ("OutOfRange", "values", r"must lie in \[0, 1\] as declared"),
    ("NotBinary", "values", "Declare it graded"),
    ("WrongType", "values", r"must be one number .* got ndarray of shape \(2,\)"),
    ("WrongShape", "values", "Many replies at once: .* must return one value a rollout"),
    ("UnreadableDigits", "any-text", r"reward 'short' raised ValueError: .* catch what it can cause"),
    ("Recursive", "any-text", "reward 'short' raised RecursionError"),
    ("Crashing", "any-text", "ended with status 7 at lone surrogates"),
    ("Swallowing", "failures", "'short' catches whatever its scorer raises.* Catch only"),
    ("Dicing", "repeatable", "'short' is .* when played again, for .* must be pure"),
    ("HashDependent", "hash-seed", "'short' differ in processes with PYTHONHASHSEED=1 and 2"),
    ("SetOrderedTasks", "hash-seed", "the tasks of split 'train' differ. Sort what comes out of sets"),
    ("ComparedWithTheBatch", "independent", "'short' is .* when scored beside others"),
    ("ReusedBuffer", "fresh", "'short' returns a buffer that its next call overwrites"),
    ("SharedMessages", "fresh", "returns the same dicts each time"),
    ("ImperfectReference", "reference", "Reward 'short' gives .* of 1 for the reference"),
    ("Constant", "varied", "Reward 'always' was 1 on .* teaches nothing"),
    ("NeverApplicable", "varied", "Reward 'never' was not applicable"),
    ("Duplicate", "distinct", "Rewards 'right' and 'again' were equal .* Remove one"),
    ("EndingDemonstrations", "demonstrations", "ended after 2; they must be endless"),
    ("EvalDemonstrations", "demonstrations", "is not of the split 'train'"),
    ("Unpicklable", "pickle", "cannot pickle '_thread.lock' object. Keep lambdas, locks"),
    ("SharedState", "independent", "when scored beside others"),
    ("UnpicklableState", "pickle", "of what begin"),
    ("BadReferenceDialog", "reference", "gives -1 of 0"),
]


@pytest.mark.parametrize(("name", "check", "says"), VIOLATIONS, ids=[name for name, *_ in VIOLATIONS])
def test_a_check_catches_what_breaks_its_rule_and_no_other_complains(
    name: str, check: str, says: str, registered: Register
) -> None:
    failed = by_status(check_env(registered(name)), "failed")
    assert list(failed) == [check], failed
    assert re.search(says, failed[check]), failed[check]


def test_every_check_has_a_violation_that_it_catches() -> None:
    assert {check for _, check, _ in VIOLATIONS} == set(CHECKS)


def test_a_reward_that_exits_is_caught_wherever_it_is_called(registered: Register) -> None:
    failed = by_status(check_env(registered("Exiting")), "failed")
    assert "SystemExit: cannot score this" in failed["any-text"]


def test_demonstrations_must_follow_their_seed(registered: Register) -> None:
    failed = by_status(check_env(registered("UnseededDemonstrations")), "failed")
    assert "although the seed is the same" in failed["demonstrations"]


def test_a_scorer_that_hangs_is_stopped_and_named(registered: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TIME_LIMIT", 4.0)
    failed = by_status(check_env(registered("Hanging")), "failed")
    assert list(failed) == ["any-text"]
    assert "was still at it after 4 s at 1 MB of one letter ('xxxx" in failed["any-text"]
    assert "linear" in failed["any-text"]


def test_what_cannot_be_checked_is_skipped_with_the_reason(specimens: ModuleType, registered: Register) -> None:
    class Bare(specimens.Fine):  # type: ignore[misc, name-defined]
        splits = ("train",)
        reference = gdpo_bench.TextEnv.reference
        demonstrations = gdpo_bench.TextEnv.demonstrations

        def tasks(self, split: str) -> list[Any]:
            return [specimens.NumberTask(f"Say {n}", n) for n in range(200, 220)]

    results = check_env(Bare())
    skipped = by_status(results, "skipped")
    assert set(skipped) == {"api", "splits", "hash-seed", "reference", "varied", "distinct", "demonstrations"}
    assert "given as an object" in skipped["api"]
    assert "only the split 'train'" in skipped["splits"]
    assert "reference(task) knows no reply" in skipped["reference"]
    assert "there are no good ones among them" in skipped["varied"]
    assert "demonstrations(rng) yields none" in skipped["demonstrations"]
    failed = by_status(results, "failed")
    assert set(failed) == {"pickle"}  # a class within a function
    assert "at the top of a module" in failed["pickle"]


def test_gymnasiums_checker_is_skipped_where_mo_gymnasium_is_missing(
    registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gdpo_bench.authoring.linear", raising=False)
    monkeypatch.setitem(sys.modules, "mo_gymnasium.wrappers", None)
    assert "pip install mo-gymnasium" in by_status(check_env(registered("Fine")), "skipped")["api"]


def test_an_instance_is_checked_like_an_id(specimens: ModuleType) -> None:
    results = check_env(specimens.Fine(), tasks=2)
    assert not by_status(results, "failed")
    assert set(by_status(results, "skipped")) == {"api"}
    assert pickle.loads(pickle.dumps(results)) == results


def test_options_of_the_id_reach_the_environment() -> None:
    failed = by_status(check_env("gdpo/MathMini-v1:max_digit=4,limit=2", tasks=3), "failed")
    assert list(failed) == ["reference"]
    assert not by_status(check_env("gdpo/MathMini-v1:limit=2", tasks=3, limit=40), "failed")


def test_mistakes_are_messages(specimens: ModuleType) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gdpo/MathMini-v1'"):
        check_env("gdpo/MathMin-v0")
    with pytest.raises(DeclarationError, match="an instance has its own"):
        check_env(specimens.Fine(), limit=3)
    with pytest.raises(GdpoBenchError, match="at least 1; got 0"):
        check_env("gdpo/MathMini-v1", tasks=0)


def test_what_an_authors_code_raises_while_listing_tasks_names_the_place(specimens: ModuleType) -> None:
    class Broken(specimens.Fine):  # type: ignore[misc, name-defined]
        def tasks(self, split: str) -> list[object]:
            return [{}["no such key"]]

    with pytest.raises(DeclarationError, match=r"Broken: KeyError: 'no such key' \(.*test_checks.py, line \d+\)"):
        check_env(Broken())


def test_a_split_without_its_data_is_left_out_and_said(specimens: ModuleType, registered: Register) -> None:
    failed = check_env(registered("NoTrainingData"))
    assert not by_status(failed, "failed")
    skipped = by_status(failed, "skipped")
    assert skipped == {"splits": "no training data here", "demonstrations": "no training data here"}


def test_an_environment_whose_scorer_is_not_running_says_so(specimens: ModuleType) -> None:
    class Unavailable(specimens.Fine):  # type: ignore[misc, name-defined]
        def unavailable(self) -> str:
            return "start the server"

    with pytest.raises(GdpoBenchError, match="Unavailable: start the server"):
        check_env(Unavailable())


@pytest.mark.slow
@pytest.mark.parametrize("env_id", [id for id in gdpo_bench.list_envs() if id.startswith("gdpo/")])
def test_bundled_environments_pass(env_id: str, request: pytest.FixtureRequest) -> None:
    env = gdpo_bench.make_env(env_id)
    try:
        if env.data_revision() is not None:
            request.getfixturevalue("data_dir")
    except DataError as error:
        pytest.skip(f"needs real data: {error}")
    if env.unavailable():
        request.getfixturevalue("engine")
    failed = by_status(check_env(env_id, tasks=5), "failed")
    assert not failed, failed
