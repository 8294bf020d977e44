"""Entries that pin options which their normalizers no longer have are as good as ever."""

from pathlib import Path

import pytest

from gdpo_bench.advantages import list_normalizers, make_normalizer, normalizer_options
from gdpo_bench.core import UnknownNameError
from gdpo_bench.leaderboard.compare.board import normalizer_labels
from gdpo_bench.leaderboard.files.removed_options import ADDED, REMOVED, with_added, without_removed
from gdpo_bench.leaderboard.files.schema import NormalizerConfig
from gdpo_bench.leaderboard.files.store import entry_files, read_entry

ROOT = Path(__file__).parents[2] / "leaderboards"
OTHER = {"zero_variance": "eps", "singleton": "raw", "baseline": "leave_one_out", "scope": "token", "ddof": 0}
OTHER |= {"eps": 0.5, "whitening_eps": 0.5, "tau": 0.5, "eps_in_root": True}


def test_every_committed_entry_names_options_that_its_normalizer_has():
    entries = [read_entry(path) for path in entry_files(ROOT)]
    assert len(entries) > 100
    for entry in entries:
        live = entry.normalizer.live_options
        assert normalizer_options(make_normalizer(entry.normalizer.name, **live)) == live


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in REMOVED for option in REMOVED[name]])
def test_a_removed_option_is_passed_over_at_its_old_default_only(name, option):
    kept = normalizer_options(make_normalizer(name))
    assert option not in kept
    assert without_removed(name, kept | {option: REMOVED[name][option]}) == kept
    strange = without_removed(name, kept | {option: "something else"})
    assert strange[option] == "something else"
    with pytest.raises(UnknownNameError):
        make_normalizer(name, **(strange | {option: OTHER.get(option, True)}))


@pytest.mark.parametrize("name", list(ADDED))
def test_an_option_that_came_later_stands_at_what_was_done_before(name):
    now = normalizer_options(make_normalizer(name))
    before = {option: value for option, value in now.items() if option not in ADDED[name]}
    assert with_added(name, before) == now
    other = now | dict.fromkeys(ADDED[name], "something else")
    assert with_added(name, other) == other


def test_the_table_names_normalizers_that_are_there():
    assert set(REMOVED) <= set(list_normalizers())


def test_an_old_and_a_new_entry_of_one_normalizer_are_of_one_configuration(measured):
    options = normalizer_options(make_normalizer("gdpo_no_bn"))
    new, old = (
        measured("gdpo_no_bn").entry.model_copy(
            update={"normalizer": NormalizerConfig(name="gdpo_no_bn", options=pinned, weights={})}
        )
        for pinned in (options, options | REMOVED["gdpo_no_bn"])
    )
    assert old.normalizer.live_options == new.normalizer.live_options == options
    assert all("scope" not in label for label in normalizer_labels([old, new]))
