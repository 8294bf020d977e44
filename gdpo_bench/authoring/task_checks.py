"""Checks of tasks, interfaces and processes."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from functools import partial

import gymnasium as gym
import numpy as np

from gdpo_bench.authoring.checks import FailedError, SkippedError, check
from gdpo_bench.authoring.env_under_check import EnvUnderCheck
from gdpo_bench.authoring.probes import Probe, demonstration_probes, play_alone
from gdpo_bench.core.authored import demonstrations_end
from gdpo_bench.core.env import messages_of
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.scoring import EpisodeBatch
from gdpo_bench.core.single_env import RolloutEnv
from gdpo_bench.core.task import Task, canonical_json


@check("json", "Tasks are JSON-able, and their messages are texts")
def _json(checked: EnvUnderCheck) -> None:
    for split, tasks in checked.tasks.items():
        try:
            canonical_json([task.id for task in tasks])
        except (GdpoBenchError, TypeError, ValueError) as error:
            raise FailedError(f"A task of {split!r} is not JSON-able: {error}") from error
    for task in checked.sample:
        messages_of(checked.env, task)


@check("tasks", "No task occurs twice, and all are the same in every instance", needs=("json",))
def _tasks(checked: EnvUnderCheck) -> None:
    twin = [(checked.twin, "called on another instance")] if checked.twin else []
    for split, tasks in checked.tasks.items():
        ids = [task.id for task in tasks]
        twice = [id for id, count in Counter(ids).items() if count > 1]
        if twice:
            raise FailedError(f"{len(twice)} tasks occur more than once in {split!r}, such as {twice[0]}: drop copies.")
        for again, whose in ((checked.env, "called again"), *twin):
            if [task.id for task in again.tasks(split)] != ids:
                raise FailedError(
                    f"tasks({split!r}) gives other tasks or another order when {whose}. Draw them with a seed of "
                    "their own, Random(0), and sort what comes out of sets."
                )


@check("splits", "Splits share no content", needs=("json",))
def _splits(checked: EnvUnderCheck) -> None:
    for error in checked.missing.values():
        raise SkippedError(f"{error}")
    if len(checked.tasks) < 2:
        raise SkippedError(f"There is only the split {next(iter(checked.tasks))!r}.")
    seen: dict[str, tuple[str, Task]] = {}
    for split, tasks in checked.tasks.items():
        for task in tasks:
            # In a dialogue the same question may be about other things; a lone prompt is all there is.
            shown = [m["content"] for m in checked.env.messages(task)] if checked.env.max_turns == 1 else [task.id]
            key = " ".join(" ".join(shown).split()).casefold()
            before, first = seen.setdefault(key, (split, task))
            if before != split:
                raise FailedError(
                    f"Task {first.id} of {before!r} is also in {split!r} ({task.id}): {task.prompt!r:.100}. Use "
                    "split_by_content, or leave out of one split what is in the other (spaces and capitals aside)."
                )


@check("api", "Gymnasium's checker passes, through MO-Gymnasium's LinearReward", needs=("json",))
def _api(checked: EnvUnderCheck) -> None:
    task = checked.sample[0]
    first = play_alone(checked.env, checked.name, Probe(task, ("hello",), "one word"))
    if first.error and not first.is_reward_error:
        raise FailedError(f"No episode can be played: {first.error}.")
    if not checked.registered:
        raise SkippedError("Gymnasium makes environments by id; this one is given as an object.")
    if first.error:
        raise SkippedError("Gymnasium's checker needs rewards that can be read; see `values`.")
    _pass_gymnasiums_checker(checked)


def _pass_gymnasiums_checker(checked: EnvUnderCheck) -> None:
    try:
        from gdpo_bench.authoring.linear import FreshLinearReward  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise SkippedError("MO-Gymnasium is not installed: pip install mo-gymnasium.") from error
    from gymnasium.utils.env_checker import check_env  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice, such as that the environment is wrapped
            split = next(iter(checked.tasks))
            # Gymnasium takes the colon of `scheme:name` for that of `module:id`.
            make = (
                partial(gym.make, checked.name) if checked.name in gym.registry else partial(RolloutEnv, checked.name)
            )
            env = make(split=split, **checked.options)
            check_env(FreshLinearReward(env, np.ones(len(checked.names))), skip_render_check=True)
    except (Exception, SystemExit) as error:  # the checker asserts; the author's code raises what it likes
        raise FailedError(f"Gymnasium's checker says: {error or type(error).__name__}") from error


@check(
    "demonstrations", "Demonstrations are endless, of training tasks, and fixed by their seed", needs=("json", "tasks")
)
def _demonstrations(checked: EnvUnderCheck) -> None:
    found = checked.demonstrated
    for error in checked.missing.values():
        raise SkippedError(f"{error}")
    if isinstance(found, GdpoBenchError):
        raise found
    if not found:
        raise SkippedError("demonstrations(rng) yields none; without them the embedded policy cannot be trained.")
    if (drawn := len(demonstration_probes(checked.env, checked.name, 500))) < 500:
        raise FailedError(f"{demonstrations_end(checked.env, checked.name, drawn)}")
    train = {task.id for task in checked.tasks.get("train", ())}
    strays = [probe for probe in found if probe.task.id not in train]
    if strays:
        raise FailedError(f"{strays[0]} is not of the split 'train'; draw from self.tasks('train').")
    if demonstration_probes(checked.twin or checked.env, checked.name) != found:
        raise FailedError("Demonstrations differ although the seed is the same; take all random numbers from `rng`.")


@check("pickle", "It can be pickled in the middle of an episode, and made in a spawned process", needs=("json",))
def _pickle(checked: EnvUnderCheck) -> None:
    for report in checked.reports:
        if not report.started:
            raise FailedError(
                f"It cannot be made in another process: {report.problem}. Define class and tasks at the top of a "
                "module that can be imported, and take only JSON-able options."
            )
    probe = Probe(checked.sample[0], ("hello",), "one word")
    if play_alone(checked.env, checked.name, probe).error:
        raise SkippedError("No episode can be played; see `api` and `values`.")
    batch = EpisodeBatch(checked.env, checked.name, [probe.task])
    try:
        if checked.env.max_turns > 1:
            batch.play(["hello"])
        copied = pickle.loads(pickle.dumps(batch))
    except Exception as error:  # pickle raises TypeError, AttributeError and its own
        raise FailedError(
            f"{type(error).__name__}: {error}. Keep lambdas, locks, open files and connections out of the environment "
            "and of what begin(task) returns; make them where they are used."
        ) from error
    if copied.play([""]).values.tolist() != batch.play([""]).values.tolist():
        raise FailedError("A pickled copy scores otherwise; mind __getstate__ and what lives outside of the instance.")
