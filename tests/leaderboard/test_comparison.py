"""Two entries side by side, and what the rows of a table say of each other."""

import io

import pytest
from rich.console import Console

from gdpo_bench import RewardSpec
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.core import DataError
from gdpo_bench.leaderboard import Seed, SeedResult, make_entry
from gdpo_bench.leaderboard.compare.board import compare
from gdpo_bench.leaderboard.compare.pair import compare_pair
from gdpo_bench.leaderboard.files.store import Board, write_entry
from gdpo_bench.leaderboard.show.pair import render_pair, verdict_words

HIGH, LOW = (0.9, 0.8, 0.85, 0.9, 0.86, 0.84), (0.4, 0.35, 0.38, 0.4, 0.37, 0.36)


def printed(comparison, width=140):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_pair(comparison))
    return console.export_text()


def with_rewards(entry, **finals):
    """The same entry, each named reward changed to the given finals, one a seed."""
    results = []
    for i, result in enumerate(entry.results):
        rewards = {
            name: curve.of([*curve.curve[:-1], finals[name][i]]) if name in finals else curve
            for name, curve in result.rewards.items()
        }
        results.append(SeedResult(**{**dict(result), "rewards": rewards}))
    return rebuilt(entry, results=results)


def rebuilt(entry, **changes):
    kept = ("track", "environment", "normalizer", "policy", "training", "results", "provenance")
    return make_entry(**{name: getattr(entry, name) for name in kept} | changes)


def words(comparison):
    return {reward.name: verdict_words(reward) for reward in comparison.rewards}


def test_better_in_all_rewards_dominates(entry):
    found = compare_pair(entry("gdpo", HIGH), entry("grpo", LOW))
    assert words(found) == {"format": "better", "correct": "better"}
    assert found.relation == "dominates"
    text = printed(found)
    assert "gdpo dominates grpo" in text
    assert "6 RL seeds, 6 runs" in text
    assert "corrected over 2 rewards" in text
    assert "All runs began from one warm start" in text


def test_swapped_it_is_worse(entry):
    found = compare_pair(entry("grpo", LOW), entry("gdpo", HIGH))
    assert words(found) == {"format": "worse", "correct": "worse"}
    assert found.relation == "is dominated"


def test_a_loss_in_one_reward_is_a_trade_off(entry):
    baseline = entry("grpo", LOW)
    found = compare_pair(with_rewards(entry("gdpo", HIGH), correct=(-2.0, -2.1, -2.0, -2.1, -2.0, -2.2)), baseline)
    assert words(found) == {"format": "better", "correct": "worse"}
    assert found.relation == "trade-off"


def test_one_undecided_reward_forbids_dominance_although_its_mean_is_higher(entry):
    baseline = entry("grpo", LOW)
    own = [value.final for value in (result.rewards["correct"] for result in baseline.results)]
    found = compare_pair(
        with_rewards(
            entry("gdpo", HIGH), correct=[x + d for x, d in zip(own, (1, -0.8, 0.5, -0.2, 0.9, -0.8), strict=True)]
        ),
        baseline,
    )
    correct = found.rewards[1]
    assert correct.difference.mean > 0
    # t(.975, 5) = 2.571 times the standard error of the six, .332
    assert verdict_words(correct) == "no difference seen (interval [-0.76, +0.96])"
    assert found.relation == "undecided"


def test_what_correction_takes_away_is_not_called_clear(entry):
    # Six of six units higher, p = .031: clear by itself, not beside a reward that a pattern of signs would make so too.
    shifts = (0.1, 0.12, 0.09, 0.1, 0.11, 0.1)
    other = (0.1, -0.1, 0.1, -0.1, 0.1, -0.1)
    baseline = entry("grpo", (0.5,) * 6)
    found = compare_pair(with_rewards(entry("gdpo", [0.5 + x for x in shifts]), correct=other), baseline)
    format_ = found.rewards[0]
    assert format_.difference.excludes_zero
    assert format_.difference.p <= 0.05 < format_.corrected_p
    assert verdict_words(format_).startswith("not clear (interval [+0.09")
    assert found.relation == "undecided"


def test_outcomes_that_succeed_or_fail_are_counted(entry):
    finals = (0.9, 0.95, 0.02, 0.9, 0.92, 0.9)
    found = compare_pair(entry("gdpo", finals), entry("grpo", (0.01,) * 6))
    first, difference = found.rewards[0].first, found.rewards[0].difference
    assert (first.count.k, first.n, first.interval) == (5, 6, None)
    assert (difference.count.k, difference.wins, difference.losses) == (5, 5, 0)
    assert difference.p == pytest.approx(2 / 2**5)  # McNemar: five of five that differ
    text = printed(found)
    assert "5 of 6 [0.36, 1.00]" in text
    assert "+5 of 6 [" in text


def test_five_units_are_too_few_for_a_verdict_however_clear_they_look(entry):
    found = compare_pair(entry("gdpo", HIGH[:5]), entry("grpo", LOW[:5]))
    assert {reward.verdict for reward in found.rewards} == {"undecided"}
    assert verdict_words(found.rewards[0]).startswith("too few to tell: 5 units (interval [+0.4")


def test_equal_numbers_are_called_equal(entry):
    found = compare_pair(entry("gdpo", HIGH), entry("grpo", HIGH))
    assert words(found) == {"format": "equal in every run", "correct": "equal in every run"}
    assert "the same rewards in every run" in printed(found)


def test_without_shared_seeds_nothing_is_compared(entry):
    seeds = [[Seed(warm_start=w, rl=i) for i in range(3)] for w in (0, 1)]
    found = compare_pair(entry("gdpo", HIGH[:3], seeds=seeds[0]), entry("grpo", LOW[:3], seeds=seeds[1]))
    assert set(words(found).values()) == {"cannot be compared: no shared seeds"}
    assert "share no seeds" in printed(found)


def test_one_shared_run_gives_no_verdict(entry):
    found = compare_pair(entry("gdpo", (0.9,)), entry("grpo", LOW))
    assert set(words(found).values()) == {"cannot be told: one unit, no interval"}
    assert "1 RL seed, 1 run." in printed(found)
    assert "dominate" not in printed(found)


def test_clusters_and_runs_are_counted_apart(entry):
    seeds = [Seed(warm_start=w, rl=i) for w in range(3) for i in range(2)]
    text = printed(compare_pair(entry("gdpo", HIGH, seeds=seeds), entry("grpo", LOW, seeds=seeds)))
    assert "3 warm starts, 6 runs" in text
    assert "Student's t" in text


def test_the_method_is_named(entry):
    seeds = [Seed(warm_start=i, rl=i) for i in range(10)]
    finals = [0.5 + i / 50 for i in range(10)]
    text = printed(compare_pair(entry("gdpo", finals, seeds=seeds), entry("grpo", finals[::-1], seeds=seeds)))
    assert "10 warm starts, 10 runs" in text
    assert "exact sign flips" in text


def test_what_was_not_run_alike_is_refused_with_the_reasons(entry):
    first, second = entry("gdpo", HIGH), entry("grpo", LOW, steps=(0, 30))
    with pytest.raises(DataError, match=r"training\.steps: 20 / 30\n.*--anyway"):
        compare_pair(first, second)


def test_two_revisions_of_a_grader_are_refused_by_name(entry):
    with pytest.raises(DataError, match=r"environment\.grader_revision: 1 / 2\n"):
        compare_pair(entry("gdpo", HIGH), entry("grpo", LOW, grader_revision=2))


def test_a_training_option_that_an_older_entry_does_not_name_had_the_value_that_it_was_run_with(entry):
    old = entry("grpo", LOW)

    def naming(**options):
        return rebuilt(entry("gdpo", HIGH), training={**old.training, **options})

    same = naming(adam_beta1=0.9, adam_beta2=0.95, adam_epsilon=1e-8)
    assert words(compare_pair(same, old)) == {"format": "better", "correct": "better"}
    (one,) = compare([same, old])
    assert (one.heading, len(one.rows)) == ("mini", 2)
    other = naming(adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8)
    with pytest.raises(DataError, match=r"training\.adam_beta2: 0\.999 / 0\.95\n.*--anyway"):
        compare_pair(other, old)
    assert sorted(found.heading for found in compare([other, old])) == ["mini:adam_beta2=0.95", "mini:adam_beta2=0.999"]


def test_a_difference_that_rounds_to_nothing_has_no_minus_sign(entry):
    baseline = entry("grpo", HIGH)
    shifts = (-3e-6, 1e-6, -3e-6, 1e-6, -3e-6, 1e-6)
    nearly = [result.rewards["format"].final + shift for result, shift in zip(baseline.results, shifts, strict=True)]
    found = compare_pair(with_rewards(entry("gdpo", HIGH), format=nearly), baseline)
    assert words(found)["format"] == "no difference seen (interval [+0.00, +0.00])"
    assert "+0.00 ±0.00" in printed(found)
    assert "-0.0" not in printed(found)


def test_it_is_compared_on_request_and_that_is_said(entry):
    other = [RewardSpec("format", 0, 1, "binary", metric="format_rate"), RewardSpec("brief", 0, 1)]
    found = compare_pair(entry("gdpo", HIGH), entry("grpo", LOW, environment="gdpo/Other-v0", specs=other), anyway=True)
    assert list(words(found)) == ["format"]
    text = printed(found)
    assert "Not run alike" in text
    assert "environment.id: gdpo/TestMini-v0 / gdpo/Other-v0" in text
    assert "gdpo on gdpo/TestMini-v0" in text
    assert "dominate" not in text
    with pytest.raises(DataError, match="no reward of the same name and range"):
        compare_pair(entry(), entry("grpo", environment="gdpo/Other-v0", specs=other[1:]), anyway=True)


def test_more_warm_starts_on_one_side_are_no_difference_of_settings(entry):
    def on(corpora, found):
        details = {**found.policy.details, "warm_start_corpus": corpora}
        return rebuilt(found, policy=found.policy.model_copy(update={"details": details}))

    first, second = entry("gdpo", HIGH), entry("grpo", LOW)
    compare_pair(on({"0": "aa"}, first), on({"0": "aa", "1": "bb"}, second))
    with pytest.raises(DataError, match=r"warm_start_corpus\.0: aa / cc"):
        compare_pair(on({"0": "aa"}, first), on({"0": "cc"}, second))


def test_the_advantage_track_has_no_rewards_to_compare(replay):
    with pytest.raises(DataError, match="Nothing was trained"):
        compare_pair(replay("gdpo"), replay("grpo"))


def test_in_a_table_only_what_surely_wins_dominates(entry):
    (found,) = compare([entry("gdpo", HIGH), entry("grpo", LOW), entry("noisy", (0.9, 0.1, 0.8, 0.2, 0.6, 0.4))])
    assert {row.label: row.dominated_by for row in found.rows} == {"gdpo": (), "grpo": ("gdpo",), "noisy": ()}
    (found,) = compare([entry("gdpo", (0.9,)), entry("grpo", (0.1,))])
    assert all(row.dominated_by == () for row in found.rows)


def test_everything_that_may_be_marked_in_a_table_is_corrected_together(entry):
    seen = entry("gdpo", (0.6, 0.55, 0.7, 0.6, 0.58, 0.62, 0.47))
    base = entry("grpo", (0.5,) * 7)
    shifts = [(1, -1, 1, -1, 1, -1, 1), (1, 1, -1, -1, 1, 1, -1), (-1, 1, 1, 1, -1, 1, -1)]
    others = [entry(f"noise{i}", [0.5 + x / 10 for x in own]) for i, own in enumerate(shifts)]
    (alone,), (together,) = compare([seen, base]), compare([seen, base, *others])
    assert alone.rows[0].cells[0].verdict == "better"
    assert together.rows[0].cells[0].difference == alone.rows[0].cells[0].difference
    assert together.rows[0].cells[0].corrected_p > alone.rows[0].cells[0].corrected_p
    assert together.rows[0].cells[0].verdict == "undecided"


@pytest.fixture
def board(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    found = Board(tmp_path / "leaderboards")
    for one in (entry("gdpo", HIGH), entry("grpo", LOW)):
        found.file(one)
    return found


def test_entries_are_named_by_digits_of_their_id_or_by_file(board, entry, capsys):
    first, second = board.entries
    assert main(["compare", first[:6], second]) == 0
    assert "better" in capsys.readouterr().out
    mine = write_entry(entry("mine", HIGH), board.root / "..")
    assert main(["compare", str(mine), second[:8]]) == 0
    assert "mine dominates grpo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing.json", "expected an entry's file"), ("0" * 16, "No entry under leaderboards has an id")],
)
def test_an_unknown_entry_is_a_users_mistake(board, name, message, capsys):
    assert main(["compare", name, name]) == 2
    assert message in capsys.readouterr().err


def test_the_flag_is_what_the_error_says(board, entry, capsys):
    odd = board.file(entry("grpo", LOW, steps=(0, 30)))
    first = next(iter(board.entries))
    assert main(["compare", first, odd.stem]) == 2
    assert "--anyway" in capsys.readouterr().err
    assert main(["compare", first, odd.stem, "--anyway"]) == 0
    assert "Not run alike" in capsys.readouterr().out
