import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdpo_bench import RewardSpec
from gdpo_bench.leaderboard import (
    Curve,
    EntryError,
    Environment,
    NormalizerConfig,
    PolicyConfig,
    Seed,
    SeedResult,
    entry_text,
    make_entry,
    parse_entry,
)
from gdpo_bench.leaderboard.files import entries


def changed(entry, change):
    """An entry's JSON after a change, with the id that follows from it."""
    fields = json.loads(entry_text(entry))
    change(fields)
    fields["id"] = entries.content_id(fields)
    return json.dumps(fields)


def test_an_entry_survives_its_file(entry):
    first = entry(options={"eps": 1e-6, "bounds": (1, 2), "inner": {"on": True, "what": None}})
    assert parse_entry(entry_text(first)) == first
    assert entry_text(parse_entry(entry_text(first))) == entry_text(first)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    points=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    rl=st.integers(),
    options=st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3),
)
def test_any_numbers_and_options_survive_the_file_exactly(make_provenance, points, rl, options):
    result = SeedResult(
        seed=Seed(warm_start=None, rl=rl),
        steps=list(range(len(points))),
        rewards={"r": Curve.of(points)},
        metrics={},
        diagnostics={},
    )
    made = make_entry(
        track="training",
        environment=Environment.describe(
            "a/B-v0", options=options, specs=[RewardSpec("r", 0, 1)], split="eval", task_ids=["x"]
        ),
        normalizer=NormalizerConfig(name="x", options=options, weights={"r": 1.0}),
        policy=PolicyConfig(name="mini", details=options),
        training=options,
        results=[result],
        provenance=make_provenance(),
    )
    assert parse_entry(entry_text(made)) == made


def test_the_text_has_sorted_keys_and_one_line_end(entry):
    text = entry_text(entry())
    fields = json.loads(text)
    assert list(fields) == sorted(fields)
    assert text.endswith("}\n")
    assert text == json.dumps(fields, sort_keys=True, indent=2) + "\n"


def test_the_id_depends_neither_on_key_order_nor_on_the_order_of_seeds(entry):
    seeds = [Seed(warm_start=0, rl=0), Seed(warm_start=0, rl=1)]
    one = entry(finals=(0.9, 0.8), seeds=seeds, options={"eps": 1.0, "ddof": 1})
    other = entry(finals=(0.8, 0.9), seeds=seeds[::-1], options={"ddof": 1, "eps": 1.0})
    assert one.id == other.id
    assert entry_text(one) == entry_text(other)


def test_the_id_ignores_who_ran_it_where_and_when(entry, make_provenance):
    here = entry()
    there = entry(provenance=make_provenance(author="else", date="2030-01-01T00:00:00Z", git_sha="f00", command="x"))
    assert here.id == there.id == entry(supersedes="0123456789abcdef").id
    assert here != there


@pytest.mark.parametrize(
    "change",
    [
        {"finals": (0.9, 0.8000001)},
        {"options": {"eps": 1e-4}},
        {"weights": {"format": 2.0, "correct": 1.0}},
        {"environment": "gdpo/OtherMini-v0"},
        {"seeds": [Seed(warm_start=0, rl=0), Seed(warm_start=1, rl=1)]},
        {"division": "open"},
        {"grader_revision": 2},
    ],
)
def test_the_id_changes_with_what_was_run_or_measured(entry, change):
    assert entry(**change).id != entry().id


def test_zero_and_minus_zero_are_the_same_measurement():
    assert str(Curve.of([-0.0]).final) == "0.0"


def test_the_order_of_tasks_does_not_change_their_hash_and_their_number_counts_each_once():
    def describe(task_ids):
        return Environment.describe(
            "a/B-v0", options={}, specs=[RewardSpec("r", 0, 1)], split="eval", task_ids=task_ids
        )

    assert describe(["a", "b", "b"]) == describe(["b", "a"])
    assert describe(["a", "b"]).num_tasks == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("policy"), "policy: Field required"),
        (lambda f: f.update(extra=1), "extra: Extra inputs are not permitted"),
        (
            lambda f: f["results"][0]["rewards"]["format"].update(final=0.5),
            r"final must be the curve's last point, 0.9; got 0.5",
        ),
        (
            lambda f: f["results"][0]["rewards"].pop("format"),
            r"results\[0\].rewards must name correct, format; got correct",
        ),
        (lambda f: f["results"][1]["metrics"].pop("accuracy"), r"results\[1\].metrics must name"),
        (lambda f: f["results"].reverse(), "sorted by seed"),
        (lambda f: f["results"].append(f["results"][1]), "each seed once"),
        (lambda f: f["results"].clear(), "results: List should have at least 1 item"),
        (lambda f: f["results"][0].update(steps=[0, 10]), "'correct' has 3 points for 2 steps"),
        (lambda f: f["results"][0].update(steps=[0, 20, 10]), "steps must increase"),
        (lambda f: f["results"][0]["applicable_share"].update(speed=0.5), "names no reward: speed"),
        (lambda f: f["results"][0]["metrics"].update(accuracy={"curve": [0, 0, 2.0], "final": 2.0}), "must lie in"),
        (lambda f: f["results"][0]["metrics"].update(speed={"curve": [1.0] * 3, "final": 1.0}), "metrics.speed"),
        (
            lambda f: f["environment"]["rewards"][0].update(high=0),
            r"rewards\.0: low must be below high; got \[0, 0\]",
        ),
        (lambda f: f["environment"]["rewards"][0].update(high=0.5), "reward_spec_hash does not follow"),
        (lambda f: f["environment"].update(id="../../etc/passwd"), "environment.id: String should match pattern"),
        (lambda f: f["normalizer"].update(weights={"format": 1.0}), "normalizer.weights must name correct, format"),
        (lambda f: f.update(training=None), "training options belong to the training track"),
        (lambda f: f.update(track="trainning"), "track: Input should be 'training' or 'advantage'"),
        (lambda f: f["provenance"].update(date="yesterday"), "provenance.date: "),
        (lambda f: f.update(schema_version=3), "newer gdpo-bench .*format 3; this one reads up to 2.*Update"),
        (lambda f: f.update(schema_version=2), "format 2 needs a sidecar"),
        (lambda f: f.update(sidecar="0" * 64), "format 1 has none"),
        (lambda f: f.update(schema_version=0), "Unknown entry format 0; this gdpo-bench reads 1, 2"),
        (lambda f: f.update(schema_version="1"), "schema_version; got '1'"),
        (lambda f: f.pop("schema_version"), "schema_version; got None"),
    ],
)
def test_a_contradictory_entry_is_refused_with_the_reason(entry, change, message):
    with pytest.raises(EntryError, match=message):
        parse_entry(changed(entry(), change))


def test_a_reward_outside_its_declared_range_is_refused(entry):
    def change(fields):
        fields["results"][0]["rewards"]["format"] = {"curve": [0.0, 0.0, 1.5], "final": 1.5}

    with pytest.raises(EntryError, match=r"results\[0\].rewards.format leaves the declared range \[0.0, 1.0\]"):
        parse_entry(changed(entry(), change))


def test_every_complaint_is_listed(entry):
    def change(fields):
        del fields["policy"]
        fields["division"] = "half-open"

    with pytest.raises(EntryError, match=r"division: .*; policy: Field required"):
        parse_entry(changed(entry(), change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Not JSON: line 1, column 1.*cut off"),
        ("hello", "Not JSON: line 1, column 1"),
        ('{\n  "id": oops\n}', "Not JSON: line 2, column 9"),
        ("[1, 2]", "Expected an entry, a JSON object; got list"),
        ('{"schema_version": NaN}', "schema_version is NaN, which is not finite"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_text_that_is_no_entry_is_refused_with_the_place(text, message):
    with pytest.raises(EntryError, match=message):
        parse_entry(text)


@given(share=st.floats(0, 0.99))
def test_a_truncated_entry_is_never_taken_for_one(entry, share):
    text = entry_text(entry()).rstrip()
    with pytest.raises(EntryError, match="Not JSON"):
        parse_entry(text[: int(len(text) * share)])


def test_a_number_too_large_for_a_float_is_refused(entry):
    text = entry_text(entry()).replace('"distinct_levels": 5.0', '"distinct_levels": 1e999', 1)
    with pytest.raises(EntryError, match=r"results\[0\].diagnostics.distinct_levels is 1e999, which is not finite"):
        parse_entry(text)


def test_a_hand_edited_number_no_longer_fits_the_id(entry):
    text = entry_text(entry()).replace('"distinct_levels": 5.0', '"distinct_levels": 6.0', 1)
    with pytest.raises(EntryError, match=r"does not follow from the content.*changed after it was written"):
        parse_entry(text)


def test_options_that_json_cannot_hold_are_refused_when_the_entry_is_made(entry):
    with pytest.raises(ValueError, match="must be JSON-able"):
        entry(options={"eps": float("nan")})
    with pytest.raises(ValueError, match="must be JSON-able"):
        entry(options={"function": print})


def test_an_old_format_is_migrated_and_its_id_checked_as_it_was_written(entry, monkeypatch):
    def from_version_0(fields):
        fields["policy"] = {"name": fields.pop("policy_name"), "details": {}}
        return {**fields, "schema_version": 1}

    def age(fields):
        fields["policy_name"] = fields.pop("policy")["name"]
        fields["schema_version"] = 0

    monkeypatch.setitem(entries.MIGRATIONS, 0, from_version_0)
    old = changed(entry(), age)
    read = parse_entry(old)
    assert read.policy.name == "mini"
    assert read.id == json.loads(old)["id"]
    with pytest.raises(EntryError, match="does not follow"):
        parse_entry(old.replace('"rl": 1', '"rl": 2'))


def test_an_entry_of_the_first_grader_is_written_as_before_there_were_revisions(entry):
    fields = json.loads(entry_text(entry(grader_revision=1)))
    assert "grader_revision" not in fields["environment"]
    assert parse_entry(json.dumps(fields)).environment.grader_revision == 1
    later = entry(grader_revision=2)
    assert json.loads(entry_text(later))["environment"]["grader_revision"] == 2
    assert parse_entry(entry_text(later)) == later


def test_an_entry_of_format_1_is_written_again_byte_for_byte():
    board = Path(__file__).parents[2] / "leaderboards"
    old = [path for path in board.rglob("*.json") if '"schema_version": 1' in path.read_text()]
    assert old
    assert all(entry_text(parse_entry(path.read_text())) == path.read_text() for path in old)


def test_an_entry_with_a_sidecar_is_of_format_2_and_bound_to_it(measured):
    first, other = measured(), measured(luck=1)
    assert first.entry.schema_version == 2
    assert parse_entry(entry_text(first.entry)) == first.entry
    fields = json.loads(entry_text(first.entry))
    fields["sidecar"] = other.sidecar.sha256
    with pytest.raises(EntryError, match="does not follow from the content"):
        parse_entry(json.dumps(fields))


def test_importing_the_leaderboard_loads_no_torch():
    code = "import sys, gdpo_bench.cli.leaderboard; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
