"""From a leaderboard entry back to the job that made it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gdpo_bench.advantages.foreign import FOREIGN_FIELDS
from gdpo_bench.core.registry import names_environment
from gdpo_bench.jobs.consent import check_consent, check_sizes
from gdpo_bench.jobs.job import EnvChoice, Job, JobError, check
from gdpo_bench.jobs.plan import Plan, plan
from gdpo_bench.leaderboard import Entry


def rebuild(
    entry: Entry,
    seeds: int | None = None,
    completions: Path | None = None,
    allow_code: bool = False,
    allowed: Collection[str] = (),
) -> Plan:
    """The plan of the job that an entry came from, checked to be about the same tasks, rewards and options.

    Args:
        entry: The entry.
        seeds: Only so many of its seeds, the first.
        completions: The replies that were scored, for an entry that replays some.
        allow_code: Whether its normalizer may be code that is not registered here, if its source is the recorded one.
        allowed: Models, folders and files that it may have read or fetched.

    Raises:
        JobError: What the entry was run on is not what is here, it cannot be run again, or it asks for what is not
            allowed.
        GdpoBenchError: An environment, normalizer, policy or backend is not there.
    """
    if "processes" in entry.policy.details:
        raise JobError(
            f"Entry {entry.id} was trained by {entry.policy.details['processes']} processes together; run its command: "
            f"{entry.provenance.command}"
        )
    if not names_environment(entry.environment.id):
        raise JobError(
            f"{entry.environment.id}, which entry {entry.id} was run on, is not registered here. An environment whose "
            "tasks or rewards changed goes on under a new version; the old one is in the commit that made the entry:\n"
            f"  git checkout {entry.provenance.git_sha or '(not recorded)'}\n"
            f"  python -m gdpo_bench.leaderboard reproduce {entry.id}"
        )
    check_consent(entry, allow_code, allowed)
    job = job_of(entry, seeds, completions)
    imitated = tuple(EnvChoice.model_validate(one) for one in entry.policy.details.get("warm_start_envs", ()))
    check_sizes(job, imitated)
    planned = plan(job)
    _check_same(entry, planned)
    return replace(planned, imitated=imitated or None)


def job_of(entry: Entry, seeds: int | None = None, completions: Path | None = None) -> Job:
    """The job for one entry; see `rebuild`."""
    config = entry.normalizer
    values: dict[str, Any] = {
        "name": f"reproduce-{entry.id}",
        "envs": [{"id": entry.environment.id, "options": entry.environment.options}],
        "normalizers": [
            {
                "normalizer": config.name,
                "options": {name: value for name, value in config.live_options.items() if name not in FOREIGN_FIELDS},
                "weights": config.weights,
            }
        ],
        "policy": _policy(entry, completions),
    }
    if entry.training is not None:
        values["training"] = _training(entry.trained_with())
        values["rollout"] = entry.policy.details.get("rollout", "transformers")
        pairs = [result.seed for result in entry.results if result.seed is not None]
        values["seeds"] = [{"warm_start": seed.warm_start or 0, "rl": seed.rl} for seed in pairs[:seeds]]
        engine = entry.provenance.engine
        if engine is not None and (engine.device == "cpu" or torch.cuda.is_available()):
            values["runtime"] = {"device": engine.device}
    return check(values)


def _policy(entry: Entry, completions: Path | None) -> str:
    policy = entry.policy
    if policy.name == "replay":
        if completions is None:
            raise JobError(f"Entry {entry.id} scored given replies: name their file with --completions.")
        return f"replay:{completions}"
    config = dict(policy.details.get("config", {}))
    if config.pop("model", None) is not None and policy.details.get("commit"):
        config["revision"] = policy.details["commit"]
    config |= config.pop("chat_template_kwargs", {})
    options = {name: json.dumps(value) for name, value in config.items()}
    if any("," in text for text in options.values()):
        raise JobError(f"The options of policy {policy.name} hold a comma; run the entry's command instead.")
    return policy.name + (":" + ",".join(f"{name}={text}" for name, text in options.items()) if options else "")


def _training(options: dict[str, Any]) -> dict[str, Any]:
    """An entry's training options under today's names: one option has become two since the first entries."""
    known = dict(options)
    if "clip" in known:
        known["clip_low"] = known["clip_high"] = known.pop("clip")
    return known


def _check_same(entry: Entry, planned: Plan) -> None:
    (env,), (normalizer,) = planned.envs, planned.normalizers
    here = {**env.description.model_dump(mode="json"), "normalizer": normalizer.describe(env.specs).options}
    then = {**entry.environment.model_dump(mode="json"), "normalizer": entry.normalizer.live_options}
    other = [f"{name} was {_short(then[name])}, is {_short(here[name])}" for name in then if then[name] != here[name]]
    if other:
        raise JobError(
            f"What entry {entry.id} was run on is not what is here: {'; '.join(other)}. Install the version that made "
            f"it (commit {entry.provenance.git_sha or 'unknown'}) and the same data."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:200] + "…"
