"""Checks of rewards: what replies earn, and on what it depends."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gdpo_bench.authoring.checks import FailedError, SkippedError, check
from gdpo_bench.authoring.env_under_check import EnvUnderCheck
from gdpo_bench.authoring.probes import Outcome, play
from gdpo_bench.authoring.raising_reply import RaisingReply
from gdpo_bench.core.calls import RewardCalls
from gdpo_bench.core.env import TextEnv, Turn, reward_functions_of
from gdpo_bench.core.errors import GdpoBenchError, RewardError
from gdpo_bench.core.scoring import ScoringFailure
from gdpo_bench.core.task import Task
from gdpo_bench.core.vector_env import GroupVectorEnv

_PURE = "Reward methods must be pure: no random numbers, no clock, no network, no state that lasts."


@check("values", "Every reward is one finite number within its declared range", needs=("json",))
def _values(checked: EnvUnderCheck) -> None:
    pairs = [
        *zip(checked.playable, checked.outcomes, strict=True),
        *zip(checked.references, checked.reference_outcomes, strict=True),
    ]
    for probe, outcome in pairs:
        if outcome.is_reward_error:
            raise FailedError(f"{outcome.error} The reply was {probe}.")
    _need_scores(checked)
    if isinstance(checked.together, RewardError):
        raise FailedError(f"Many replies at once: {checked.together}")


@check("any-text", "Any text is a legal reply: empty, Unicode, lone surrogates, a megabyte", needs=("json",))
def _any_text(checked: EnvUnderCheck) -> None:
    for report in checked.reports:
        if report.started and report.problem:
            raise FailedError(
                f"A process that scored replies {report.problem}. Scoring must take time linear in the reply's "
                "length (mind regular expressions with nested repeats, and recursion), and must not exit."
            )
    _need_scores(checked)
    for probe, outcome in zip(checked.playable, checked.outcomes, strict=True):
        if outcome.error and not outcome.is_reward_error:
            raise FailedError(f"{outcome.error}, for {probe}. Nothing that a policy writes may stop an episode.")
        for failure in outcome.failures:
            if failure.reward not in checked.broken:
                raise FailedError(
                    f"{_raised(failure)}, for {probe}. A bad reply is not a failure of the scorer: catch what it can "
                    "cause (ValueError, RecursionError, OverflowError …) and return the lowest value."
                )
    if checked.broken and not checked.references:
        failure, probe = next(iter(checked.broken.values()))
        raise FailedError(
            f"{_raised(failure)}, for {probe} and every other reply: a fault of the reward, not of replies. Mend it."
        )


@check("failures", "What a scorer raises goes to the `failed` mask, and never becomes a value", needs=("json",))
def _failures(checked: EnvUnderCheck) -> None:
    _need_scores(checked)
    task = checked.references[0].task if checked.references else checked.sample[0]
    text = checked.references[0].replies[-1] if checked.references else "hello"
    for function in reward_functions_of(checked.env):
        reply = RaisingReply(text)
        try:
            calls = RewardCalls(checked.env, checked.name)
            (outcome,) = calls(function, [task], [_argument(checked.env, task, reply)])
        except Exception:  # of what the environment does before the reward is called
            continue
        except SystemExit as error:
            raise FailedError(
                f"Reward {function.spec.name!r} exits the process; raise an exception instead."
            ) from error
        if reply.touched and not isinstance(outcome, Exception):  # which the engine masks, as it should be
            raise FailedError(
                f"Reward {function.spec.name!r} catches whatever its scorer raises, and returns a value. Catch only "
                "what a bad reply can cause, such as ValueError; the engine masks the rest, so that a broken scorer "
                "is no bad mark."
            )


@check("repeatable", "The same replies earn the same, again and in another instance", needs=("json",))
def _repeatable(checked: EnvUnderCheck) -> None:
    _need_scores(checked)
    probes, _ = checked.scored
    instances = [(checked.env, "played again")]
    if checked.twin is not None:
        instances.append((checked.twin, "played on another instance"))
    for env, when in instances:
        _compare(checked, checked.alone(probes, env), f"when {when}", _PURE)


def _compare(checked: EnvUnderCheck, again: Sequence[Outcome], when: str, remedy: str) -> None:
    """Fail if the scored probes did not come out as before."""
    for probe, old, new in zip(*checked.scored, again, strict=True):
        if new.error:
            raise FailedError(f"{new.error}, {when}, for {probe}. {remedy}")
        if old.answers != new.answers:
            raise FailedError(f"The environment answers otherwise {when}, for {probe}. {remedy}")
        for k, name in enumerate(checked.names):
            if (was := _shown(old, k)) != (now := _shown(new, k)):
                raise FailedError(f"Reward {name!r} is {was}, but {now} {when}, for {probe}. {remedy}")


def _shown(outcome: Outcome, k: int) -> str:
    if outcome.failed[k]:
        return "failed"
    return f"{outcome.raw[k]!r}" if outcome.applicable[k] else "not applicable"


@check("hash-seed", "Processes with different PYTHONHASHSEED agree", needs=("json", "tasks", "repeatable"))
def _hash_seed(checked: EnvUnderCheck) -> None:
    one, two = checked.reports
    if not (one.started and two.started):
        raise SkippedError("The environment cannot be made in another process; see `pickle`.")
    _need_scores(checked)
    remedy = "Sort what comes out of sets, seed Random with a text or number, and never use hash() of texts."
    for what, found in one.before.items():
        if found != two.before[what]:
            raise FailedError(f"In processes with PYTHONHASHSEED=1 and 2 {what} differ. {remedy}")
    for probe, old, new in zip(checked.probes, one.outcomes, two.outcomes, strict=False):
        if old != new:
            differs = [name for name, a, b in zip(checked.names, old["raw"], new["raw"], strict=False) if a != b]
            raise FailedError(
                f"{' and '.join(map(repr, differs)) or 'The environment'} differ in processes with PYTHONHASHSEED=1 "
                f"and 2: {probe}. {remedy}"
            )


@check(
    "independent",
    "What a rollout earns depends neither on its neighbours nor on their order",
    needs=("json", "repeatable"),
)
def _independent(checked: EnvUnderCheck) -> None:
    _need_scores(checked)
    together = checked.together
    if isinstance(together, RewardError):
        raise SkippedError("Replies cannot be scored together; see `values`.")
    remedy = "A reward is a function of its own task and reply: no statistics over the batch, no state that is shared."
    _compare(checked, together, "when scored beside others", remedy)
    probes, _ = checked.scored
    backwards = play(checked.env, checked.name, probes[::-1])[::-1]
    _compare(checked, backwards, "when scored in another order", remedy)


@check("fresh", "Returned arrays and messages are the caller's to change", needs=("json", "repeatable"))
def _fresh(checked: EnvUnderCheck) -> None:
    _need_scores(checked)
    env, task = checked.env, checked.sample[0]
    before = copy.deepcopy(env.messages(task))
    for message in env.messages(task):
        message["content"] += " (changed)"
    if env.messages(task) != before:
        raise FailedError("messages(task) returns the same dicts each time; make new ones in every call.")
    _keep_buffers(checked)
    venv = GroupVectorEnv(env, checked.name, 1, 2, next(iter(checked.tasks)))
    kept_rewards = _step(venv).copy()
    _step(venv)[:] = 99
    if not np.array_equal(_step(venv), kept_rewards):
        raise FailedError("step() returns an array that it uses again; return a fresh one.")


def _keep_buffers(checked: EnvUnderCheck) -> None:
    """Fail if a batched reward returns what its next call overwrites."""
    probes = [t for t, outcome in zip(*checked.scored, strict=True) if not any(outcome.failed)]
    tasks = [probe.task for probe in probes]
    scored = [_argument(checked.env, probe.task, probe.replies[0]) for probe in probes]
    for function in reward_functions_of(checked.env):
        method = getattr(checked.env, function.method)
        if not function.batched or inspect.iscoroutinefunction(method):
            continue
        returned = method(tasks, scored)
        kept = copy.deepcopy(returned)
        method(tasks[::-1], scored[::-1])
        if isinstance(returned, list | np.ndarray) and list(returned) != list(kept):
            raise FailedError(
                f"Batched reward {function.spec.name!r} returns a buffer that its next call overwrites; return a copy."
            )


def _step(venv: GroupVectorEnv) -> Any:
    venv.reset(seed=0)
    return venv.step(["hello", ""])[1]


@check("reference", "The reference earns full marks on every reward that applies", needs=("json",))
def _reference(checked: EnvUnderCheck) -> None:
    if isinstance(checked.referenced, GdpoBenchError):
        raise checked.referenced
    if not checked.references:
        raise SkippedError("reference(task) knows no reply; with one, `--policy oracle` shows what can be reached.")
    _need_scores(checked)
    for probe, outcome in zip(checked.references, checked.reference_outcomes, strict=True):
        if outcome.is_reward_error:
            raise SkippedError("Rewards cannot be read; see `values`.")
        if outcome.error:
            raise FailedError(f"{probe} cannot be scored: {outcome.error}")
        for failure in outcome.failures:
            raise FailedError(
                f"{_raised(failure)}, on the reference itself: {probe}. That is a fault of the reward, or of the "
                "reference; mend it."
            )
        for spec, value, applies in zip(checked.env.reward_specs, outcome.values, outcome.applicable, strict=True):
            if applies and value != spec.high:
                raise FailedError(
                    f"Reward {spec.name!r} gives {value:.6g} of {spec.high:g} for {probe}. Mend the reward or the "
                    "reference, or declare the `high` that can be reached."
                )


@check("varied", "Every reward takes at least two values", needs=("json", "values"))
def _varied(checked: EnvUnderCheck) -> None:
    _need_scores(checked)
    values, seen = _column_values(checked)
    for k, name in enumerate(checked.names):
        taken = set(values[seen[:, k], k].tolist())
        if len(taken) > 1:
            continue
        if name in checked.broken:
            raise SkippedError(f"Reward {name!r} raises; see `{'reference' if checked.references else 'any-text'}`.")
        tried = f"on {len(values)} replies"
        if not (checked.references or checked.demonstrations):
            raise SkippedError(
                f"Reward {name!r} did not vary {tried}, but without reference(task) or demonstrations(rng) there "
                "are no good ones among them."
            )
        raise FailedError(
            f"Reward {name!r} was {f'{taken.pop():g}' if taken else 'not applicable'} {tried}, good, corrupted and odd "
            "ones. What never varies teaches nothing: mend its condition, remove it, or show among the "
            "demonstrations where it varies."
        )


@check("distinct", "No reward repeats another", needs=("json", "values"))
def _distinct(checked: EnvUnderCheck) -> None:
    if len(checked.names) < 2:
        raise SkippedError("There is one reward only.")
    _need_scores(checked)
    values, seen = _column_values(checked, raw=True)
    shares = [(values[:, k] - spec.low) / (spec.high - spec.low) for k, spec in enumerate(checked.env.reward_specs)]
    compared = False
    for (j, one), (k, other) in itertools.combinations(enumerate(checked.names), 2):
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
        raise SkippedError("Fewer than two rewards vary on the replies tried; see `varied`.")


def _column_values(checked: EnvUnderCheck, raw: bool = False) -> tuple[Any, Any]:
    """Values (T, K) of all outcomes there are, and where they count."""
    outcomes = [o for o in (*checked.scored[1], *checked.reference_outcomes) if not o.error]
    values = np.array([outcome.raw if raw else outcome.values for outcome in outcomes])
    return values, np.array([outcome.applicable for outcome in outcomes]) & ~np.array([o.failed for o in outcomes])


def _need_scores(checked: EnvUnderCheck) -> None:
    if not checked.scored[0]:
        raise SkippedError("No reply can be scored; see `api` and `values`.")


def _argument(env: TextEnv[Any], task: Task, reply: str) -> Any:
    """What a reward method gets for the first and last turn of an episode."""
    state = env.begin(task)
    env.respond(task, state, reply)
    return env.scored(Turn(reply, 0, True, state, tuple(env.messages(task))))


def _raised(failure: ScoringFailure) -> str:
    """What a reward raised, and where."""
    return f"reward {failure.reward!r} raised {failure.error:.200}" + (f" ({failure.place})" if failure.place else "")
