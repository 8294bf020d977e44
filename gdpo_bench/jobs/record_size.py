"""How large the record of a job's reward vectors will be: told before anything is trained, not when it cannot be filed.

The reward vectors of all evaluations of all seeds go into one sidecar, which is read within a bound
(`leaderboard.files.sidecar.LARGEST`).
"""

from __future__ import annotations

from collections.abc import Sequence

from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.core import RewardSpec
from gdpo_bench.jobs.job import JobError
from gdpo_bench.leaderboard.files.schema import MOST_RESULTS
from gdpo_bench.leaderboard.files.sidecar import LARGEST

_WHOLE, _FRACTION = 2, 20
"""Characters of a number with its comma: a digit, or as many digits as a float has."""


def check_record_size(id: str, specs: Sequence[RewardSpec], training: TrainingOptions, seeds: int) -> str | None:
    """Refuse a job whose sidecar cannot but be too large to be filed, or say that it may be.

    Args:
        id: The environment's id.
        specs: Its K rewards.
        training: How it is trained and evaluated.
        seeds: How many runs one entry is of.

    Returns:
        A sentence where it is too large if rewards come out as fractions; else `None`.

    Raises:
        JobError: It is too large whatever is measured, or of more seeds than an entry has.
    """
    if seeds > MOST_RESULTS:
        raise JobError(
            f"{seeds:,} seeds of {id}: an entry takes at most {MOST_RESULTS:,}. File the seeds as several jobs."
        )
    least, most = record_bytes(specs, training, seeds)
    if most <= LARGEST:
        return None
    evaluations = _evaluations(training)
    told = (
        f"{seeds:,} seeds × {evaluations:,} evaluations × {_evaluated(training):,} rollouts of {id} with "
        f"{len(specs)} rewards make a record of {{}} MB, and the leaderboard takes {LARGEST / 2**20:.0f} MB. Evaluate "
        "less often (eval_every), on fewer prompts (eval_prompts), or file the seeds as several jobs."
    )
    if least > LARGEST:
        raise JobError(told.format(f"at least {least / 2**20:,.0f}"))
    return told.format(f"{least / 2**20:,.0f} to {most / 2**20:,.0f}")


def record_bytes(specs: Sequence[RewardSpec], training: TrainingOptions, seeds: int) -> tuple[int, int]:
    """Bytes of a sidecar at least, and where every graded reward is a fraction."""
    rollouts = _evaluated(training)
    group = len(str(max(training.eval_prompts - 1, 0)))
    graded = sum(spec.kind != "binary" for spec in specs)
    # Task, group and length; two masks; raw value and value of each reward.
    least = rollouts * (3 * _WHOLE + 4 * _WHOLE * len(specs))
    most = rollouts * (2 * (group + 1) + 6 + 4 * _WHOLE * len(specs) + 2 * (_FRACTION - _WHOLE) * graded)
    runs = seeds * _evaluations(training)
    return runs * least, runs * (most + 19 * training.eval_prompts)  # ids of tasks, once an evaluation


def _evaluations(training: TrainingOptions) -> int:
    whole, rest = divmod(training.steps, training.eval_every)
    return 1 + whole + (rest > 0)


def _evaluated(training: TrainingOptions) -> int:
    return training.eval_prompts * training.eval_group_size * training.eval_samples
