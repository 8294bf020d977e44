"""The atlas: what the page in docs/ shows is so today, and a search finds what is known to fail."""

from pathlib import Path

import pytest
import torch

from gdpo_bench.advantages import NormalizerOutputError
from gdpo_bench.conformance import CLAIMED, EXCEPTIONS, PROPERTIES
from gdpo_bench.conformance.atlas import (
    FALLS,
    TARGETS,
    RaisedError,
    advantages_of,
    falls,
    kinds_table,
    page,
    recorded,
    shown,
    target_of,
)

PAGE = (Path(__file__).parents[2] / "docs" / "atlas.md").read_text(encoding="utf-8")
RECORDED = list(recorded(PAGE))


@pytest.mark.parametrize(("target", "id", "case", "advantages", "problem"), RECORDED, ids=lambda value: str(value)[:40])
def test_a_batch_of_the_page_still_breaks_its_property(target, id, case, advantages, problem):
    tested = target_of(target)
    found = advantages_of(tested, case)
    if found is None:
        assert advantages == "none"
        with pytest.raises(NormalizerOutputError):
            tested(case)
        return
    expected = torch.tensor([float(value) for value in advantages.strip("[]").split(", ")], dtype=torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert PROPERTIES[id].check(tested, case) is not None


def test_the_page_shows_every_target_and_every_declared_fall():
    assert [line[5:-1] for line in PAGE.splitlines() if line.startswith("### `")] == list(TARGETS)
    declared = {(name, id) for name in CLAIMED for id in FALLS if id in EXCEPTIONS[name]}
    assert {(target, id) for target, id, *_ in RECORDED if target in CLAIMED} == declared


def test_the_page_counts_kinds_as_they_are():
    assert kinds_table() in PAGE
    assert all(
        row in PAGE for row in ("| `grpo` | 23 |", "| `dvao` | 90 |", "| `corr_grpo` | 105 |", "| `rvpo` | 219 |")
    )


def test_the_known_spikes_are_on_the_page():
    nemo = [
        case for target, id, case, *_ in RECORDED if (target, id) == ("grpo:preset=nemo-rl@0.7", "bounded-odd-one-out")
    ]
    assert len(nemo) == 1
    assert any(target == "grpo:baseline=leave_one_out,zero_variance=eps" for target, *_ in RECORDED)


def moves_dead_groups(rewards, groups):
    return rewards.sum(1) - rewards.sum(1).mean()


def raises_on_ties(rewards, groups):
    if rewards[0, 0] == rewards[1, 0]:
        raise ZeroDivisionError("no spread")
    return 0 * rewards.sum(1)


def test_a_function_of_ones_own_is_searched(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    (fall,) = falls("test_atlas:moves_dead_groups", properties=["equal-rewards"])
    assert len(fall.case.groups) <= 5
    text = page("mine", [fall])
    assert "equal-rewards" in text
    assert f"advantages = {shown(fall.advantages)}" in text


def test_a_function_that_raises_is_an_error_and_no_fall(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(RaisedError, match="ZeroDivisionError: no spread"):
        falls("test_atlas:raises_on_ties", properties=["equal-rewards"])
