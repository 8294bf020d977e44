"""A board of thousands: what changed is all that is read, and the page leads to files beside it."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from gdpo_bench.cli.leaderboard import main
from gdpo_bench.leaderboard.files import store
from gdpo_bench.leaderboard.files.attestation import Attestation, write_attestation
from gdpo_bench.leaderboard.files.store import Board, entry_path, find_entry_file, write_measured
from gdpo_bench.leaderboard.show.page import document, render_page, render_site

ROOT = Path(__file__).parents[2]
FOLDER = Path("leaderboards/training/gdpo/TestMini-v0")


@pytest.fixture
def board(tmp_path, monkeypatch, measured, capsys):
    """A committed board of a few entries; returns git."""
    monkeypatch.chdir(tmp_path)
    for name in ("gdpo", "grpo", "rloo"):
        write_measured(measured(name), FOLDER)

    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    git("init", "-q", "-b", "main")
    git("add", "leaderboards")
    git("commit", "-qm", "all")
    return git


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are read as entries."""
    found = []

    def noted(path, *rest):
        found.append(path.name)
        return read_plain(path, *rest)

    read_plain = store.read_plain
    monkeypatch.setattr(store, "read_plain", noted)
    return found


def test_nothing_that_is_as_it_was_is_read(board, read, capsys):
    assert main(["validate", "--base", "main"]) == 0
    assert read == []
    assert capsys.readouterr().out == (
        "3 entries are as at main, and not read again (--everything reads them).\n0 valid entries, 0 problems.\n"
    )
    assert main(["validate", "--base", "main", "--everything"]) == 0
    assert len(read) == 3
    read.clear()
    assert main(["validate"]) == 0
    assert len(read) == 3


def test_a_new_entry_is_read_and_shown_among_some_old_ones(board, read, measured, capsys, monkeypatch):
    monkeypatch.setattr("gdpo_bench.cli.leaderboard._NEIGHBOURS", 2)
    new = write_measured(measured("opo"), FOLDER)
    assert main(["validate", "--base", "main"]) == 0
    assert "1 valid entry, 0 problems." in capsys.readouterr().out
    assert read[0] == new.name
    assert len(set(read)) == 1 + 2


def test_outside_a_checkout_everything_is_read(tmp_path, monkeypatch, read, measured, capsys):
    monkeypatch.chdir(tmp_path)
    write_measured(measured(), FOLDER)
    assert main(["validate", "--base", "main"]) == 0
    assert "is in no git checkout" in capsys.readouterr().out
    assert len(read) == 1


def test_a_folder_without_entries_is_an_error_with_a_base_too(board):
    Path("leaderboards/empty").mkdir()
    assert main(["validate", "leaderboards/empty", "--base", "main"]) == 2


def misnamed(measured):
    write_measured(measured("opo"), FOLDER).rename(FOLDER / ("0" * 16 + ".json"))


def without_sidecar(measured):
    file = write_measured(measured("opo"), FOLDER)
    file.with_name(f"{file.stem}.json.gz").unlink()


def ignored_by_git(measured):
    misnamed(measured)
    Path(".gitignore").write_text("0*.json\n")


def correcting_nothing(measured):
    write_measured(measured("opo", supersedes="f" * 16), FOLDER)


def taking_the_place_of_an_old_one(measured):
    file = FOLDER / f"{measured('gdpo').entry.id}.json"
    fields = json.loads(file.read_text())
    fields["provenance"]["author"] = "somebody else"  # which no hash covers
    file.write_text(json.dumps(fields, sort_keys=True, indent=2) + "\n")


def without_the_one_that_an_old_one_stands_on(measured):
    next(FOLDER.glob("*.json.gz")).unlink()


def correcting_each_other(measured):
    one, other = measured("opo").entry.id, measured("dgdo").entry.id
    write_measured(measured("opo", supersedes=other), FOLDER)
    write_measured(measured("dgdo", supersedes=one), FOLDER)


def attested_by_nobody_s_numbers(measured):
    entry = measured("gdpo").entry
    claim = Attestation(
        entry=entry.id, seeds=[None], criterion="equal", largest_difference={"a": 0.0}, provenance=entry.provenance
    )
    write_attestation(claim, FOLDER)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (misnamed, "Wrong name or place"),
        (without_sidecar, "The sidecar is missing"),
        (ignored_by_git, "Wrong name or place"),
        (correcting_nothing, "which is not in the same folder"),
        (taking_the_place_of_an_old_one, "It was changed since main"),
        (without_the_one_that_an_old_one_stands_on, "It was deleted since main"),
        (correcting_each_other, "supersede each other in a circle"),
        (attested_by_nobody_s_numbers, "seeds that the entry does not have"),
    ],
)
def test_whatever_makes_the_board_fail_is_found_by_reading_what_changed(board, measured, capsys, harm, told):
    board("switch", "-qc", "new")
    harm(measured)
    for commit in (False, True):
        if commit:
            board("add", "-A", ".")
            board("commit", "-qm", "new")
        assert main(["validate", "--base", "main"]) == 1
        assert told in capsys.readouterr().err
    assert main(["validate", "--base", "main", "--everything"]) == 1  # as a whole reading finds it


def test_an_entry_that_cannot_be_shown_is_found_by_reading_what_changed(board, measured, capsys, monkeypatch):
    write_measured(measured("opo"), FOLDER)
    render = render_site

    def failing(entries, *rest):
        entries = list(entries)
        if {"opo", "grpo"} <= {entry.normalizer.name for entry in entries}:
            raise RuntimeError("not beside grpo")
        return render(entries, *rest)

    monkeypatch.setattr("gdpo_bench.leaderboard.show.showable.render_site", failing)
    assert main(["validate", "--base", "main"]) == 1
    assert "not beside grpo" in capsys.readouterr().err


def test_an_entry_is_found_by_its_name_and_no_other_is_read(board, read, measured):
    id = measured("grpo").entry.id
    assert find_entry_file(id[:8], Path("leaderboards")).name == f"{id}.json"
    assert set(read) == {f"{id}.json"}


def test_a_long_chain_of_corrections_ends(board, measured, capsys, monkeypatch):
    monkeypatch.setattr(store, "_CORRECTIONS", 3)
    before = None
    for luck in range(5):
        before = write_measured(measured("opo", luck=luck, supersedes=before), FOLDER).stem
    assert main(["validate", "--base", "main"]) == 1
    assert "More than 3 corrections of one another" in capsys.readouterr().err


@pytest.fixture(scope="module")
def site(entry):
    """A board whose details lie beside the page: many normalizers in one setting, many settings, a correction."""
    wrong = entry("rloo", (0.1, 0.2))
    entries = [wrong, entry("rloo", (0.2, 0.3), supersedes=wrong.id)]
    entries += [entry(f"n{i}", (0.3 + i / 1000, 0.4)) for i in range(250)]
    entries += [entry(name, (0.5, 0.6), options={"i": i}) for i in range(40) for name in ("grpo", "gdpo")]
    entries += [
        entry(name, environment=f"gdpo/E{i}-v0", steps=(0, 10 + k))
        for i in range(12)
        for k in range(3)
        for name in ("grpo", "gdpo")
    ]
    assert len(entries) > document._ONE_FILE
    return entries, render_site(entries, name="a board.html")


def test_details_of_a_large_board_lie_in_files_beside_a_small_page(site):
    entries, files = site
    assert list(files)[-1] == "a board.html"
    assert {PurePosixPath(name).parent.as_posix() for name in files} == {".", "a board-details"}
    assert len(files["a board.html"]) < len(render_page(entries)) / 4
    assert max(map(len, files.values())) < 2e6
    assert len({name.casefold() for name in files}) == len(files)


def test_every_link_between_the_files_leads_somewhere_and_every_entry_is_reached(site):
    entries, files = site
    ids = {name: set(re.findall(r'id="([^"]+)"', text)) for name, text in files.items()}
    reached = set()
    for name, text in files.items():
        for address in re.findall(r'href="([^"]+)"', text):
            target, _, anchor = address.replace("%20", " ").partition("#")
            file = (PurePosixPath(name).parent / target).as_posix() if target else name
            file = re.sub(r"^[^/]+/\.\./", "", file)
            assert anchor in ids[file], (name, address)
            reached.add((file, anchor))
    cards = {anchor for _, anchor in reached if anchor.startswith("e-")}
    assert cards == {f"e-{entry.id}" for entry in entries}
    for name, text in files.items():
        assert len(ids[name]) == len(re.findall(r'id="([^"]+)"', text)), name


def test_all_rows_of_a_setting_stand_in_its_file_and_charts_draw_those_that_stand_out(site):
    _, files = site
    (text,) = (text for name, text in files.items() if name.endswith("0001-TestMini-v0.html"))
    assert len(re.findall(r"<tr data-entry", text)) == 331
    (curves,) = re.findall(r'<figure class="curves">.*?format.*?</figure>', text, re.DOTALL)[:1]
    assert len(re.findall(r"<g [^>]*data-entry", curves)) == 40
    assert "Charts show the 40 normalizers that stand out most" in text


def test_the_page_of_a_small_board_is_one_file(entry):
    entries = [entry("gdpo"), entry("grpo")]
    assert render_site(entries, name="leaderboard.html") == {"leaderboard.html": render_page(entries)}


def test_the_command_writes_the_files_beside_the_page(tmp_path, monkeypatch, measured, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(document, "_ONE_FILE", 1)
    for name in ("gdpo", "grpo"):
        write_measured(measured(name), FOLDER)
    assert main(["html", "--out", "docs/page.html"]) == 0
    assert capsys.readouterr().out == "Wrote docs/page.html and 3 files in docs/page-details.\n"
    assert len(list(Path("docs/page-details").iterdir())) == 3


def test_the_generated_board_is_valid_and_its_copies_differ(tmp_path, monkeypatch):
    specification = importlib.util.spec_from_file_location("large_board", ROOT / "benchmarks/large_board.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    known = [entry for entry in Board.read(ROOT / "leaderboards").entries.values() if entry.sidecar]
    made = [copy for _, copy in module.copies(known, 3 * len(known))]
    assert len({copy.id for copy in made}) == len(made)
    monkeypatch.chdir(tmp_path)
    files = module.grow(tmp_path / "leaderboards", 3)
    assert files == [
        entry_path(Board.read(tmp_path / "leaderboards").entries[f.stem], tmp_path / "leaderboards") for f in files
    ]
    assert main(["validate"]) == 0
