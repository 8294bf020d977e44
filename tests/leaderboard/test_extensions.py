"""Plans that go on with others: both entries stay, and tables show all of their seeds in one row."""

import re

import pytest

from gdpo_bench.leaderboard import PolicyConfig, Seed, make_entry
from gdpo_bench.leaderboard.compare.board import compare
from gdpo_bench.leaderboard.compare.extensions import extensions, with_extensions
from gdpo_bench.leaderboard.compare.pooled import pool
from gdpo_bench.leaderboard.compare.tuning import tuned_settings
from gdpo_bench.leaderboard.files.attestation import Attestation, status
from gdpo_bench.leaderboard.files.schema import PlanReference
from gdpo_bench.leaderboard.show.page import render_page, render_site
from gdpo_bench.leaderboard.show.table import render_markdown

FIRST = {"horizons": [10, 20], "clusters": 6}
MORE = FIRST | {"clusters": 2, "extends": [PlanReference.of(FIRST, "test").hash, "0" * 16]}
KEPT = ("track", "environment", "normalizer", "policy", "training", "results", "provenance")


@pytest.fixture
def planned(entry):
    def make(name, finals, *, first=0, declared=FIRST, role="test", corpus="a" * 16, changed=(), **fields):
        seeds = [Seed(warm_start=first + i, rl=first + i) for i in range(len(finals))]
        imitated = {str(seed.warm_start): corpus for seed in seeds}
        policy = PolicyConfig(name="mini", details={"layers": 2, "warm_start_corpus": imitated})
        found = entry(name, finals, seeds=seeds, policy=policy, **fields)
        parts = {part: getattr(found, part) for part in KEPT} | {"plan": PlanReference.of(declared, role)}
        return make_entry(**parts | {"training": found.training | {"learning_rate": 1e-3} | dict(changed)})

    return make


@pytest.fixture
def board(planned):
    return [
        planned("grpo", [0.4, 0.42, 0.41, 0.4, 0.43, 0.4]),
        planned("gdpo", [0.6, 0.62, 0.61, 0.6, 0.63, 0.6]),
        planned("grpo", [0.3, 0.32], first=6, declared=MORE),
        planned("gdpo", [0.9, 0.92], first=6, declared=MORE),
    ]


def test_one_row_stands_for_both_with_all_of_their_seeds(board):
    *_, last = compare(board)
    assert [(row.label, len(row.entry.results), len(row.parts)) for row in last.rows] == [
        ("gdpo", 8, 2),
        ("grpo", 8, 2),
    ]
    assert last.rows[0].cells[0].estimate.mean == pytest.approx((0.6 * 3 + 0.62 + 0.61 + 0.63 + 0.9 + 0.92) / 8)
    assert last.rows[0].cells[0].difference.n == 8
    assert [one.seed.warm_start for one in last.rows[0].entry.results] == list(range(8))
    text = render_markdown(board)
    for first, second in zip(board[:2], board[2:], strict=True):
        assert re.search(rf"\| 8 \| self-reported \| \[`{first.id[:8]}`\]\(\S+\), \[`{second.id[:8]}`\]", text)


def test_they_keep_the_order_the_id_and_the_plan_of_what_is_extended(board):
    assert [one.id for one in with_extensions(board)] == [board[0].id, board[1].id]
    assert [one.id for one in with_extensions(board[::-1])] == [board[1].id, board[0].id]
    whole = with_extensions(board)[0]
    assert whole.plan == board[0].plan
    assert set(whole.policy.details["warm_start_corpus"]) == {str(i) for i in range(8)}
    assert len(board[0].results) == 6
    assert with_extensions(with_extensions(board)) == with_extensions(board)


def test_one_may_go_on_with_what_goes_on(planned, board):
    third = FIRST | {"clusters": 1, "extends": PlanReference.of(MORE, "test").hash}
    last = planned("gdpo", [0.5], first=8, declared=third)
    assert sorted(one.id for one in extensions([last, *board])[board[1].id]) == sorted([board[3].id, last.id])
    assert [len(one.results) for one in with_extensions([*board, last])] == [8, 9]


@pytest.mark.parametrize(
    "other",
    [
        {"first": 5},
        {"declared": FIRST | {"clusters": 2}},
        {"declared": FIRST | {"extends": "0" * 16}},
        {"role": "tuning"},
        {"changed": {"learning_rate": 1e-4}},
        {"options": {"eps": 1e-4}},
        {"weights": {"format": 2.0, "correct": 1.0}},
        {"environment": "gdpo/OtherMini-v0"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_unlike_in_anything_but_the_seeds_stands_alone(planned, board, other):
    one = planned("gdpo", [0.9, 0.92], **{"first": 6, "declared": MORE} | other)
    assert extensions([*board[:2], one]) == {}
    assert with_extensions([*board[:2], one]) == [*board[:2], one]


def test_warm_starts_that_disagree_are_not_joined(planned, board):
    for corpus, joined in (("a" * 16, 1), ("b" * 16, 0)):
        one = planned("gdpo", [0.9], declared=MORE, first=5, corpus=corpus)
        results = [one.results[0].model_copy(update={"seed": Seed(warm_start=5, rl=77)})]
        one = make_entry(**{part: getattr(one, part) for part in KEPT} | {"results": results, "plan": one.plan})
        assert len(extensions([*board[:2], one])) == joined


def test_without_what_it_extends_it_stands_as_it_is(board):
    assert with_extensions(board[2:]) == board[2:]


def test_of_two_with_the_same_seeds_one_is_joined(planned, board):
    again = planned("gdpo", [0.1, 0.12], first=6, declared=MORE | {"clusters": 3})
    assert sorted(len(one.results) for one in with_extensions([*board, again])) == [2, 8, 8]


def test_what_was_tuned_is_measured_by_all_seeds(planned):
    tuning = {"learning_rates": [1e-3], "seeds": ["90:90"], "target": "format"}
    declared = FIRST | {"tuning": tuning}
    more = MORE | {"extends": PlanReference.of(declared, "test").hash}
    found = [
        planned("gdpo", [0.5], first=90, declared=declared, role="tuning"),
        planned("gdpo", [0.6] * 6, declared=declared),
        planned("gdpo", [0.9, 0.92], first=6, declared=more),
    ]
    (setting,) = tuned_settings(found)
    ((_, outcome),) = setting.outcomes
    assert outcome.estimate.n == 8
    tuned = [one for one in compare(found) if one.tuned]
    assert [(len(row.entry.results), len(row.parts)) for one in tuned for row in one.rows] == [(8, 2)] * 2


def test_pooled_views_have_all_seeds(planned, board):
    elsewhere = [planned(name, [0.5] * 8, environment="gdpo/OtherMini-v0") for name in ("grpo", "gdpo")]
    (view,) = pool([*board, *elsewhere])
    assert {row.runs for row in view.rows} == {16}


def test_on_the_page_each_entry_has_its_card_and_the_row_names_both(board):
    page = render_page(board)
    for one in board:
        assert f'id="e-{one.id}"' in page
        assert f'href="#e-{one.id}"' in page
    assert len(re.findall(r"n = 8 warm starts", page)) >= 2
    assert render_site(board)


def test_a_row_is_reproduced_if_each_of_its_entries_is(board, make_provenance):
    def attested(one):
        return Attestation(
            entry=one.id,
            seeds=[result.seed for result in one.results],
            criterion="equal",
            largest_difference={"format": 0.0, "correct": 0.0},
            provenance=make_provenance(author="another", status="reproduced"),
        )

    repeated = {board[1].id: [attested(board[1])]}
    assert status([board[1]], repeated) == "reproduced"
    assert status([board[1], board[3]], repeated) == "self-reported"
    assert status([board[1], board[3]], repeated | {board[3].id: [attested(board[3])]}) == "reproduced"
