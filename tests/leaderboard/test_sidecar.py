import gzip
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from gdpo_bench.core.measurements import RewardVectors, unpack
from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard import EntryError, make_entry
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun, parse_sidecar, read_sidecar, sidecar_path
from gdpo_bench.leaderboard.files.store import read_measured, write_measured
from gdpo_bench.leaderboard.files.verification import check_follows


@pytest.fixture(params=["training", "advantage"])
def either(request, measured, measured_advantages):
    return measured() if request.param == "training" else measured_advantages()


def remade(entry, **changes):
    """The entry after changes, with the id that follows: what a careful forger would submit."""
    kept = ("track", "environment", "normalizer", "policy", "training", "results", "provenance", "sidecar")
    return make_entry(**{name: getattr(entry, name) for name in kept} | changes)


def test_an_entry_and_its_sidecar_survive_their_files(tmp_path, either):
    path = write_measured(either, tmp_path)
    read = read_measured(path)
    assert read.entry == either.entry
    assert read.sidecar.content == either.sidecar.content


def test_a_sidecar_keeps_every_value_exactly():
    values = np.array([[0.1 + 0.2, 1.0], [5e-324, -0.0]])
    yes = np.ones_like(values, bool)
    from gdpo_bench.core.scoring import Scores

    one = RewardVectors(5, Scores(values, values * 2, yes, ~yes), np.array(["b", "a"]), np.array([0, 1]))
    (again,) = unpack(one.pack())
    assert np.array_equal(again.scores.values, values)
    assert np.array_equal(again.scores.raw, values * 2)
    assert again.task_ids.tolist() == ["b", "a"]
    assert (again.lengths, again.advantages, again.labels) == (None, None, [])
    assert [part.step for part in unpack(one.pack() + replace(one, step=6).pack())] == [5, 6]


def test_equal_sidecars_are_equal_files_and_the_order_of_runs_does_not_matter(measured):
    one, other = measured().sidecar, measured().sidecar
    assert one.compressed == other.compressed
    assert Sidecar.of(one.rewards, one.runs[::-1]).sha256 == one.sha256


def test_the_hash_is_of_the_content_whatever_compressed_it(tmp_path, either):
    path = write_measured(either, tmp_path)
    sidecar_path(path, path.stem).write_bytes(gzip.compress(either.sidecar.content, 1, mtime=12345))
    assert read_measured(path).entry == either.entry


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "text":
        path.write_text("{}")
    elif how == "edited":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"value":[[1', b'"value":[[0', 1)))
    elif how == "another's":
        path.write_bytes(gzip.compress(b"{}"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "The sidecar is missing"),
        ("truncated", "The sidecar is damaged.*cut off"),
        ("text", "The sidecar is damaged"),
        ("edited", "it was changed, or is another entry's"),
        ("another's", "it was changed, or is another entry's"),
    ],
)
def test_each_kind_of_damage_to_a_sidecar_is_named(tmp_path, either, how, message):
    path = write_measured(either, tmp_path)
    damage(sidecar_path(path, path.stem), how)
    with pytest.raises(EntryError, match=message) as raised:
        read_measured(path)
    assert path.stem in str(raised.value)


def parsed(fields):
    return parse_sidecar(canonical_json(fields).encode())


def test_a_sidecar_that_is_none_is_refused(tmp_path, either):
    fields = json.loads(either.sidecar.content)
    evaluation = fields["runs"][0]["evaluations"][0]
    assert parsed(fields).sha256 == either.sidecar.sha256
    for change in (
        {"format": 2},
        {"format": True},
        {"beside": 1},
        {"rewards": 3},
        {"rewards": [1, 2]},
        {"runs": [{"seed": {"rl": "1", "warm_start": 1}, "evaluations": [evaluation]}]},
        {"runs": [{"seed": None}]},
        {"runs": [{"seed": {"rl": "x"}, "evaluations": []}]},
        *({"runs": [{"seed": None, "evaluations": [evaluation | bad]}]} for bad in BAD_COLUMNS),
    ):
        with pytest.raises(EntryError, match="sidecar"):
            parsed(fields | change)
    for content in (b"", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(EntryError, match="Not a sidecar"):
            parse_sidecar(content)


BAD_COLUMNS = (
    {"value": []},
    {"raw": [[1], [2]]},
    {"raw": None},
    {"task": [0, 99]},
    {"task": []},
    {"task": [-1] * 12},
    {"group": [0]},
    {"length": [1, 2]},
    {"applicable": [[2] * 12, [1] * 12]},
    {"label": [True]},
    {"advantage": ["x"]},
    {"step": None},
    {"step": 0.0},
    {"step": False},
    {"step": "0"},
    {"beside": 1},
    {"group": [0.0] * 12},
    {"raw": [[1.0] * 12, [1] * 12]},
    {"raw": [["1"] * 12, [1] * 12]},
    {"raw": [[2**60 + 1] * 12, [1] * 12]},
    {"failed": [[False] * 12, [0] * 12]},
    {"label": []},
    {"label": "x" * 12},
    {"tasks": ["a", "b", "c", "unasked"]},
    {"tasks": ["b", "a", "c"]},
    {"tasks": [1, 2, 3]},
    {"tasks": ["a", "b", "c\0"]},
)


def test_a_text_that_says_the_same_otherwise_is_another_one(either):
    """What is filed is what was hashed: `submit` would write it again, with another hash."""
    content = either.sidecar.content
    longer = re.sub(rb"([.]\d+)", rb"\g<1>0", content, count=1)
    for other in (longer, content + b"\n", content.replace(b'"raw"', b'"ra\\u0077"', 1)):
        assert other != content
        with pytest.raises(EntryError, match="Not a sidecar"):
            parse_sidecar(other)


def test_an_entry_whose_statistics_do_not_follow_is_refused(either):
    check_follows(either.entry, either.sidecar)
    result = either.entry.results[-1].model_dump(mode="json")

    def forged(change):
        fields = json.loads(json.dumps(result))
        change(fields)
        results = [*either.entry.results[:-1], type(either.entry.results[0]).model_validate(fields)]
        return remade(either.entry, results=results)

    def curve(fields, kind, name):
        points = fields[kind][name]["curve"]
        points[-1] = points[-1] * 0.9 + 0.01
        fields[kind][name]["final"] = points[-1]

    for change, where in (
        (lambda f: curve(f, "rewards", "correct"), r"rewards\.correct.*its reward vectors give"),
        (lambda f: curve(f, "metrics", "accuracy"), r"metrics\.accuracy"),
        (lambda f: f.update(applicable_share={}), r"applicable_share"),
        (lambda f: f.update(steps=[one + 1 for one in f["steps"]]), r"steps"),
    ):
        with pytest.raises(EntryError, match=where):
            check_follows(forged(change), either.sidecar)
    if either.entry.track == "advantage":
        for name in ("distinct_levels", "zero_signal_share", "label_agreement"):
            with pytest.raises(EntryError, match=f"diagnostics.{name}"):
                check_follows(forged(lambda f, name=name: f["diagnostics"].update({name: 0.123})), either.sidecar)


def test_advantages_that_were_changed_no_longer_give_the_diagnostics(measured_advantages):
    one = measured_advantages()
    (run,) = one.sidecar.runs
    flat = replace(run.evaluations[0], advantages=np.zeros(80))
    with pytest.raises(EntryError, match="diagnostics"):
        check_follows(one.entry, Sidecar.of(one.sidecar.rewards, [SidecarRun(None, [flat])]))


def test_a_sidecar_of_other_seeds_rewards_or_tasks_is_refused(measured):
    one = measured()
    other_tasks = [
        SidecarRun(run.seed, [replace(part, task_ids=np.char.add(part.task_ids, "x")) for part in run.evaluations])
        for run in one.sidecar.runs
    ]
    for sidecar, message in (
        (Sidecar(one.sidecar.rewards, one.sidecar.runs[:1]), "other seeds"),
        (Sidecar(["format", "right"], one.sidecar.runs), "its rewards are format, right"),
        (Sidecar(one.sidecar.rewards, other_tasks), "its tasks are not those of the environment"),
    ):
        with pytest.raises(EntryError, match=message):
            check_follows(one.entry, sidecar)


def test_rewards_outside_their_range_or_changed_without_a_gate_are_refused(measured):
    one = measured()
    for column, amount, message in ((0, 0.5, "has no gate"), (1, -40.0, "leaves the declared range")):
        damaged = parse_sidecar(one.sidecar.content)
        scores = damaged.runs[0].evaluations[0].scores
        (scores.values if column == 0 else scores.raw)[2, column] += amount
        with pytest.raises(EntryError, match=message):
            check_follows(one.entry, damaged)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    from gdpo_bench.leaderboard.files import sidecar

    monkeypatch.setattr(sidecar, "LARGEST", 1 << 20)
    path = tmp_path / "bomb.json.gz"
    content = b" " * (2 << 20)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(EntryError, match="more than 1,048,576 bytes"):
        read_sidecar(path, hashlib.sha256(content).hexdigest())
