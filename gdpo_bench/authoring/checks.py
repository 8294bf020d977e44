"""What a check is, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gdpo_bench.authoring.env_under_check import EnvUnderCheck
from gdpo_bench.core.env import TextEnv
from gdpo_bench.core.errors import GdpoBenchError, RewardError
from gdpo_bench.core.foreign import blaming

_SHOWN = 1500
"""Characters of what a check found; an exception may quote a reply of a megabyte."""


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
    needs: tuple[str, ...]
    """Checks without which this one makes no sense."""
    run: Callable[[EnvUnderCheck], None]
    """Raises `FailedError` or `SkippedError`."""


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


CHECKS: dict[str, Check] = {}
"""All checks by id, in the order in which they are reported."""


def check(id: str, says: str, needs: tuple[str, ...] = ()) -> Callable[[Callable[[EnvUnderCheck], None]], None]:
    """Enter a function into `CHECKS`.

    Args:
        id: The check's id.
        says: What holds, in a line.
        needs: Checks without which this one makes no sense; they have been entered before.
    """

    def enter(run: Callable[[EnvUnderCheck], None]) -> None:
        CHECKS[id] = Check(id, says, needs, run)

    return enter


def examine(checked: EnvUnderCheck, check: str) -> CheckResult:
    """Run a check, once."""
    found = checked.results.get(check)
    if not isinstance(found, CheckResult):
        found = checked.results[check] = _run(checked, CHECKS[check])
    return found


def _run(checked: EnvUnderCheck, check: Check) -> CheckResult:
    for needed in check.needs:
        if examine(checked, needed).status == "failed":
            return CheckResult(check.id, "skipped", f"That makes no sense before `{needed}` passes.")
    try:
        with blaming(checked.name):
            check.run(checked)
    except SkippedError as skipped:
        return CheckResult(check.id, "skipped", str(skipped))
    except RewardError:
        return CheckResult(check.id, "skipped", "Rewards cannot be read; see `values`.")
    except GdpoBenchError as failed:
        text = str(failed)
        return CheckResult(check.id, "failed", text[:_SHOWN] + ("…" if len(text) > _SHOWN else ""))
    return CheckResult(check.id, "passed", f"{check.says}.")


def check_env(env: str | TextEnv[Any], tasks: int = 20, **options: Any) -> list[CheckResult]:
    """Check an environment for everything that trainers and the leaderboard rely on.

    It plays the reference, imperfect and odd replies, in this process and in two others.

    Args:
        env: An id, `module:namespace/Name-v0`, either with `:option=value`, or an instance.
        tasks: How many tasks of each split to try the reference on.
        **options: The environment's options; an instance has its own.

    Returns:
        A result for each of `CHECKS`, in that order.

    Raises:
        GdpoBenchError: The environment cannot be made, a split is empty, or data are missing.
    """
    checked = EnvUnderCheck(env, tasks, **options)
    return [examine(checked, check) for check in CHECKS]
