"""Entries in the formats of others: the Hub's `.eval_results` and Every Eval Ever.

Sources: https://github.com/huggingface/hub-docs/blob/main/docs/hub/eval-results.md and
https://github.com/evaleval/every_eval_ever/blob/main/eval.schema.json (version 0.3.0).
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Literal

import tyro

from gdpo_bench.core import yaml
from gdpo_bench.core.errors import DataError
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.intervals import CONFIDENCE
from gdpo_bench.core.rewards import SHORTFALL_METRICS, Metric
from gdpo_bench.leaderboard.compare.statistics import Estimate, estimate, finals
from gdpo_bench.leaderboard.files.schema import Entry, Seed
from gdpo_bench.leaderboard.files.store import ROOT, find_entry_file, read_entry

EEE_VERSION = "0.3.0"
_PROJECT = "gdpo-bench"


def export(
    names: tyro.conf.Positional[tuple[str, ...]],
    *,
    to: Literal["hf", "eee"],
    out: Path,
    root: Path = ROOT,
    dataset: str | None = None,
    task: str | None = None,
    metric: Metric = "accuracy",
    source: str | None = None,
) -> int:
    """Write entries for the Hugging Face Hub or Every Eval Ever.

    Args:
        names: Entries: their files, or the first digits of their ids.
        to: Format: `hf` for the Hub, `eee` for Every Eval Ever.
        out: Folder to write to: `.eval_results/` in a model's repository; for eee a checkout of its data store, where
            a record lies at data/<environment>/<developer>/<model>/<uuid>.json.
        root: The leaderboard's folder, for ids.
        dataset: For hf: the benchmark data set on the Hub that the environment's tasks come from, as openai/gsm8k.
        task: For hf: the task's id in that data set's eval.yaml.
        metric: For hf: which of the entry's metrics is the value.
        source: For hf: address where the entry can be seen.

    Returns:
        0.

    Raises:
        DataError: There is no such entry, or it lacks what the format asks for.
        WriteError: A file could not be written.
    """
    if not names:
        raise DataError("Nothing to export; name entries by their files or ids.")
    for entry in [read_entry(find_entry_file(name, root)) for name in names]:
        if to == "eee":
            path, text = out / datastore_path(entry), json.dumps(every_eval_ever(entry), indent=2) + "\n"
        else:
            if dataset is None or task is None:
                raise DataError("The Hub files results by data set and task: name them with --dataset and --task.")
            results = [hub_result(entry, dataset, task, metric, source)]
            path, text = out / f"{entry.id}.yaml", yaml.dump(results)
        write_atomically(path, text)
        print(f"Wrote {path}.")
    return 0


def hub_result(
    entry: Entry, dataset: str, task: str, metric: Metric = "accuracy", source: str | None = None
) -> dict[str, Any]:
    """One result in the format of `.eval_results/*.yaml` in a model's repository.

    Args:
        entry: The entry.
        dataset: Id of a benchmark data set on the Hub.
        task: Id of a task in its eval.yaml.
        metric: Which metric is the value: its mean final value over seeds, in [0, 1].
        source: Address where the entry can be seen.

    Raises:
        DataError: The entry does not have that metric.
    """
    found = _estimate(entry, metric)
    result: dict[str, Any] = {
        "dataset": {"id": dataset, "task_id": task},
        "value": found.mean,
        "date": entry.provenance.date.date().isoformat(),
    }
    if source is not None:
        result["source"] = {"url": source, "name": f"{_PROJECT} entry {entry.id}"}
    how = f"{metric}, mean of {found.runs} runs"
    if found.interval:
        how += f" [{found.interval.low:.4g}, {found.interval.high:.4g}]"
    result["notes"] = f"{_what(entry)}; {how}; gdpo-bench entry {entry.id}"
    return result


def datastore_path(entry: Entry) -> PurePath:
    """Where Every Eval Ever keeps a record: data/<benchmark>/<developer>/<model>/<uuid>.json.

    The uuid follows from the entry's id, so that an entry that is exported again replaces its record.
    """
    developer, model = _model(entry).split("/")
    name = uuid.UUID(bytes=hashlib.sha256(entry.id.encode()).digest()[:16], version=4)
    return PurePath("data", entry.environment.id.replace("/", "_"), developer, model, f"{name}.json")


def every_eval_ever(entry: Entry) -> dict[str, Any]:
    """An entry as a record of Every Eval Ever: a result for each reward and metric that applied to some reply."""
    provenance = entry.provenance
    created = str(int(provenance.date.timestamp()))
    model = _model(entry)
    record: dict[str, Any] = {
        "schema_version": EEE_VERSION,
        "evaluation_id": f"{entry.environment.id}/{model.replace('/', '_')}/{created}",
        "evaluation_timestamp": created,
        "retrieved_timestamp": created,
        "source_metadata": {
            "source_name": f"{_PROJECT} leaderboard, entry {entry.id}",
            "source_type": "evaluation_run",
            "source_organization_name": provenance.author,
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "gdpo_bench",
            "version": provenance.versions.get("gdpo_bench", "unknown"),
            "additional_details": _texts({"command": provenance.command, "git_sha": provenance.git_sha}),
        },
        "model_info": {
            "name": f"{model} ({_what(entry)})",
            "id": model,
            "additional_details": {
                "deployment_type": "self_deployed" if entry.training is not None else "unknown",
                "model_availability": "open_weights" if "config" in entry.policy.details else "unknown",
                **_texts(
                    {
                        "track": entry.track,
                        "normalizer": entry.normalizer.name,
                        "normalizer_options": entry.normalizer.options,
                        "normalizer_weights": entry.normalizer.model_dump(mode="json")["weights"],
                        "training": entry.training,
                    }
                ),
            },
        },
        "evaluation_results": [
            *(
                _result(entry, one.name, "reward", one.low, one.high)
                for one in entry.environment.rewards
                if finals(entry, one.name)
            ),
            *(
                _result(entry, name, "metric", 0.0, 1.0, lower_is_better=name in SHORTFALL_METRICS)
                for name in sorted(entry.results[0].metrics)
            ),
        ],
    }
    if provenance.engine is not None:
        engine = {"name": provenance.engine.name, "version": provenance.engine.version}
        record["model_info"]["inference_engine"] = engine
    return record


def _result(
    entry: Entry, name: str, kind: str, low: float, high: float, *, lower_is_better: bool = False
) -> dict[str, Any]:
    found = _estimate(entry, name)
    environment = entry.environment
    details: dict[str, Any] = {
        "score": found.mean,
        "details": _texts(
            {
                "runs": found.runs,
                "units": found.n,
                "unit": found.unit,
                "applicable_share": _applicable_share(entry, name),
            }
        ),
    }
    if found.count:
        details["details"]["reached_upper_third"] = f"{found.count.k} of {found.count.n}"
    if found.interval:
        interval = {"lower": found.interval.low, "upper": found.interval.high}
        details["uncertainty"] = {"confidence_interval": {**interval, "confidence_level": CONFIDENCE}}
    return {
        "evaluation_name": f"{environment.id}: {name}",
        "evaluation_timestamp": str(int(entry.provenance.date.timestamp())),
        "source_data": {
            "dataset_name": environment.id,
            "source_type": "other",
            "additional_details": _texts(
                {
                    "split": environment.split,
                    "num_tasks": environment.num_tasks,
                    "task_ids_hash": environment.task_ids_hash,
                    "data_revision": environment.data_revision,
                    "grader_revision": environment.grader_revision,
                    "options": environment.options,
                }
            ),
        },
        "metric_config": {
            "evaluation_description": f"Mean final {kind} {name} over runs",
            "metric_id": f"{_PROJECT}.{kind}.{name}",
            "metric_name": name,
            "lower_is_better": lower_is_better,
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
        },
        "score_details": details,
    }


def _estimate(entry: Entry, name: str) -> Estimate:
    """Mean final value of a reward or metric over the entry's independent units, as far as it applied there."""
    if name in entry.results[0].rewards:
        (reward,) = (one for one in entry.environment.rewards if one.name == name)
        return estimate(finals(entry, name), (reward.low, reward.high))
    values: dict[Seed | None, float] = {}
    for result in entry.results:
        metrics = {str(metric): curve.final for metric, curve in result.metrics.items()}
        if name not in metrics:
            raise DataError(f"Entry {entry.id} has no {name}; it has {', '.join([*result.rewards, *metrics])}.")
        values[result.seed] = metrics[name]
    return estimate(values, (0.0, 1.0))


def _applicable_share(entry: Entry, name: str) -> float | None:
    """Share of the rollouts that a reward applied to; None where it was all of them, and of a metric."""
    shares = [result.applicable_share.get(name, 1.0) for result in entry.results]
    share = sum(shares) / len(shares)
    return share if share < 1 else None


def _model(entry: Entry) -> str:
    """developer/model, in letters that may stand in a path."""
    known = str(entry.policy.details.get("config", {}).get("model", f"{_PROJECT}/{entry.policy.name}"))
    parts = re.sub(r"[^A-Za-z0-9._/-]", "_", known).strip("/.").split("/")
    # A folder on somebody's disk has no developer; nor have the Hub's oldest models, which are its own.
    developer = parts[0] if len(parts) == 2 else "huggingface" if known == parts[0] else "local"
    return f"{developer}/{parts[-1]}"


def _what(entry: Entry) -> str:
    how = "trained with" if entry.training is not None else "scored, advantages by"
    return f"{entry.policy.name}, {how} {entry.normalizer.name} on {entry.environment.id}"


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as text, which is all that the format's additional details may hold."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in values.items()
        if value is not None
    }
