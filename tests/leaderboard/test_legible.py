"""Text of an entry is text: no terminal obeys it, and no README or page renders it."""

import re
from pathlib import Path

import pytest

from gdpo_bench import RewardSpec
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.leaderboard import PolicyConfig, make_entry
from gdpo_bench.leaderboard.files.legible import legible
from gdpo_bench.leaderboard.files.store import Measured, write_entry, write_measured
from gdpo_bench.leaderboard.show.page import render_page
from gdpo_bench.leaderboard.show.table import render_markdown

EVIL = (
    "\x1b]0;owned\x07\x1b[31m\x9b2J\u202e [/nope] [bold](x)\n# Title\n| a | b |\n"
    "![i](http://e.vil/x.png)<img src=x onerror=e>`_b_**c**"
)
ESCAPES = {chr(i) for i in range(32) if i != 10} | {chr(i) for i in range(127, 160)} | {"\u202e"}


def renamed(one, **changes):
    kept = ("track", "environment", "normalizer", "policy", "training", "results", "sidecar", "provenance")
    return make_entry(**{name: getattr(one, name) for name in kept} | changes)


def evil_entry(entry, make_provenance):
    """An entry with hostile text in whatever field takes any."""
    one = entry(
        EVIL,
        specs=[RewardSpec("good", 0, 1)],
        options={EVIL: EVIL},
        policy=PolicyConfig(name=EVIL, details={EVIL: [EVIL, {EVIL: EVIL}], "rollout": EVIL}),
        provenance=make_provenance(author=EVIL, command=EVIL, versions={EVIL: EVIL}, git_sha=EVIL),
    )
    environment = one.environment.model_copy(update={"split": EVIL, "data_revision": EVIL, "options": {EVIL: EVIL}})
    return renamed(one, environment=environment)


def plain(text):
    return not ESCAPES & set(text)


def test_a_legible_entry_has_printable_text_on_one_line_in_every_field(entry, make_provenance):
    evil = evil_entry(entry, make_provenance)
    assert not plain(str(evil.normalizer.name))
    shown = legible(evil)
    assert plain(shown.model_dump_json().encode().decode("unicode_escape").replace("\n", ""))
    assert shown.id == evil.id
    good = entry()
    assert legible(good) is good
    assert legible([good])[0] is good


def test_the_generated_readme_renders_nothing_of_an_entry(entry, make_provenance):
    evil = evil_entry(entry, make_provenance)
    rows = [
        legible(evil),
        legible(renamed(evil, normalizer=evil.normalizer.model_copy(update={"name": "grpo" + EVIL}))),
    ]
    ordinary = render_markdown([entry()])
    found = render_markdown(rows)
    assert plain(found)
    lines = found.splitlines()
    assert sum(line.startswith("#") for line in lines) == sum(line.startswith("#") for line in ordinary.splitlines())
    outside = [part for line in lines for part in line.split("`")[::2]]
    for sign in ("<img", "![", "http://", "**c**", "_b_"):
        assert not any(sign in part for part in outside), sign
    for table in re.findall(r"(?:^\|.*\n)+", found, re.MULTILINE):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_the_page_renders_nothing_of_an_entry(entry, make_provenance):
    evil = evil_entry(entry, make_provenance)
    page = render_page([legible(evil)])
    assert plain(page.replace("\t", "").replace("\r", ""))
    assert "<img src=x" not in page
    assert "onerror=e>" not in page


@pytest.fixture
def board(entry, make_provenance, tmp_path):
    evil = evil_entry(entry, make_provenance)
    other = renamed(evil, normalizer=evil.normalizer.model_copy(update={"name": EVIL + "2"}))
    return tmp_path, [str(write_entry(one, tmp_path)) for one in (evil, other)]


def test_no_command_sends_an_escape_to_the_terminal(board, entry, measured, tmp_path, capsys):
    _, (first, second) = board
    third = str(write_entry(entry(), tmp_path / "c"))
    commands = [["compare", first, second], ["compare", first, third], ["compare", first, third, "--anyway"]]
    commands += [["reproduce", first], ["validate", first], ["submit", first, "--root", str(tmp_path / "b")]]
    good = measured()
    config = good.entry.normalizer.model_copy(update={"name": EVIL})
    write_measured(Measured(renamed(good.entry, normalizer=config), good.sidecar), tmp_path / "run/entries")
    commands += [["submit", str(tmp_path / "run"), "--root", str(tmp_path / "board")]] * 2
    for words in commands:
        main(words)
        printed = capsys.readouterr()
        assert plain(printed.out.replace("\t", "")), words
        assert plain(printed.err.replace("\t", "")), words
        assert "Traceback" not in printed.err
    assert (tmp_path / "board" / "README.md").is_file()


def test_markup_of_rich_is_printed_as_it_is(entry, tmp_path, capsys):
    paths = [str(write_entry(entry(name), tmp_path)) for name in ("[/nope] [bold", "[red]x")]
    assert main(["compare", *paths]) == 0
    printed = capsys.readouterr().out
    assert "[/nope]" in printed
    assert "[red]x" in printed


def test_ordinary_names_stand_in_the_readme_as_they_are():
    assert main(["table", "--check", "--root", str(Path(__file__).parents[2] / "leaderboards")]) == 0
