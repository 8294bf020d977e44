"""A record that could not be filed is told of before anything is trained."""

import numpy as np
import pytest

from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.core import RewardSpec
from gdpo_bench.core.measurements import RewardVectors
from gdpo_bench.core.scoring import Scores
from gdpo_bench.jobs.job import JobError, check
from gdpo_bench.jobs.plan import plan
from gdpo_bench.jobs.record_size import record_bytes
from gdpo_bench.leaderboard import Seed
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun

BINARY, GRADED = RewardSpec("format", 0, 1, "binary"), RewardSpec("correct", -3, 3)
SMALL = TrainingOptions(steps=20, eval_every=10, eval_prompts=8, eval_group_size=2)


@pytest.mark.parametrize("specs", [[BINARY], [BINARY, GRADED], [GRADED, GRADED]])
@pytest.mark.parametrize("fractions", [False, True])
def test_a_record_lies_between_what_was_foretold(specs, fractions):
    rng = np.random.default_rng(0)
    rollouts = SMALL.eval_prompts * SMALL.eval_group_size
    runs = []
    for seed in range(3):
        evaluations = []
        for step in (0, 10, 20):
            values = np.stack(
                [
                    rng.uniform(spec.low, spec.high, rollouts)
                    if fractions and spec.kind != "binary"
                    else np.zeros(rollouts)
                    for spec in specs
                ],
                axis=1,
            )
            masks = np.ones_like(values, bool), np.zeros_like(values, bool)
            groups = np.repeat(np.arange(SMALL.eval_prompts), SMALL.eval_group_size)
            ids = np.array([f"{i:016x}" for i in range(SMALL.eval_prompts)])[groups]
            evaluations.append(
                RewardVectors(step, Scores(values, values, *masks), ids, groups, rng.integers(1, 200, rollouts))
            )
        runs.append(SidecarRun(Seed(warm_start=seed, rl=0), evaluations))
    size = len(Sidecar.of([spec.name for spec in specs], runs).content)
    least, most = record_bytes(specs, SMALL, seeds=3)
    assert least < size
    assert size < most * 1.1 + 2000  # names of columns


def test_a_job_whose_record_cannot_be_filed_is_refused_before_it_starts():
    job = check({"envs": ["gdpo/MathMini-v1"], "seeds": list(range(200)), "training": {"steps": 400, "eval_every": 4}})
    with pytest.raises(
        JobError, match=r"200 seeds × 101 evaluations × 256 rollouts .* at least .* takes 16 MB.*eval_every"
    ):
        plan(job)


def test_more_seeds_than_an_entry_takes_are_refused_before_the_job_starts():
    with pytest.raises(JobError, match="2,001 seeds of gdpo/MathMini-v1: an entry takes at most 2,000"):
        plan(check({"envs": ["gdpo/MathMini-v1"], "seeds": list(range(2_001))}))


def test_a_job_whose_record_may_be_too_large_says_so():
    job = check(
        {"envs": ["gdpo/ToolCallingMini-v1"], "seeds": list(range(60)), "training": {"steps": 120, "eval_every": 4}}
    )
    (warning,) = plan(job).warnings
    assert "a record of" in warning
    assert "and the leaderboard takes 16 MB" in warning


def test_the_main_job_says_nothing_of_it():
    assert plan(check({"envs": ["gdpo/MathMini-v1"]})).warnings == ()
