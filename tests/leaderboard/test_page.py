import base64
import hashlib
import json
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from gdpo_bench import RewardSpec
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.compare.pooled import pool
from gdpo_bench.leaderboard.files.store import Board, write_entry
from gdpo_bench.leaderboard.show.page import render_page
from gdpo_bench.leaderboard.show.page.charts import pareto_front
from gdpo_bench.leaderboard.show.page.looks import COLOURS, MARKERS, PINNED, look_up
from gdpo_bench.leaderboard.show.page.svg import Scale
from gdpo_bench.leaderboard.show.page.views import SHOWN, groups
from gdpo_bench.leaderboard.show.pooled_table import pooled_text
from gdpo_bench.leaderboard.show.table import render_markdown

BOARD = Path(__file__).parents[2] / "leaderboards"
VOID = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
HOSTILE = "\"><script>window.hacked = 1</script><img src=x onerror=alert(1)>&amp;'{{ 7 * 7 }}"


class Page(HTMLParser):
    """Elements and text of a page; fails on tags that are not balanced."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def board():
    return list(Board.read(BOARD).entries.values())


@pytest.fixture(scope="module")
def text(board):
    return render_page(board)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def row_texts(text, name):
    """What stands in the cells of a row, line by line."""
    rows = re.findall(r"<tr data-entry=.*?</tr>", text, re.DOTALL)
    (row,) = [row for row in rows if re.search(rf"<span>{name}[ <]", row)]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
    return [
        re.findall(r'<span class="(?:value|difference|base)[^"]*">(?:<span.*?</span> )?([^<]+)', cell) for cell in cells
    ]


def test_the_page_needs_nothing_but_itself(page):
    assert not page.values("src")
    assert not page.all("link")
    assert {address[0] for address in page.values("href")} == {"#"}
    style = "".join(data for tag, data in page.texts if tag == "style")
    assert style
    assert "url(" not in style
    assert "@import" not in style


def test_the_security_policy_allows_our_style_and_script_and_nothing_else(page):
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        assert len(page.all(tag)) == 1
        content = "".join(data for found, data in page.texts if found == tag)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not page.values("style")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_every_link_leads_to_one_place_and_every_entry_has_one(page, board):
    ids = Counter(page.values("id"))
    assert not [name for name, count in ids.items() if count > 1]
    assert {address[1:] for address in page.values("href")} <= ids.keys()
    assert {f"e-{entry.id}" for entry in board} <= ids.keys()
    for attribute in ("aria-labelledby", "for"):
        assert set(page.values(attribute)) <= ids.keys()


def test_equal_entries_give_an_equal_page(board, text):
    assert render_page(reversed(board)) == text


def test_tables_have_captions_and_heads_and_charts_have_names(page):
    tables = len(page.all("table"))
    assert tables
    assert len(page.all("caption")) == tables
    assert all(head.get("scope") for head in page.all("th"))
    charts = [svg for svg in page.all("svg") if svg.get("aria-hidden") != "true"]
    assert charts
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in charts)


def test_the_page_shows_the_numbers_of_the_tables(entry):
    entries = [entry("gdpo", (0.9, 0.8, 0.85) * 2), entry("grpo", (0.4, 0.3, 0.38) * 2)]
    markdown, page = render_markdown(entries), render_page(entries)
    for name in ("gdpo", "grpo"):
        row, *_ = [line for line in markdown.splitlines() if line.startswith(f"| `{name}`")]
        cells = [cell.strip().replace("**", "").replace(" from", "<br>from").split("<br>") for cell in row.split("|")]
        assert row_texts(page, name)[:3] == [[line.replace("-", "−") for line in cell] for cell in cells[2:5]]
        assert "n = 6 RL seeds" in page


def test_what_is_asked_first_stands_first_with_numbers(entry):
    finals = {"gdpo": (0.9, 0.5, 0.85), "grpo": (0.4, 0.3, 0.38), "rloo": (0.4, 0.3, 0.39)}
    entries = [entry(name, those * 2) for name, those in finals.items()]
    text = render_page([*entries, entry("gdpo", environment="gdpo/Lone-v0")])
    findings = re.search(r'<table class="findings">.*?</table>', text, re.DOTALL)[0]
    rows = re.findall(r"<tr>.*?</tr>", unescape(findings), re.DOTALL)
    told = [" ".join(re.sub(r"<[a-z/][^>]*>", " ", row).split()) for row in rows]
    assert told[1] == (
        "gdpo/TestMini-v0 3 normalizers format gdpo from 0.36 → 0.75 ▲ +0.39 ±0.16 clearly higher 6 of 6 RL seeds, "
        "p = .031"
    )
    assert told[2].startswith("correct gdpo from −0.84 → 1.50 ▲ +2.34")
    assert told[3].endswith("No entry of grpo, hence no differences.")
    assert text.index('<table class="findings">') < text.index('class="results')


def test_few_runs_that_agree_are_told_as_too_few(entry):
    text = render_page([entry("gdpo", (0.9, 0.95, 0.85)), entry("grpo", (0.1, 0.0, 0.05))])
    findings = re.search(r'<table class="findings">.*?</table>', text, re.DOTALL)[0]
    assert "0 of 3 → 3 of 3<small>0.05 → 0.90</small>" in findings
    assert "3 of 3 RL seeds, too few to be sure" in findings
    assert "clearly" not in findings


def test_who_learned_what_is_said_and_who_else(entry):
    flat = entry("grpo", (0.0, 0.0, 0.0))
    text = render_page([entry("gdpo", (0.9, 0.8, 0.85)), entry("rloo", (0.7, 0.8, 0.75)), flat])
    assert "gdpo learned it, grpo did not; so does rloo" in text


def test_of_those_with_the_same_count_the_pinned_one_stands_for_all(entry):
    flat = entry("grpo", (0.0, 0.0, 0.0))
    text = render_page([entry("dara", (0.99, 0.95, 0.9)), entry("gdpo", (0.9, 0.8, 0.85)), flat])
    assert "gdpo learned it, grpo did not; so does dara" in text


def test_no_heading_or_summary_holds_a_hash(board, text):
    page = re.findall(r"<(h[1-5]|summary)\b[^>]*>(.*?)</\1>", text, re.DOTALL)
    assert len(page) > len(board)
    hashes = {entry.id for entry in board} | {entry.environment.reward_spec_hash for entry in board}
    for _, content in page:
        shown = re.sub(r"<[^>]+>", "", content)
        assert not re.search(r"\b[0-9a-f]{12,}\b", shown), shown
        assert not any(one[:6] in shown for one in hashes), shown


def test_the_page_counts_entries_once(text, board):
    current = {entry.id for entry in board} - {entry.supersedes for entry in board}
    assert set(re.findall(r"([\d,]+) entries", text)) == {str(len(current))}


def test_every_row_says_n_and_a_difference_follows_from_the_two_means_beside_it(text):
    rows = re.findall(r'<tr data-entry="\w+"[^>]*>(.*?)</tr>', text, re.DOTALL)
    compared = 0
    for row in rows:
        assert "n = " in row or 'class="base"' not in row
        for cell in re.findall(r'<td class="number".*?</td>', row, re.DOTALL):
            assert ('class="difference' in cell) == ('class="base"' in cell)
            if 'class="base"' in cell and " of " not in cell:
                own, difference, base = (
                    re.search(rf'class="{name}[^"]*">(?:<span[^>]*>.</span> )?(?:from )?([+−-]?[\d.]+)', cell)[1]
                    for name in ("value", "difference", "base")
                )
                digits = len(own.partition(".")[2])
                own, difference, base = (float(one.replace("−", "-")) for one in (own, difference, base))
                assert own - base == pytest.approx(difference, abs=1.51 * 10**-digits)  # each is rounded
                compared += 1
    assert compared > 300


def test_environments_trained_alike_are_pooled_with_the_numbers_of_the_pooled_table(entry):
    entries = [
        entry(name, finals, environment=environment)
        for environment in ("gdpo/TestMini-v0", "gdpo/Other-v0")
        for name, finals in (("gdpo", (0.9, 0.8, 0.85)), ("grpo", (0.4, 0.3, 0.38)))
    ]
    page = render_page(entries)
    (view,) = pool(entries)
    for row in view.rows:
        for number, sign in ((row.iqm, ""), (row.difference, "+"), (row.improvement, "")):
            assert f">{pooled_text(number, sign)}</td>" in page
    assert "Performance profiles" in page
    assert "Performance profiles" not in render_page(entries[:2])


def test_a_clear_difference_is_said_in_words_and_not_by_colour_alone(entry):
    text = render_page([entry("gdpo", (0.9, 0.8, 0.85) * 2), entry("grpo", (0.4, 0.3, 0.38) * 2)])
    assert 'class="difference better"><span aria-hidden="true">▲</span>' in text
    assert "clearly higher" in text


def test_where_less_is_better_a_higher_value_is_no_better_one(entry):
    specs = [RewardSpec("length", 0, 2, metric="exceed_ratio")]
    finals = ("gdpo", (0.9, 0.8, 0.85) * 2), ("grpo", (0.4, 0.3, 0.38) * 2)
    text = render_page([entry(*one, specs=specs) for one in finals])
    assert Counter(re.findall(r'class="difference (\w+)"', text)) == {
        "better": 2,
        "worse": 1,
    }  # what stands out, and the table


def test_whatever_an_entry_says_stays_text(entry, make_provenance):
    said = make_provenance(author=HOSTILE, command=HOSTILE, versions={HOSTILE: HOSTILE, "python": "3"})
    hostile = entry(
        HOSTILE,
        (0.5, 0.6),
        specs=[RewardSpec("format", 0, 1), RewardSpec("correct", -3, 3)],
        options={HOSTILE: HOSTILE, "nested": {"deep": [HOSTILE]}},
        provenance=said,
    )
    correction = entry("gdpo", (0.1, 0.2), supersedes=hostile.id, provenance=said)
    harmless = Page(render_page([entry("gdpo", (0.5, 0.6)), entry("grpo", (0.3, 0.3))]))
    for entries in ([hostile, entry("grpo", (0.3, 0.3))], [hostile, correction]):
        page = Page(render_page(entries))
        assert len(page.all("script")) == 1
        assert not page.all("img")
        assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements} | {"strong"}
        assert ("dd", HOSTILE) in page.texts
        assert any(tag == "pre" and HOSTILE in data for tag, data in page.texts)
        assert not any("49" in data for tag, data in page.texts if tag in ("dd", "pre", "span"))
        assert HOSTILE in page.values("data-normalizer")


def test_a_superseded_entry_is_marked_and_not_compared(entry):
    wrong, baseline = entry("gdpo", (0.1, 0.2)), entry("grpo", (0.3, 0.3))
    right = entry("gdpo", (0.9, 0.8), supersedes=wrong.id)
    text = render_page([wrong, right, baseline])
    assert "Superseded by" in text
    assert f'Corrects <a href="#e-{wrong.id}">' in text
    marked = [a for a in Page(text).all("details") if "superseded" in a.get("class", "")]
    assert [attributes["data-entry"] for attributes in marked] == [wrong.id]
    assert not re.search(rf'<tr data-entry="{wrong.id}"', text)
    assert "2 entries" in text


def test_a_normalizer_looks_the_same_everywhere_and_later_entries_change_no_look(entry, make_provenance):
    early = [
        entry("gdpo"),
        entry("grpo"),
        entry("gdpo", environment="gdpo/Other-v0"),
        entry("gdpo", options={"eps": 1}),
    ]
    looks = look_up(early)
    gdpo, grpo, other, variant = (looks[one.id] for one in early)
    assert gdpo == other
    assert (gdpo.colour, gdpo.marker) != (grpo.colour, grpo.marker)
    assert gdpo.marker == variant.marker
    assert gdpo.colour != variant.colour
    assert gdpo.dash != variant.dash
    assert (grpo.colour, gdpo.colour) == (0, 1)
    later = entry("a_new_one", provenance=make_provenance(date="2027-01-01T00:00:00Z"))
    assert look_up([later, *early]).items() >= looks.items()


def test_dozens_of_normalizers_look_different(entry):
    free = COLOURS - len(PINNED)
    entries = [*map(entry, PINNED), *(entry(f"n{i:02}") for i in range(len(MARKERS) * free))]
    assert len({(look.colour, look.marker) for look in look_up(entries).values()}) == len(entries)


def test_three_rows_are_shown_first_the_pinned_ones_before_what_stands_out_each_in_its_colour(board):
    looks = look_up(board)
    current = {entry.supersedes for entry in board}
    for group in groups([entry for entry in board if entry.id not in current], looks):
        for panel in group.panels:
            shown = [line for line in panel.lines if not line.extra]
            assert shown == list(panel.lines[: len(shown)])
            assert len(shown) == min(SHOWN, len(panel.lines))
            assert [line.label for line in shown[:2]] == ["grpo", "gdpo"][: len(shown)]
            assert [line.pinned for line in shown] == [True, True, False][: len(shown)]
            assert len({line.look.colour for line in shown}) == len(shown)


def test_a_variant_of_a_pinned_normalizer_is_neither_pinned_nor_of_its_colour(entry):
    entries = [entry("grpo"), entry("grpo", (0.9, 0.99), options={"eps": 2})]
    (group,) = groups(entries, look_up(entries))
    first, second = group.panels[0].lines
    assert (first.pinned, second.pinned) == (True, False)
    assert first.look.colour != second.look.colour


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(0, 0)], [(0, 0)]),
        ([(0, 1), (1, 0), (0.4, 0.4)], [(0, 1), (0.4, 0.4), (1, 0)]),
        ([(0, 1), (1, 1), (1, 0)], [(1, 1)]),
        ([(1, 1), (1, 1)], [(1, 1)]),
    ],
)
def test_the_front_holds_what_no_other_point_beats(points, front):
    assert pareto_front(points) == front


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 3), (0.971, 0.982), (-1e-9, 1e-9), (0, 12345), (0.1, 0.7)])
@pytest.mark.parametrize("least", [3, 4])
def test_ticks_are_even_round_and_neither_few_nor_many(low, high, least):
    ticks = Scale(low, high, 0, 100).ticks(least)
    assert least <= len(ticks) <= 10
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    steps = [after - before for before, after in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6)
    assert f"{steps[0]:.0e}"[0] in "125"


def test_odd_boards_have_a_page_too(entry, replay):
    four = [RewardSpec(name, 0, 1) for name in "abcde"]
    for entries in (
        [],
        [entry("gdpo", (0.5,), steps=(0,))],  # one run, one evaluation, nothing to compare with
        [entry("gdpo", (0.0, 0.0)), entry("grpo", (0.0, 0.0))],
        [entry("gdpo", specs=four), entry("grpo", specs=four, steps=(0, 20))],
        [entry("gdpo", specs=four[:1]), entry("grpo", specs=four[:1])],
        [replay("gdpo", diagnostics={"collapsed_rollouts": 0.0})],
    ):
        Page(render_page(entries))


def test_a_page_of_hundreds_of_entries_is_below_five_megabytes(entry):
    seeds = [Seed(warm_start=None, rl=i) for i in range(8)]
    steps = tuple(range(0, 101, 5))
    entries = [
        entry(
            f"n{i}", [0.3 + (i * j) % 7 / 20 for j in range(8)], environment=f"gdpo/E{e}-v0", seeds=seeds, steps=steps
        )
        for e in range(25)
        for i in range(12)
    ]
    assert len(render_page(entries)) < 5e6


def colours(theme):
    """Name → (red, green, blue) of the style sheet, light (0) or dark (1)."""
    style = resources.files("gdpo_bench.leaderboard.show.page").joinpath("assets/page.css").read_text()
    found = re.findall(r"(\.c\d|--\w+)[^;\n]*?light-dark\((#\w{6}), (#\w{6})\)", style)
    return {name: tuple(bytes.fromhex(pair[theme][1:])) for name, *pair in found}


def contrast(first, second):
    """As WCAG 2 defines it, between 1 and 21."""

    def luminance(colour):
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_their_background(theme):
    found = colours(theme)
    for text in ("--ink", "--quiet", "--link", "--better", "--worse"):
        assert min(contrast(found[text], found[back]) for back in ("--paper", "--panel")) >= 4.5, text
    lines = [name for name in found if name.startswith(".c")]
    assert len(lines) == COLOURS
    for line in lines:
        assert contrast(found[line], found["--panel"]) >= 3, line


def test_the_command_writes_the_page_of_a_board(tmp_path, monkeypatch, entry, capsys):
    monkeypatch.chdir(tmp_path)
    one = entry()
    write_entry(one, tmp_path / "leaderboards/training" / one.environment.id)
    assert main(["html", "--out", "docs/page.html"]) == 0
    assert capsys.readouterr().out == "Wrote docs/page.html.\n"
    assert (tmp_path / "docs/page.html").read_text(encoding="utf-8") == render_page([one])


def test_the_page_of_a_damaged_board_is_refused(tmp_path, monkeypatch, entry, capsys):
    monkeypatch.chdir(tmp_path)
    one = entry()
    file = write_entry(one, tmp_path / "leaderboards/training" / one.environment.id)
    file.write_text(json.dumps({"schema_version": 99}))
    (tmp_path / "page.html").write_text("before")
    assert main(["html", "--out", "page.html"]) == 2
    assert str(file.relative_to(tmp_path)) in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text() == "before"
