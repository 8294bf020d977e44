"""Files of strangers: damaged, hostile or false ones are refused in a sentence, and block nobody."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from gdpo_bench import RewardSpec
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.core import reading
from gdpo_bench.core.reading import FormatError, parse_json
from gdpo_bench.core.task import content_hash
from gdpo_bench.leaderboard import EntryError, Environment, PolicyConfig, Seed, entry_text, parse_entry
from gdpo_bench.leaderboard.compare.sign_flips import sign_flip_p
from gdpo_bench.leaderboard.files.attestation import Attestation, attestation_problems, status, write_attestation
from gdpo_bench.leaderboard.files.entries import content_id
from gdpo_bench.leaderboard.files.schema import MOST_RESULTS, PlanReference
from gdpo_bench.leaderboard.files.store import Board, read_entry, write_measured
from gdpo_bench.leaderboard.show.showable import unshowable

BOARD = Path(__file__).parents[2] / "leaderboards"


def altered(entry, place, value):
    """The text of an entry with one field changed, and the id that follows."""
    fields = json.loads(entry_text(entry))
    *path, last = place
    part = fields
    for step in path:
        part = part[step]
    part[last] = value
    fields["id"] = content_id(fields)
    return json.dumps(fields)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("results", 0, "rewards", "format", "curve"), [0, 0.5, 0.9], r"rewards.format.curve\[0\] is 0, expected 0.0"),
        (("results", 0, "diagnostics", "distinct_levels"), 5, "distinct_levels is 5, expected 5.0"),
        (("results", 0, "diagnostics", "distinct_levels"), "5.0", 'distinct_levels is "5.0", expected 5.0'),
        (("results", 0, "diagnostics", "distinct_levels"), -0.0, "distinct_levels is -0.0, expected 0.0"),
        (("results", 0, "diagnostics", "distinct_levels"), True, "distinct_levels is true, expected 1.0"),
        (("results", 0, "steps", 0), False, "is false, expected 0"),
        (("results", 0, "seed", "rl"), "0", 'rl is "0", expected 0'),
        (("results", 0, "seed", "rl"), 0.0, "rl is 0.0, expected 0"),
        (("environment", "num_tasks"), 3.0, "num_tasks is 3.0, expected 3"),
        (("environment", "rewards", 0, "weight"), 1, "follow|weight is 1, expected 1.0"),
        (("normalizer", "weights", "format"), "1", 'format is "1", expected 1.0'),
        (("provenance", "cost", "wall_s"), "12.5", 'wall_s is "12.5", expected 12.5'),
        (("provenance", "arithmetic"), None, "arithmetic is written only where it is known"),
        (("policy", "details"), {"warm_start_envs": 5}, "policy.details: .*warm_start_envs"),
        (("policy", "details"), {"warm_start_envs": [5]}, "warm_start_envs.0"),
        (("policy", "details"), {"warm_start_envs": [{"id": "a/B-v0"}]}, "options"),
        (("policy", "details"), {"warm_start_envs": [{"id": 5, "options": {}}]}, "id"),
        (("policy", "details"), {"warm_start_corpus": []}, "warm_start_corpus"),
        (("policy", "details"), {"warm_start_corpus": {"0": 5}}, "warm_start_corpus"),
        (("policy", "details"), {"warm_start_corpus": {"x": "y"}}, "warm_start_corpus"),
        (("policy", "details"), {"config": "x"}, "config"),
        (("policy", "details"), {"config": {"model": 5}}, "config.model"),
        (("policy", "details"), {"config": {"chat_template_kwargs": 5}}, "chat_template_kwargs"),
        (("policy", "details"), {"rollout": 5}, "rollout"),
        (("policy", "details"), {"processes": "2"}, "processes"),
        (("policy", "details"), 5, "policy.details"),
        (("results", 0, "seed"), None, "results have a seed each"),
        (("training", "learning_rate"), "fast", "training: learning_rate"),
        (("training", "learning_rate"), 0.0, "training: learning_rate"),
        (("training", "own"), [0] * 200_000, "training: has 400,.* characters as JSON"),
        (("environment", "options"), {"own": [0] * 200_000}, "environment.options: has"),
        (("policy", "details"), {"own": [0] * 200_000}, "policy.details: has"),
        (("provenance", "versions"), {str(i): "1" for i in range(1_001)}, "provenance.versions: .*at most 1000"),
        (("results", 0, "diagnostics"), {str(i): 0.5 for i in range(1_001)}, "diagnostics: .*at most 1000"),
        (("results",), [None] * 2_001, "results.0: "),
        (("environment", "id"), "a/" + "B" * 300 + "-v0", "environment.id"),
    ],
)
def test_what_is_filed_is_what_was_hashed_and_has_the_shapes_that_are_read(entry, place, value, told):
    with pytest.raises(EntryError, match=told):
        parse_entry(altered(entry(specs=[RewardSpec("format", 0, 1)]), place, value))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"wall_s": 12.5', '"wall_s": 1e999', r"provenance.cost.wall_s is 1e999, which is not finite"),
        ('"wall_s": 12.5', '"wall_s": -Infinity', r"provenance.cost.wall_s is -Infinity"),
        ('"tokens": 1000', '"tokens": ' + "9" * 5000, "provenance.cost.tokens is a whole number of 5,000 digits"),
        ('"rare": true', '"rare": ' + "[" * 600 + "]" * 600, "environment.options.rare.* nested too deeply"),
        ('"rare": true', '"rare": ' + "[" * 100_000 + "]" * 100_000, "holds too much|nested too deeply"),
        ('"division"', '"division": "open", "division"', "'division' stands twice in one object"),
        ('"rare": true', '"rare": 1, "rare": 2', "'rare' stands twice"),
        ('"author": "somebody"', '"author": "' + "x" * 30_000 + '"', "provenance.author has a text of 30,000"),
        ('"author": "somebody"', '"author": "\\ud800"', "provenance.author has a text that is no Unicode"),
        ('"rare": true', '"\\udfff": true', "environment.options has a text that is no Unicode"),
        ('"rare": true', '"rare": [' + "{}," * 500_000 + "{}]", "It holds too much"),
    ],
)
def test_json_at_its_edges_is_refused_with_its_place(entry, old, new, told):
    text = entry_text(entry())
    assert old in text
    with pytest.raises(EntryError, match=told):
        parse_entry(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "a b"}, "must be an identifier"),
        ({"kind": "penalty"}, "a penalty is at most 0"),
        ({"gate": {"on": "absent", "at_least": 1.0}}, "absent"),
        ({"gate": {"on": "format", "at_least": 1.0}}, "on itself|format"),
    ],
)
def test_rewards_that_no_environment_could_declare_are_refused(entry, changed, told):
    fields = json.loads(entry_text(entry()))["environment"]
    fields["rewards"][0] |= changed
    fields["reward_spec_hash"] = content_hash(fields["rewards"])
    with pytest.raises(ValidationError, match=told):
        Environment.model_validate(fields)


TUNED = {"learning_rates": [0.1], "options": {"gdpo": [{}]}, "seeds": [1], "target": "format"}
PLAN = {"horizons": [10], "tuning": TUNED}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"horizons": 10}, "horizons"),
        ({"horizons": ["10"]}, "horizons.0"),
        ({"horizons": [True]}, "horizons.0"),
        ({"horizons": list(range(1, 102))}, "horizons: .*at most 100 items"),
        ({"extends": "x"}, "extends"),
        ({"extends": ["0" * 16, "x"]}, "extends"),
        ({"extends": ["0" * 16] * 101}, "extends"),
        ({"tuning": []}, "tuning"),
        ({"tuning": {}}, "tuning.learning_rates"),
        *(({"tuning": TUNED | {"learning_rates": bad}}, "tuning.learning_rates") for bad in (1, [], ["0.1"])),
        *(({"tuning": TUNED | {"seeds": bad}}, "tuning.seeds") for bad in (1, [], {})),
        *(({"tuning": TUNED | {"options": bad}}, "tuning.options") for bad in ("x", {"a": 1}, {"a": []})),
        *(({"tuning": TUNED | {"target": bad}}, "tuning.target") for bad in (1, "")),
    ],
)
def test_a_plan_has_the_shapes_that_tables_read(changed, told):
    assert PlanReference.of(PLAN, "test").horizons == [10]
    assert PlanReference.of(PLAN | {"own": [{"any": None}], "tuning": None}, "test").target is None
    with pytest.raises(ValidationError, match=told):
        PlanReference.of(PLAN | changed, "test")


def test_an_entry_of_a_plan_that_tunes_has_the_learning_rate_that_it_chooses(entry):
    with pytest.raises(EntryError, match=r"training\.learning_rate must be there"):
        entry(plan=PlanReference.of(PLAN, "test"))


def test_what_only_tuning_seeds_measured_makes_a_page(measured, tmp_path):
    """It stands in no comparison, and an environment may have nothing else yet."""
    plan = PlanReference.of(PLAN, "tuning")
    one = measured().entry.model_copy(update={"training": {"learning_rate": 0.1}, "plan": plan})
    assert unshowable({tmp_path / "a.json": one}) == []


def test_more_rewards_than_a_table_can_compare_are_refused(entry):
    with pytest.raises(ValidationError, match="at most 100"):
        entry(specs=[RewardSpec(f"r{i}", 0, 1) for i in range(101)], finals=(0.5,))


@pytest.mark.parametrize("place", [("results",), ("results", 0, "steps"), ("environment", "rewards")])
def test_half_a_million_faults_are_told_as_one(entry, place):
    text = altered(entry(), place, [None] * 500_000)
    tracemalloc.start()
    with pytest.raises(EntryError) as told:
        parse_entry(text)
    assert len(str(told.value)) < 1_000
    assert tracemalloc.get_traced_memory()[1] < 128 << 20
    tracemalloc.stop()


def test_signs_of_many_units_are_multiplied_in_parts():
    values = np.random.default_rng(0).normal(size=MOST_RESULTS)
    tracemalloc.start()
    sign_flip_p(list(values))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("low_high", [(-8e99, 8e99), (0, 1e-300), (-1e13, 0)])
def test_ranges_that_no_chart_can_show_are_refused(entry, low_high):
    with pytest.raises(ValueError, match="a range is at least 1e-09 wide"):
        entry(specs=[RewardSpec("format", *low_high)], finals=(0.0,))


def fill(path, kind):
    match kind:
        case "a link to a device":
            path.symlink_to("/dev/zero")
        case "a link":
            (path.parent / "other").write_text("{}")
            path.symlink_to("other")
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "too large":
            with path.open("wb") as file:
                file.truncate(20 << 20)


@pytest.mark.parametrize("kind", ["a link to a device", "a link", "a pipe", "a folder", "too large"])
@pytest.mark.parametrize("which", ["entry", "sidecar", "attestation"])
def test_only_plain_files_of_bounded_size_are_read(measured, tmp_path, kind, which, capsys):
    one = measured()
    path = Board(tmp_path).file(one.entry, one.sidecar)
    endings = {"entry": ".json", "sidecar": ".json.gz", "attestation": f".attested-{'0' * 16}.json"}
    target = path.with_name(one.entry.id + endings[which])
    target.unlink(missing_ok=True)
    fill(target, kind)
    assert main(["validate", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert target.name in told
    assert "Traceback" not in told


def _columns(**changed):
    """A sidecar of one evaluation, with some of its columns as they are given."""
    columns = {"advantage": "null", "applicable": "[[1]]", "failed": "[[0]]", "group": "[0]", "label": "null"}
    columns |= {"length": "null", "raw": "[[1]]", "step": "0", "task": "[0]", "tasks": '["a"]', "value": "[[1]]"}
    evaluation = ",".join(f'"{name}":{value}' for name, value in (columns | changed).items())
    return f'{{"format":1,"rewards":["a"],"runs":[{{"evaluations":[{{{evaluation}}}],"seed":null}}]}}'.encode()


KINDS = {
    "objects": b"[" + b"{}," * 5_000_000 + b"{}]",
    "lists": b"[" + b"[]," * 5_000_000 + b"[]]",
    "objects at the bound": b"[" + b"{}," * 1_500_000 + b"{}]",
    "numbers": b"[" + b"300," * 4_000_000 + b"1]",
    "floats": b"[" + b"0.5," * 4_000_000 + b"1]",
    "texts": b"[" + b'"ab",' * 2_000_000 + b'"ab"]',
    "keys": b"[" + b'{"ab":1},' * 600_000 + b"1]",
    "spaces": b" " * (1 << 30),
    "names": _columns(tasks='["' + "x" * 19_000 + '"]', task="[" + "0," * 300_000 + "0]"),
    "fractions": _columns(raw="[[" + "0.1," * 3_000_000 + "0.1]]"),
    "a long name among many": _columns(tasks='["' + "x" * 19_000 + '"' + ',"a"' * 100_000 + "]"),
    "a long text among masks": _columns(applicable='["' + "x" * 19_000 + '"' + ',"a"' * 100_000 + "]"),
    "a long text among rewards": _columns(raw='[["' + "x" * 19_000 + '"' + ',"a"' * 100_000 + "]]"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_sidecar_takes_bounded_memory_whatever_it_holds(tmp_path, kind):
    content = KINDS[kind]
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(content, 1))
    program = """
import resource, sys
from pathlib import Path
from gdpo_bench.leaderboard.files.sidecar import read_sidecar
from gdpo_bench.leaderboard import EntryError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_sidecar(Path(sys.argv[1]), sys.argv[2])
except EntryError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    words = [sys.executable, "-c", program, str(path), hashlib.sha256(content).hexdigest()]
    found = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert int(found.stdout) < 256


def test_ordinary_json_is_read_as_it_is():
    text = b'{"a": [1, -2.5, 1e-4, true, null, "\xc3\xa9"], "b": {"c": []}}'
    assert parse_json(text, 1 << 20) == json.loads(text)
    with pytest.raises(FormatError, match="could take"):
        parse_json(text, 100)


@pytest.mark.parametrize("number", ["1e999", "-1.5E+400", "1e0999", "1" * 400 + ".0", "1" * 400 + "e1", "-" + "9" * 41])
def test_numbers_beyond_the_bounds_are_found_however_they_are_written(number):
    with pytest.raises(FormatError, match=r"^x is"):
        parse_json(f'{{"x": {number}}}'.encode(), 1 << 20)


def test_columns_of_whole_numbers_are_not_looked_at_one_by_one_for_a_hash_that_resembles_a_number(monkeypatch):
    monkeypatch.setattr(reading, "_whole_number", lambda text: pytest.fail("a column was read slowly"))
    fields = {"task_ids": ["7e245"], "column": [0, 12345, -1], "high": 1e300}
    assert parse_json(json.dumps(fields).encode(), 1 << 20) == fields


def test_nothing_is_filed_beside_an_entry_that_cannot_be_read(measured, tmp_path, capsys):
    good, bad = measured(), measured(luck=1)
    run = tmp_path / "run/entries"
    write_measured(good, run)
    path = write_measured(bad, run)
    fields = json.loads(path.read_text())
    for one in fields["results"]:
        one["rewards"]["format"]["curve"][-1] = one["rewards"]["format"]["final"] = 1
    fields["id"] = content_id(fields)
    path.unlink()
    path.with_name(f"{fields['id']}.json").write_text(json.dumps(fields))
    assert main(["submit", str(tmp_path / "run"), "--root", str(tmp_path / "board")]) == 2
    assert "is 1, expected 1.0" in capsys.readouterr().err
    assert not list((tmp_path / "board").rglob("*.json"))


def test_an_entry_that_cannot_be_shown_is_named_and_not_filed(measured, tmp_path, monkeypatch, capsys):
    from gdpo_bench.leaderboard.show import showable, table

    board, good, bad = tmp_path / "board", measured(), measured(luck=1)
    Board(board).file(good.entry, good.sidecar)
    write_measured(bad, tmp_path / "run/entries")

    def stumble(entries, *arguments, **options):
        if any(entry.id == bad.entry.id for entry in entries):
            raise TypeError("'int' object is not iterable")
        return "table"

    monkeypatch.setattr(showable, "render_markdown", stumble)
    assert main(["submit", str(tmp_path / "run"), "--root", str(board)]) == 2
    told = capsys.readouterr().err
    assert f"{bad.entry.id}.json: It cannot be shown: TypeError" in told
    assert good.entry.id not in told
    assert len(Board.read(board).entries) == 1
    assert main(["validate", str(tmp_path / "run")]) == 1
    # A board that holds such a file already says so in one sentence, whatever is made of it.
    Board.read(board).file(bad.entry, bad.sidecar)
    for name in ("render_markdown", "render_site"):
        monkeypatch.setattr(f"gdpo_bench.cli.leaderboard.{name}", stumble)
    for words in (["table"], ["html", "--out", str(tmp_path / "page.html")], ["submit", str(tmp_path / "run")]):
        capsys.readouterr()
        assert main([*words, "--root", str(board)]) == 2
        assert f"{bad.entry.id}.json: It cannot be shown" in capsys.readouterr().err
    assert table is not None


def test_every_committed_entry_can_be_shown():
    board = Board.read(BOARD)
    assert not board.problems
    assert unshowable({BOARD / id: entry for id, entry in list(board.entries.items())[:5]}) == []


def test_a_status_of_ones_own_is_none(measured, make_provenance):
    one = measured(provenance=make_provenance(status="reproduced"))
    assert status([one.entry], {}) == "self-reported"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seeds": []}, "Not an attestation"),
        ({"largest_difference": {}}, "Not an attestation"),
        ({"largest_difference": {"format": 0.0}}, "a difference for each reward"),
        ({"largest_difference": {"format": 0.0, "correct": 0.5}}, "says that the numbers are 'equal'"),
        ({"criterion": "1e-9", "largest_difference": {"format": 0.1, "correct": 0.0}}, "says that the numbers are"),
        ({"seeds": [Seed(warm_start=9, rl=9)]}, "seeds that the entry does not have"),
    ],
)
def test_an_attestation_holds_numbers_of_its_entry(measured, make_provenance, tmp_path, changed, told):
    one = measured()
    path = Board(tmp_path).file(one.entry, one.sidecar)
    fields = {
        "attestation_version": 1,
        "entry": one.entry.id,
        "seeds": [result.seed for result in one.entry.results],
        "criterion": "equal",
        "largest_difference": {"format": 0.0, "correct": 0.0},
        "provenance": make_provenance(author="another", status="reproduced"),
    }
    whole = Attestation.model_validate(fields)
    assert status([one.entry], {one.entry.id: [whole]}) == "reproduced"
    false = Attestation.model_construct(**fields | changed)
    write_attestation(false, path.parent)
    assert told in attestation_problems(tmp_path)[0]
    if changed.get("seeds", "criterion" in changed):
        assert status([one.entry], {one.entry.id: [false]}) == "self-reported"
    assert main(["html", "--root", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2


def test_a_new_entry_of_an_old_format_is_refused(entry, tmp_path, capsys):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    board = tmp_path / "board"
    Board(board).file(entry())
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    assert main(["validate", str(board)]) == 0
    new = entry("grpo")
    path = Board.read(board).file(new)
    assert main(["validate", str(board)]) == 1
    assert f"{path}: An entry of format 1" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["recompute", "--root", "missing"], ["recompute", "--root", "empty"]])
def test_a_check_of_nothing_is_not_green(tmp_path, monkeypatch, words, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    assert main(words) == 2
    assert main(["validate", "empty"]) == 2
    assert main(["validate", "missing"]) != 0
    assert capsys.readouterr().out == "0 valid entries, 1 problem.\n"


@pytest.mark.parametrize("level", [1, 2, 3])
def test_submit_writes_through_no_link(measured, tmp_path, level):
    one = measured()
    write_measured(one, tmp_path / "run/entries")
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "board"
    for name in ("training", "gdpo", "TestMini-v0")[: level - 1]:
        folder /= name
    folder.mkdir(parents=True)
    (folder / ("training", "gdpo", "TestMini-v0")[level - 1]).symlink_to(tmp_path / "elsewhere")
    assert main(["submit", str(tmp_path / "run"), "--root", str(tmp_path / "board")]) == 2
    assert not list((tmp_path / "elsewhere").rglob("*"))


def test_details_that_nobody_reads_may_be_anything(entry):
    one = entry(policy=PolicyConfig(name="mini", details={"own": [1, {"x": None}]}))
    assert parse_entry(entry_text(one)) == one


def test_an_entry_file_is_read_without_following_a_link(measured, tmp_path):
    path = write_measured(measured(), tmp_path)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    with pytest.raises(EntryError, match="Not a plain file but a link"):
        read_entry(link)
