import json
import os
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
import yaml

from gdpo_bench.leaderboard.commands import main
from gdpo_bench.leaderboard.export import every_eval_ever, hub_result
from gdpo_bench.leaderboard.store import write_entry


@pytest.fixture
def eee_schema():
    """The schema as Every Eval Ever's own package carries it (which needs Python 3.12), or as a file."""
    found = os.environ.get("EEE_SCHEMA")
    if found is None:
        package = find_spec("every_eval_ever")
        if package is None or package.origin is None:
            pytest.skip("needs every-eval-ever, or its eval.schema.json named by EEE_SCHEMA: tox -e eee")
        found = Path(package.origin).parent / "schemas" / "eval.schema.json"
    return json.loads(Path(found).read_text())


def test_records_are_valid_by_every_eval_evers_own_schema(eee_schema, entry, replay, measured):
    for one in (entry(), replay(), measured().entry):
        jsonschema.Draft7Validator(eee_schema).validate(every_eval_ever(one))


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
    assert json.loads((tmp_path / "eee" / one.name).read_text())["schema_version"] == "0.3.0"
    hub = ["--to", "hf", "--out", ".eval_results", "--dataset", "openai/gsm8k", "--task", "gsm8k"]
    assert main(["export", str(one), *hub]) == 0
    (result,) = yaml.safe_load((tmp_path / ".eval_results" / f"{one.stem}.yaml").read_text())
    assert result["value"] == pytest.approx(0.85)
    capsys.readouterr()
    assert main(["export", str(one), "--to", "hf", "--out", "x"]) == 2
    assert "--dataset and --task" in capsys.readouterr().err
    assert main(["export", str(other), *hub]) == 2
    assert "has no accuracy; it has correct, format" in capsys.readouterr().err
    assert main(["export", "--to", "eee", "--out", "x"]) == 2
