import json
import os
import uuid
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from gdpo_bench.cli.leaderboard import main
from gdpo_bench.leaderboard.files.store import write_entry
from gdpo_bench.leaderboard.show.export import datastore_path, every_eval_ever, hub_result


@pytest.fixture(scope="session")
def eee():
    """Every Eval Ever's own package; in its own environment a missing one is a failure."""
    if "GDPO_BENCH_NEEDS_EEE" not in os.environ:
        pytest.importorskip("every_eval_ever", reason="needs every-eval-ever: tox -e eee")
    import every_eval_ever

    return Path(every_eval_ever.__file__).parent


def test_records_are_valid_by_every_eval_evers_own_schema(eee, entry, replay, measured):
    schema = json.loads((eee / "schemas" / "eval.schema.json").read_text())
    for one in (entry(), replay(), measured().entry):
        jsonschema.Draft7Validator(schema).validate(every_eval_ever(one))


MODELS = {
    "Qwen/Qwen2.5-1.5B": "Qwen/Qwen2.5-1.5B",
    "gpt2": "huggingface/gpt2",
    "/home/me/runs/my model:2": "local/my_model_2",
    "./small": "local/small",
    None: "gdpo-bench/mini",
}


def of_model(entry, model):
    details = entry.policy.details | ({} if model is None else {"config": {"model": model}})
    return entry.model_copy(update={"policy": entry.policy.model_copy(update={"details": details})})


@pytest.mark.parametrize("model", MODELS)
def test_a_record_lies_where_every_eval_evers_own_validator_wants_it(eee, entry, tmp_path, monkeypatch, model):
    from every_eval_ever.validator.validation_core import validate_aggregate

    one = of_model(entry(), model)
    path = tmp_path / datastore_path(one)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(every_eval_ever(one)))
    report = validate_aggregate(path, repo_path=str(datastore_path(one)), run_semantic_checks=True)
    assert (report.valid, report.errors, report.warnings) == (True, [], [])


@pytest.mark.parametrize(("model", "expected"), MODELS.items())
def test_a_record_lies_by_environment_developer_and_model_under_a_uuid_of_its_entry(entry, model, expected):
    one, other = of_model(entry(), model), entry("grpo")
    path = datastore_path(one)
    assert path.parts[:2] == ("data", "gdpo_TestMini-v0")
    assert "/".join(path.parts[2:4]) == expected == every_eval_ever(one)["model_info"]["id"]
    assert uuid.UUID(path.stem).version == 4
    assert datastore_path(one) == path
    assert datastore_path(other).stem != path.stem


def test_a_reward_that_applied_to_no_reply_is_left_out_and_one_that_applied_to_some_says_to_how_many(entry):
    whole = entry(finals=(0.9, 0.8))
    results = [
        result.model_copy(update={"applicable_share": {"format": 0.0, "correct": share}})
        for result, share in zip(whole.results, (0.5, 0.0), strict=True)
    ]
    record = every_eval_ever(whole.model_copy(update={"results": results}))
    found = {one["metric_config"]["metric_id"]: one["score_details"] for one in record["evaluation_results"]}
    assert "gdpo-bench.reward.format" not in found
    correct = found["gdpo-bench.reward.correct"]
    assert correct["score"] == whole.results[0].rewards["correct"].final
    assert correct["details"]["applicable_share"] == "0.25"
    assert "applicable_share" not in found["gdpo-bench.metric.accuracy"]["details"]


def test_a_record_holds_each_reward_and_metric_with_its_range_and_interval(entry):
    record = every_eval_ever(entry(finals=(0.9, 0.8, 0.7)))
    results = {one["metric_config"]["metric_id"]: one for one in record["evaluation_results"]}
    assert set(results) == {
        "gdpo-bench.reward.format",
        "gdpo-bench.reward.correct",
        "gdpo-bench.metric.accuracy",
        "gdpo-bench.metric.format_rate",
    }
    correct = results["gdpo-bench.reward.correct"]
    assert correct["score_details"]["score"] == pytest.approx(-3 + 6 * 0.8)
    interval = correct["score_details"]["uncertainty"]["confidence_interval"]
    assert interval["lower"] < correct["score_details"]["score"] < interval["upper"]
    assert (correct["metric_config"]["min_score"], correct["metric_config"]["max_score"]) == (-3, 3)
    texts = record["model_info"]["additional_details"]
    assert all(isinstance(text, str) for text in texts.values())
    assert texts["normalizer"] == "gdpo"


def test_metrics_that_count_shortfalls_are_better_when_lower(measured):
    from gdpo_bench import RewardSpec

    specs = [RewardSpec("format", 0, 1, "binary", metric="bug_ratio"), RewardSpec("correct", -3, 3, metric="accuracy")]
    lower = {
        one["metric_config"]["metric_name"]: one["metric_config"]["lower_is_better"]
        for one in every_eval_ever(measured(specs=specs).entry)["evaluation_results"]
    }
    assert lower == {"format": False, "correct": False, "accuracy": False, "bug_ratio": True}


def test_a_hub_result_has_the_fields_of_the_hubs_documentation(replay, entry):
    found = hub_result(entry(finals=(0.9, 0.8)), "openai/gsm8k", "gsm8k", "accuracy", "https://example.org/entry")
    assert found["dataset"] == {"id": "openai/gsm8k", "task_id": "gsm8k"}
    assert found["value"] == pytest.approx(0.85)
    assert found["date"] == "2026-01-02"
    assert found["source"]["url"] == "https://example.org/entry"
    assert found.keys() <= {"dataset", "value", "verifyToken", "date", "source", "evaluation_framework", "notes"}


def test_files_are_written_and_what_is_missing_is_named(tmp_path, monkeypatch, entry, replay, capsys):
    monkeypatch.chdir(tmp_path)
    one, other = write_entry(entry(), tmp_path), write_entry(replay(), tmp_path)
    assert main(["export", str(one), "--to", "eee", "--out", "eee"]) == 0
    (record,) = (tmp_path / "eee" / "data").rglob("*.json")
    assert json.loads(record.read_text())["schema_version"] == "0.3.0"
    hub = ["--to", "hf", "--out", ".eval_results", "--dataset", "openai/gsm8k", "--task", "gsm8k"]
    assert main(["export", str(one), *hub]) == 0
    (result,) = YAML(typ="safe", pure=True).load((tmp_path / ".eval_results" / f"{one.stem}.yaml").read_text())
    assert result["value"] == pytest.approx(0.85)
    capsys.readouterr()
    assert main(["export", str(one), "--to", "hf", "--out", "x"]) == 2
    assert "--dataset and --task" in capsys.readouterr().err
    assert main(["export", str(other), *hub]) == 2
    assert "has no accuracy; it has correct, format" in capsys.readouterr().err
    assert main(["export", "--to", "eee", "--out", "x"]) == 2
