"""The checks: what each environment must hold, and what its author is told where it does not."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from gdpo_bench.authoring.poison import PoisonedReply
from gdpo_bench.authoring.subject import Subject, blaming
from gdpo_bench.authoring.trials import Outcome, Trial, demonstration_trials, play, play_alone
from gdpo_bench.core.env import TextEnv, Turn
from gdpo_bench.core.episodes import EpisodeBatch
from gdpo_bench.core.errors import DeclarationError, GdpoBenchError, RewardError
from gdpo_bench.core.task import Task, canonical_json
from gdpo_bench.core.vector import GroupVectorEnv

_PURE = "Reward methods must be pure: no random numbers, no clock, no network, no state that lasts."


class FailedError(GdpoBenchError):
    """A check did not hold; the text says what was found and what to change."""


class SkippedError(GdpoBenchError):
    """A check could not be done, for the reason given."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    id: str
    says: str
    """What holds, in a line."""
    run: Callable[[Subject], None]
    """Raises `FailedError` or `SkippedError`."""


CHECKS: dict[str, Check] = {}
"""All checks by id, in the order in which they are reported."""


@dataclass(frozen=True)
class CheckResult:
    """What a check came to."""

    check: str
    """Its id."""
    status: Literal["passed", "failed", "skipped"]
    detail: str
    """What holds; or what was found and what to change; or why it could not be checked."""

    def __str__(self) -> str:
        """In one line."""
        return f"{self.check} {self.status}: {self.detail}"


def examine(subject: Subject, check: str) -> CheckResult:
    """Run a check on a subject, once."""
    found = subject.results.get(check)
    if not isinstance(found, CheckResult):
        found = subject.results[check] = _run(subject, CHECKS[check])
    return found


def _run(subject: Subject, check: Check) -> CheckResult:
    try:
        with blaming(subject.name):
            check.run(subject)
    except SkippedError as skipped:
        return CheckResult(check.id, "skipped", str(skipped))
    except (FailedError, DeclarationError) as failed:
        return CheckResult(check.id, "failed", str(failed))
    return CheckResult(check.id, "passed", f"{check.says}.")


def _check(id: str, says: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    def enter(run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        CHECKS[id] = Check(id, says, run)
        return run

    return enter


@_check("api", "Gymnasium's checker passes, through MO-Gymnasium's LinearReward")
def _api(subject: Subject) -> None:
    task = subject.sample[0]
    messages = subject.env.messages(task)
    for message in messages:
        texts = isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        if not texts:
            raise FailedError(
                f"messages(task) must return dicts with the texts 'role' and 'content'; got {message!r:.100} "
                f"for task {task.id}."
            )
    first = play_alone(subject.env, subject.name, Trial(task, ("hello",), "one word"))
    if first.error and not first.is_reward_error:
        raise FailedError(f"No episode can be played: {first.error}.")
    if not subject.registered:
        raise SkippedError("Gymnasium makes environments by id; this one is given as an object.")
    if first.error:
        raise SkippedError("Gymnasium's checker needs rewards that can be read; see `values`.")
    _pass_gymnasiums_checker(subject)


def _pass_gymnasiums_checker(subject: Subject) -> None:
    try:
        from mo_gymnasium.wrappers import LinearReward  # type: ignore[attr-defined]  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise SkippedError("MO-Gymnasium is not installed: pip install mo-gymnasium.") from error
    from gymnasium.utils.env_checker import check_env  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice, such as that the environment is wrapped
            env = gym.make(subject.name, **subject.options)
            check_env(LinearReward(env, np.ones(len(subject.names))), skip_render_check=True)
    except (Exception, SystemExit) as error:  # the checker asserts; the author's code raises what it likes
        raise FailedError(f"Gymnasium's checker says: {error or type(error).__name__}") from error


@_check("tasks", "Tasks are JSON-able, none occurs twice, and their ids are the same in every instance")
def _tasks(subject: Subject) -> None:
    twin = [(subject.twin, "called on another instance")] if subject.twin else []
    for split, tasks in subject.tasks.items():
        try:
            ids = [task.id for task in tasks]
            canonical_json([subject.env.messages(task) for task in tasks[:100]])
        except (GdpoBenchError, TypeError, ValueError) as error:
            raise FailedError(f"A task of {split!r} is not JSON-able: {error}") from error
        twice = [id for id, count in Counter(ids).items() if count > 1]
        if twice:
            raise FailedError(f"{len(twice)} tasks occur more than once in {split!r}, such as {twice[0]}: drop copies.")
        for again, whose in ((subject.env, "called again"), *twin):
            if [task.id for task in again.tasks(split)] != ids:
                raise FailedError(
                    f"tasks({split!r}) gives other tasks or another order when {whose}. Draw them with a seed of "
                    "their own, Random(0), and sort what comes out of sets."
                )


@_check("splits", "Splits share no content")
def _splits(subject: Subject) -> None:
    if len(subject.tasks) < 2:
        raise SkippedError(f"there is only the split {next(iter(subject.tasks))!r}.")
    seen: dict[str, tuple[str, Task]] = {}
    for split, tasks in subject.tasks.items():
        for task in tasks:
            # In a dialogue the same question may be about other things; a lone prompt is all there is.
            shown = [m["content"] for m in subject.env.messages(task)] if subject.env.max_turns == 1 else [task.id]
            key = " ".join(" ".join(shown).split()).casefold()
            before, first = seen.setdefault(key, (split, task))
            if before != split:
                raise FailedError(
                    f"Task {first.id} of {before!r} is also in {split!r} ({task.id}): {task.prompt!r:.100}. Use "
                    "split_by_content, or leave out of one split what is in the other (spaces and capitals aside)."
                )


@_check("values", "Every reward is one finite number within its declared range")
def _values(subject: Subject) -> None:
    pairs = [
        *zip(subject.playable, subject.outcomes, strict=True),
        *zip(subject.references, subject.reference_outcomes, strict=True),
    ]
    for trial, outcome in pairs:
        if outcome.is_reward_error:
            raise FailedError(f"{outcome.error} The reply was {trial}.")
    _need_scores(subject)
    if isinstance(subject.together, RewardError):
        raise FailedError(f"Many replies at once: {subject.together}")


@_check("any-text", "Any text is a legal reply: empty, Unicode, lone surrogates, a megabyte")
def _any_text(subject: Subject) -> None:
    for report in subject.reports:
        if report.started and report.problem:
            raise FailedError(
                f"A process that scored replies {report.problem}. Scoring must take time linear in the reply's "
                "length (mind regular expressions with nested repeats, and recursion), and must not exit."
            )
    for trial, outcome in zip(subject.playable, subject.outcomes, strict=True):
        if outcome.error and not outcome.is_reward_error:
            raise FailedError(f"{outcome.error}, for {trial}. Nothing that a policy writes may stop an episode.")
        if outcome.failures:
            raise FailedError(
                f"{outcome.failures[0]}, for {trial}. A bad reply is not a failure of the scorer: catch what it can "
                "cause (ValueError, RecursionError, OverflowError …) and return the lowest value."
            )


@_check("failures", "What a scorer raises goes to the `failed` mask, and never becomes a value")
def _failures(subject: Subject) -> None:
    task = subject.references[0].task if subject.references else subject.sample[0]
    text = subject.references[0].replies[-1] if subject.references else "hello"
    for function in subject.env.reward_functions:
        reply = PoisonedReply(text)
        try:
            judged = _judged(subject.env, task, reply)
            method = getattr(subject.env, function.method)
            if function.batched:
                list(method([task], [judged]))
            else:
                method(task, judged)
        except Exception:  # as it should be: the engine masks the rollout
            continue
        except SystemExit as error:
            raise FailedError(
                f"Reward {function.spec.name!r} exits the process; raise an exception instead."
            ) from error
        if reply.touched:
            raise FailedError(
                f"Reward {function.spec.name!r} catches whatever its scorer raises, and returns a value. Catch only "
                "what a bad reply can cause, such as ValueError; the engine masks the rest, so that a broken scorer "
                "is no bad mark."
            )


@_check("repeatable", "The same replies earn the same, again and in another instance")
def _repeatable(subject: Subject) -> None:
    _need_scores(subject)
    trials, _ = subject.scored
    instances = [(subject.env, "played again")]
    if subject.twin is not None:
        instances.append((subject.twin, "played on another instance"))
    for env, when in instances:
        _compare(subject, subject.alone(trials, env), f"when {when}", _PURE)


def _compare(subject: Subject, again: Sequence[Outcome], when: str, remedy: str) -> None:
    """Fail if the scored trials did not come out as before."""
    for trial, old, new in zip(*subject.scored, again, strict=True):
        if new.error:
            raise FailedError(f"{new.error}, {when}, for {trial}. {remedy}")
        if old.answers != new.answers:
            raise FailedError(f"The environment answers otherwise {when}, for {trial}. {remedy}")
        for k, name in enumerate(subject.names):
            if (was := _shown(old, k)) != (now := _shown(new, k)):
                raise FailedError(f"Reward {name!r} is {was}, but {now} {when}, for {trial}. {remedy}")


def _shown(outcome: Outcome, k: int) -> str:
    if outcome.failed[k]:
        return "failed"
    return f"{outcome.raw[k]!r}" if outcome.applicable[k] else "not applicable"


@_check("hash-seed", "Processes with different PYTHONHASHSEED agree")
def _hash_seed(subject: Subject) -> None:
    one, two = subject.reports
    if not (one.started and two.started):
        raise SkippedError("the environment cannot be made in another process; see `pickle`.")
    _need_repeatable(subject)
    remedy = "Sort what comes out of sets, seed Random with a text or number, and never use hash() of texts."
    for what, found in one.before.items():
        if found != two.before[what]:
            raise FailedError(f"In processes with PYTHONHASHSEED=1 and 2 {what} differ. {remedy}")
    for trial, old, new in zip(subject.trials, one.outcomes, two.outcomes, strict=False):
        if old != new:
            differs = [name for name, a, b in zip(subject.names, old["raw"], new["raw"], strict=False) if a != b]
            raise FailedError(
                f"{' and '.join(map(repr, differs)) or 'The environment'} differ in processes with PYTHONHASHSEED=1 "
                f"and 2: {trial}. {remedy}"
            )


@_check("independent", "What a rollout earns depends neither on its neighbours nor on their order")
def _independent(subject: Subject) -> None:
    _need_repeatable(subject)
    together = subject.together
    if isinstance(together, RewardError):
        raise SkippedError("replies cannot be scored together; see `values`.")
    remedy = "A reward is a function of its own task and reply: no statistics over the batch, no state that is shared."
    _compare(subject, together, "when scored beside others", remedy)
    trials, _ = subject.scored
    backwards = play(subject.env, subject.name, trials[::-1])[::-1]
    _compare(subject, backwards, "when scored in another order", remedy)


@_check("fresh", "Returned arrays and messages are the caller's to change")
def _fresh(subject: Subject) -> None:
    _need_scores(subject)
    env, task = subject.env, subject.sample[0]
    before = copy.deepcopy(env.messages(task))
    for message in env.messages(task):
        message["content"] += " (changed)"
    if env.messages(task) != before:
        raise FailedError("messages(task) returns the same dicts each time; make new ones in every call.")
    _keep_buffers(subject)
    venv = GroupVectorEnv(env, subject.name, 1, 2, next(iter(subject.tasks)))
    kept_rewards = _step(venv).copy()
    _step(venv)[:] = 99
    if not np.array_equal(_step(venv), kept_rewards):
        raise FailedError("step() returns an array that it uses again; return a fresh one.")


def _keep_buffers(subject: Subject) -> None:
    """Fail if a batched reward returns what its next call overwrites."""
    trials = [t for t, outcome in zip(*subject.scored, strict=True) if not any(outcome.failed)]
    tasks = [trial.task for trial in trials]
    judged = [_judged(subject.env, trial.task, trial.replies[0]) for trial in trials]
    for function in subject.env.reward_functions:
        if not function.batched:
            continue
        method = getattr(subject.env, function.method)
        returned = method(tasks, judged)
        kept = copy.deepcopy(returned)
        method(tasks[::-1], judged[::-1])
        if isinstance(returned, list | np.ndarray) and list(returned) != list(kept):
            raise FailedError(
                f"Batched reward {function.spec.name!r} returns a buffer that its next call overwrites; return a copy."
            )


def _step(venv: GroupVectorEnv) -> Any:
    venv.reset(seed=0)
    return venv.step(["hello", ""])[1]


@_check("reference", "The reference earns full marks on every reward that applies")
def _reference(subject: Subject) -> None:
    if not subject.references:
        raise SkippedError("reference(task) knows no reply; with one, `--policy oracle` shows what can be reached.")
    for trial, outcome in zip(subject.references, subject.reference_outcomes, strict=True):
        if outcome.error:
            raise FailedError(f"{trial} cannot be scored: {outcome.error}")
        if outcome.failures:
            raise FailedError(f"{outcome.failures[0]}, for {trial}.")
        for spec, value, applies in zip(subject.env.reward_specs, outcome.values, outcome.applicable, strict=True):
            if applies and value != spec.high:
                raise FailedError(
                    f"Reward {spec.name!r} gives {value:.6g} of {spec.high:g} for {trial}. Mend the reward or the "
                    "reference, or declare the `high` that can be reached."
                )


@_check("varied", "Every reward takes at least two values")
def _varied(subject: Subject) -> None:
    _need_scores(subject)
    values, seen = _column_values(subject)
    for k, name in enumerate(subject.names):
        taken = set(values[seen[:, k], k].tolist())
        if len(taken) > 1:
            continue
        tried = f"on {len(values)} replies"
        if not (subject.references or subject.demonstrations):
            raise SkippedError(
                f"reward {name!r} did not vary {tried}, but without reference(task) or demonstrations(rng) there "
                "are no good ones among them."
            )
        raise FailedError(
            f"Reward {name!r} was {f'{taken.pop():g}' if taken else 'not applicable'} {tried}, good, corrupted and odd "
            "ones. What never varies teaches nothing: mend its condition, or remove it."
        )


@_check("distinct", "No reward repeats another")
def _distinct(subject: Subject) -> None:
    if len(subject.names) < 2:
        raise SkippedError("there is one reward only.")
    _need_scores(subject)
    values, seen = _column_values(subject, raw=True)
    shares = [(values[:, k] - spec.low) / (spec.high - spec.low) for k, spec in enumerate(subject.env.reward_specs)]
    compared = False
    for (j, one), (k, other) in itertools.combinations(enumerate(subject.names), 2):
        both = seen[:, j] & seen[:, k]
        if len(set(shares[j][both])) < 2 or len(set(shares[k][both])) < 2:
            continue
        compared = True
        if np.allclose(shares[j][both], shares[k][both], rtol=0, atol=1e-9):
            raise FailedError(
                f"Rewards {one!r} and {other!r} were equal (as shares of their ranges) on all {both.sum()} replies: "
                "together they are one reward of twice the weight. Remove one, or, if they differ on other replies, "
                "show one such among the demonstrations."
            )
    if not compared:
        raise SkippedError("fewer than two rewards vary on the replies tried; see `varied`.")


def _column_values(subject: Subject, raw: bool = False) -> tuple[Any, Any]:
    """Values (T, K) of all outcomes there are, and where they count."""
    outcomes = [o for o in (*subject.scored[1], *subject.reference_outcomes) if not o.error]
    values = np.array([outcome.raw if raw else outcome.values for outcome in outcomes])
    return values, np.array([outcome.applicable for outcome in outcomes]) & ~np.array([o.failed for o in outcomes])


@_check("demonstrations", "Demonstrations are endless, of training tasks, and fixed by their seed")
def _demonstrations(subject: Subject) -> None:
    found = subject.demonstrations
    if not found:
        raise SkippedError("demonstrations(rng) yields none; without them the embedded policy cannot be trained.")
    if len(found) < len(demonstration_trials(subject.env)) or len(demonstration_trials(subject.env, 500)) < 500:
        raise FailedError("The demonstrations end; repeat them in `while True`.")
    train = {task.id for task in subject.tasks.get("train", ())}
    strays = [trial for trial in found if trial.task.id not in train]
    if strays:
        raise FailedError(f"{strays[0]} is not of the split 'train'; draw from self.tasks('train').")
    if demonstration_trials(subject.twin or subject.env) != found:
        raise FailedError("Demonstrations differ although the seed is the same; take all random numbers from `rng`.")


@_check("pickle", "It can be pickled in the middle of an episode, and made in a spawned process")
def _pickle(subject: Subject) -> None:
    for report in subject.reports:
        if not report.started:
            raise FailedError(
                f"It cannot be made in another process: {report.problem}. Define class and tasks at the top of a "
                "module that can be imported, and take only JSON-able options."
            )
    trial = Trial(subject.sample[0], ("hello",), "one word")
    if play_alone(subject.env, subject.name, trial).error:
        raise SkippedError("no episode can be played; see `api` and `values`.")
    batch = EpisodeBatch(subject.env, subject.name, [trial.task])
    try:
        if subject.env.max_turns > 1:
            batch.play(["hello"])
        copied = pickle.loads(pickle.dumps(batch))
    except Exception as error:  # pickle raises TypeError, AttributeError and its own
        raise FailedError(
            f"{type(error).__name__}: {error}. Keep lambdas, locks, open files and connections out of the environment "
            "and of what begin(task) returns; make them where they are used."
        ) from error
    if copied.play([""]).values.tolist() != batch.play([""]).values.tolist():
        raise FailedError("A pickled copy scores otherwise; mind __getstate__ and what lives outside of the instance.")


def _need_scores(subject: Subject) -> None:
    if not subject.scored[0]:
        raise SkippedError("no reply can be scored; see `api` and `values`.")


def _need_repeatable(subject: Subject) -> None:
    _need_scores(subject)
    if examine(subject, "repeatable").status == "failed":
        raise SkippedError("scores differ even from one time to the next; see `repeatable`.")


def _judged(env: TextEnv[Any], task: Task, reply: str) -> Any:
    """What a reward method gets for the first and last turn of an episode."""
    state = env.begin(task)
    return env.judged(Turn(reply, 0, True, state, tuple(env.messages(task))))
