"""Figure 3 of the GDPO paper."""

import pytest

from gdpo_bench.advantages import GDPO, DomainError, collapse, make_normalizer
from gdpo_bench.advantages.collapse import as_text, count_kinds, figure_3, multisets, plot


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        ("grpo", [2, 4, 7, 11, 16]),
        ("grpo_no_std", [3, 6, 10, 15]),
        ("gdpo_no_bn", [3, 6, 14, 26, 38, 59, 81, 109]),
    ],
)
def test_two_rewards_and_growing_groups(normalizer, expected):
    assert [count_kinds(normalizer, size, 2) for size in range(2, 2 + len(expected))] == expected


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [("grpo", [7, 14, 23, 41]), ("grpo_no_std", [10, 20, 35, 56]), ("gdpo_no_bn", [14, 45, 127])],
)
def test_four_rollouts_and_growing_vectors(normalizer, expected):
    assert [count_kinds(normalizer, 4, rewards) for rewards in range(2, 2 + len(expected))] == expected


@pytest.mark.parametrize("at_once", [500, 20_000, 60_000])
@pytest.mark.parametrize(("normalizer", "kinds"), [("gdpo", 318), ("mo_grpo", 318), ("gd2po", 362), ("grpo", 41)])
def test_kinds_do_not_depend_on_how_many_groups_are_looked_at_at_once(monkeypatch, normalizer, kinds, at_once):
    monkeypatch.setattr(collapse, "_GROUPS_AT_ONCE", at_once)
    assert count_kinds(normalizer, 4, 5) == kinds


@pytest.mark.parametrize("normalizer", ["grpo_batch_std", "reinforce_pp", "reinforce_pp_baseline", "dgdo"])
def test_what_depends_on_other_groups_has_no_kinds(normalizer):
    for made in (normalizer, make_normalizer(normalizer)):
        with pytest.raises(DomainError, match="depends on the other groups of its batch"):
            count_kinds(made, 4, 2)


def test_kinds_are_counted_before_whitening_also_of_an_instance_and_of_a_text_with_options():
    assert count_kinds(GDPO(eps=0), 4, 5) == 318
    assert count_kinds("gdpo:eps=0,weights.reward_0=2", 4, 2) > count_kinds("gdpo", 4, 2)
    assert count_kinds("pass_at_k:k=2", 4, 2) == 4


def test_grpo_has_as_many_kinds_as_pairs_of_levels():
    assert [count_kinds("grpo", size, 2) for size in range(2, 9)] == [1 + g * (g - 1) // 2 for g in range(2, 9)]


def test_an_added_epsilon_splits_levels_that_grpo_does_not_have():
    assert count_kinds(make_normalizer("grpo", preset="trl"), 4, 2) > count_kinds("grpo", 4, 2)


def test_the_table_and_the_picture_hold_all_points_within_the_limit(tmp_path):
    panels = figure_3(["grpo", "gdpo_no_bn"], max_multisets=200)
    assert panels[0].points == tuple(g for g in range(2, 17) if multisets(g, 2) <= 200)
    assert panels[1].points == (1, 2)
    assert panels[1].counts == {"grpo": (4, 7), "gdpo_no_bn": (4, 14)}
    assert "gdpo_no_bn" in as_text(panels)
    plot(panels, tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_the_table_and_draws_the_picture(tmp_path, capsys):
    from gdpo_bench.cli.main import main

    assert main(["collapse", "--max-multisets", "30", "--out", str(tmp_path / "figure.svg")]) == 0
    assert "gdpo_no_bn" in capsys.readouterr().out
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")


def test_a_picture_that_cannot_be_written_is_an_error_without_a_traceback(tmp_path, capsys):
    from gdpo_bench.cli.main import main

    (tmp_path / "file").write_text("")
    assert main(["collapse", "--max-multisets", "10", "--out", str(tmp_path / "file" / "figure.png")]) == 2
    assert "Cannot write" in capsys.readouterr().err


def test_an_unknown_normalizer_is_an_error_without_a_traceback(tmp_path, capsys):
    from gdpo_bench.cli.main import main

    assert main(["collapse", "--normalizers", "gpdo", "--out", str(tmp_path / "figure.png")]) == 2
    assert "Unknown normalizer 'gpdo'" in capsys.readouterr().err
