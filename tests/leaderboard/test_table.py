import io

import pytest
from rich.console import Console

from gdpo_bench import RewardSpec
from gdpo_bench.leaderboard import PolicyConfig, Seed, SeedResult, make_entry
from gdpo_bench.leaderboard.compare.board import compare, distinguish
from gdpo_bench.leaderboard.show.table import render_markdown, render_results

FOUR = [
    RewardSpec("correctness", -3, 3, metric="accuracy"),
    RewardSpec("length", 0, 1, metric="exceed_ratio"),
    RewardSpec("format", 0, 1, "binary", metric="format_rate"),
    RewardSpec("integer", 0, 1),
]


def printed(entries, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_results(entries))
    return console.export_text()


def row_of(markdown, name):
    row, *_ = [line for line in markdown.splitlines() if line.startswith(f"| `{name}`")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_cell_shows_the_mean_and_the_paired_difference_with_their_intervals(entry):
    entries = [entry("gdpo", (0.9, 0.8, 0.85) * 2), entry("grpo", (0.4, 0.3, 0.38) * 2)]
    markdown = render_markdown(entries)
    # format: mean .85, sd .0447, t(5) = 2.571 → .047; differences .5, .5, .47 → .49 ± .016
    assert row_of(markdown, "gdpo")[1] == "0.85 ±0.05<br>**+0.49 ±0.02** from 0.36"
    assert row_of(markdown, "grpo")[1] == "0.36 ±0.05"
    assert row_of(markdown, "gdpo")[-3] == "6"
    text = printed(entries)
    assert "0.85 ±0.05" in text
    assert "+0.49 ±0.02 *" in text
    assert "vs grpo" in text


def test_an_interval_that_holds_zero_is_not_marked(entry):
    entries = [entry("gdpo", (0.4, 0.3, 0.5)), entry("grpo", (0.3, 0.4, 0.5))]
    assert row_of(render_markdown(entries), "gdpo")[1] == "0.40 ±0.25<br>+0.00 ±0.25 from 0.40"
    assert "*" not in printed(entries).split("First line")[0]


def test_an_interval_that_was_cut_to_the_range_shows_both_ends(entry):
    text = render_markdown([entry("gdpo", (0.9, 0.8, 1.0)), entry("grpo", (0.5, 0.6, 0.7))])
    assert row_of(text, "gdpo")[1] == "0.90 [0.65, 1.00]<br>+0.30 ±0.25 from 0.60"


def test_success_and_failure_are_counted_not_averaged(entry):
    text = render_markdown([entry("gdpo", [0.9] * 9 + [0.0]), entry("grpo", [0.1] * 10)])
    # Clopper and Pearson of 9 of 10; McNemar of nine that differ, all one way: p = .004
    assert row_of(text, "gdpo")[1] == "9 of 10 [0.55, 1.00]<br>**+9 of 10 [+0.49, +0.98]** from 0 of 10"
    assert row_of(text, "grpo")[1] == "0.10 ±0.00"


def test_with_five_units_nothing_is_bold_and_that_is_said(entry):
    text = render_markdown([entry("gdpo", [0.9] * 5), entry("grpo", [0.5] * 5)])
    assert "**" not in row_of(text, "gdpo")[1]
    assert "No difference can be told from chance with fewer than 6 units." in text


def test_a_metric_that_repeats_a_reward_has_no_column_of_its_own(entry):
    text = render_markdown([entry("gdpo"), entry("grpo")])
    assert "| format<br>[0, 1]<br>= format_rate | correct<br>[-3, 3] | accuracy<br>share |" in text


def test_five_normalizers_and_four_rewards_fit_into_100_columns(entry):
    names = ("gdpo", "gdpo_no_bn", "grpo", "grpo_no_std", "grpo_scaled")
    text = printed([entry(name, (0.5, 0.6, 0.7 + i / 50), specs=FOUR) for i, name in enumerate(names)])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    for name in names:  # each on a line of its own, no word broken: in the table, and in that of what was learned
        assert len([line for line in lines if line.split()[:1] == [name]]) == 2
    assert text.count("vs grpo") == 4
    assert "…" not in text


def test_rows_are_sorted_by_name_and_the_text_does_not_depend_on_the_order_of_entries(entry, replay):
    entries = [entry("grpo_scaled"), entry("gdpo"), entry("grpo"), replay("grpo", 7), replay("gdpo", 14)]
    text = render_markdown(entries)
    assert text == render_markdown(entries[::-1])
    names = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and ".json" in line]
    assert names == ["gdpo", "grpo", "grpo_scaled", "gdpo", "grpo"]


def test_a_dominated_row_is_marked_and_the_winner_is_not(entry):
    text = render_markdown([entry("gdpo", (0.9, 0.8, 0.85) * 2), entry("grpo", (0.4, 0.3, 0.38) * 2)])
    assert row_of(text, "grpo")[0] == "`grpo` †"
    assert row_of(text, "gdpo")[0] == "`gdpo`"


def test_entries_that_differ_in_more_than_the_normalizer_are_never_in_one_table(entry):
    entries = [entry("gdpo", steps=(0, 10)), entry("grpo", steps=(0, 20))]
    comparisons = compare(entries)
    assert [c.heading for c in comparisons] == ["mini:steps=10", "mini:steps=20"]
    assert all(cell.difference is None for c in comparisons for row in c.rows for cell in row.cells)
    assert "No entry of grpo in this setting" in render_markdown(entries)


def test_rows_of_two_revisions_of_a_grader_are_never_in_one_table(entry):
    comparisons = compare([entry("gdpo"), entry("grpo", grader_revision=2), entry("gdpo", grader_revision=2)])
    assert [c.heading for c in comparisons] == ["mini:grader_revision=2", "mini:grader_revision=1"]
    assert [[row.label for row in c.rows] for c in comparisons] == [["gdpo", "grpo"], ["gdpo"]]


def test_entries_with_more_or_fewer_warm_starts_are_in_one_table_unless_a_shared_one_imitated_something_else(entry):
    def started(name, corpora, **options):
        seeds = [Seed(warm_start=int(seed), rl=0) for seed in corpora]
        envs = [{"id": "gdpo/TestMini-v0", "options": {"rare": True}}, {"id": "gdpo/Other-v0", "options": options}]
        policy = PolicyConfig(name="mini", details={"warm_start_corpus": corpora, "warm_start_envs": envs})
        return entry(name, [0.5] * len(seeds), seeds=seeds, policy=policy)

    many, few = started("gdpo", {"0": "a", "1": "b", "2": "c"}), started("grpo", {"0": "a", "1": "b"})
    unlike = started("rloo", {"1": "another", "5": "f"})
    elsewhere = started("opo", {"0": "a"}, rate=0.5)
    first, *others = compare([many, few, unlike, elsewhere])
    assert [row.label for row in first.rows] == ["gdpo", "grpo"]
    assert first.rows[0].cells[0].difference.n == 2
    assert {other.rows[0].label: other.heading for other in others} == {
        "rloo": "mini:imitating=defaults #2",  # told apart by a hash, which says nothing to a reader
        "opo": "mini:imitating=Other-v0:rate=0.5",
    }


def test_configurations_of_one_normalizer_are_told_apart_by_what_differs(entry):
    one = entry("gdpo", options={"eps": 1e-6, "ddof": 1})
    two = entry("gdpo", options={"eps": 1e-4, "ddof": 1})
    three = entry("grpo", weights={"format": 2.0, "correct": 1.0})
    (found,) = compare([one, two, three, entry("grpo")])
    assert [row.label for row in found.rows] == [
        "gdpo:eps=0.0001",
        "gdpo:eps=1e-06",
        "grpo",
        "grpo:weights.format=2.0",
    ]
    assert found.baseline == "grpo"


def test_the_same_run_with_other_numbers_is_another_row(entry):
    entries = [entry("gdpo", (0.9, 0.8)), entry("gdpo", (0.9, 0.7))]
    (found,) = compare(entries)
    assert [row.label for row in found.rows] == ["gdpo #1", "gdpo #2"]


def test_a_younger_row_of_the_same_run_changes_no_label(entry, make_provenance):
    entries = [
        entry("gdpo", (0.9, final), provenance=make_provenance(date=f"2026-01-0{9 - i}T00:00:00Z"))
        for i, final in enumerate((0.8, 0.7, 0.6))
    ]
    (all_three,), (older,) = compare(entries), compare(entries[1:])
    labels = {row.entry.id: row.label for row in all_three.rows}
    assert {row.entry.id: row.label for row in older.rows}.items() <= labels.items()


def test_a_difference_follows_from_the_two_means_beside_it_whatever_seeds_the_rows_have(entry):
    seeds = [Seed(warm_start=i, rl=0) for i in range(10)]
    finals = [0.1, 0.2, 0.15, 0.45, 0.2, 0.9, 0.8, 0.85, 0.9, 0.95]  # the baseline fares better on later seeds
    base = entry("grpo", finals, seeds=seeds)
    fewer = entry("gdpo", [value + 0.05 for value in finals[:5]], seeds=seeds[:5])
    more = entry(
        "rloo",
        [value + 0.05 for value in finals] + [0.0, 0.0],
        seeds=[*seeds, *(Seed(warm_start=i, rl=0) for i in (10, 11))],
    )
    (found,) = compare([base, fewer, more])
    for row in found.rows:
        for cell in row.cells:
            if cell.difference is not None:
                assert cell.estimate.mean - cell.baseline == pytest.approx(cell.difference.mean)
                assert cell.estimate.n == cell.difference.n
                assert cell.difference.mean > 0
    markdown = render_markdown([base, fewer, more])
    assert row_of(markdown, "gdpo")[1].endswith("from 0.22")
    assert row_of(markdown, "rloo")[1].endswith("from 0.55")
    assert [row_of(markdown, name)[-3] for name in ("grpo", "gdpo", "rloo")] == ["10", "5", "10"]
    text = printed([base, fewer, more])
    assert "vs grpo, n=5" in text
    assert text.count("from 0.22") == 2  # format and accuracy; of rloo the baseline's own row says it
    assert "from 0.55" not in text


def test_names_that_occur_once_stay_as_they_are():
    assert distinguish(["a", "b", "b"], [{"x": 1}, {"x": {"y": 1}}, {"x": {"y": 2}}]) == ["a", "b:x.y=1", "b:x.y=2"]


@pytest.mark.parametrize(
    ("seeds", "note"),
    [
        ([Seed(warm_start=0, rl=0), Seed(warm_start=0, rl=1)], "one warm start: the intervals cover RL seeds only"),
        ([Seed(warm_start=0, rl=0), Seed(warm_start=1, rl=0)], "Unit: the warm start"),
        ([Seed(warm_start=None, rl=0), Seed(warm_start=None, rl=1)], "Unit: the RL seed"),
        ([Seed(warm_start=0, rl=0)], "One run each: no intervals"),
    ],
)
def test_the_note_says_what_the_intervals_cover(entry, seeds, note):
    entries = [entry(name, (0.5, 0.6)[: len(seeds)], seeds=seeds) for name in ("gdpo", "grpo")]
    assert note in render_markdown(entries)
    assert note in printed(entries, width=200)


def test_a_reward_that_never_applies_has_no_number(entry):
    first = entry("gdpo")
    results = [SeedResult(**{**dict(r), "applicable_share": {"correct": 0.0}}) for r in first.results]
    nowhere = make_entry(
        track="training",
        environment=first.environment,
        normalizer=first.normalizer,
        policy=first.policy,
        training=first.training,
        results=results,
        provenance=first.provenance,
    )
    text = render_markdown([nowhere, entry("grpo")])
    assert row_of(text, "gdpo")[2] == "–"
    assert "Means of correct are over the rollouts that they apply to." in text


def test_the_advantage_track_shows_what_the_learner_could_tell_apart(replay):
    text = render_markdown([replay("gdpo", 14), replay("grpo", 7)])
    assert "| normalizer | distinct levels | zero-signal share | format<br>[0, 1] | correct<br>[-3, 3] |" in text
    assert row_of(text, "gdpo")[1:5] == ["14", "25.0%", "1.00", "0.50"]
    assert row_of(text, "grpo")[1:5] == ["7", "25.0%", "1.00", "0.50"]


def test_counts_of_the_advantage_track_are_readable_and_agreement_with_labels_is_noted(replay):
    found = replay("gdpo", 12345, diagnostics={"collapsed_rollouts": 3, "labels": 5276, "label_agreement": 0.99981})
    text = render_markdown([found])
    assert row_of(text, "gdpo")[1:4] == ["12,345", "25.0%", "3"]
    assert "agrees with the data's own labels on 99.98% of 5,276 labelled replies." in text


def test_each_replayed_policy_has_its_own_table(replay):
    text = render_markdown([replay(policy="replay:6B"), replay(policy="replay:175B")])
    assert "`replay:175B`, test split, 1 task\n" in text
    assert "`replay:6B`, test split, 1 task\n" in text


def test_entries_are_linked_relative_to_the_board(entry):
    found = entry()
    assert f"(training/gdpo/TestMini-v0/{found.id}.json)" in row_of(render_markdown([found]), "gdpo")[-1]


def test_small_ranges_show_more_digits_and_nothing_is_minus_zero(entry):
    tiny = [RewardSpec("r", -0.001, 0.001)]
    text = render_markdown([entry("gdpo", (0.5, 0.5), specs=tiny), entry("grpo", (0.5, 0.75), specs=tiny)])
    assert row_of(text, "gdpo")[1].startswith("0.00000 ±0.00000<br>-0.00025")
    assert "-0.00000" not in text


def test_text_from_an_entry_cannot_break_the_table(entry):
    text = render_markdown([entry("a|b`c\n<script>")])
    assert "| `a\\|b'c <script>` |" in text


def test_an_empty_board_is_a_table_that_says_so():
    assert render_markdown([]).count("No entries yet.") == 2


def test_the_advantage_track_fits_a_narrow_terminal(replay):
    text = printed([replay("gdpo", 14), replay("grpo", 7)], width=80)
    assert "…" not in text
    assert "whatever the normalizer: format 1.00, correct 0.50" in text


def test_a_sentence_says_where_a_difference_is_clear(entry):
    clear = [entry("gdpo", (0.9, 0.91, 0.9) * 2), entry("grpo", (0.5, 0.51, 0.52) * 2)]
    assert "Against grpo, gdpo: higher format, correct, accuracy." in printed(clear)
    unclear = [entry("gdpo", (0.5, 0.9) * 3), entry("grpo", (0.6, 0.7) * 3)]
    assert "Against grpo, gdpo: no clear difference." in printed(unclear)


def test_at_80_columns_no_column_and_no_number_is_cut_off(entry):
    entries = [entry("gdpo", (0.9, 0.8, 0.85), specs=FOUR), entry("grpo", (0.4, 0.3, 0.38), specs=FOUR)]
    wide, narrow = printed(entries, 200), printed(entries, 80)
    assert "…" not in narrow
    assert max(len(line.rstrip()) for line in narrow.splitlines()) <= 80
    numbers = [word for word in wide.split() if word[:1] in "+-±0123456789"]
    assert set(numbers) == {word for word in narrow.split() if word[:1] in "+-±0123456789"}
    for title in ("correctness", "length", "format", "integer", "exceed_ratio"):
        assert title in narrow
