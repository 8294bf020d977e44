"""How a job says that normalizers are tuned, and what of it is refused before anything runs."""

from typing import Any

import pytest

from gdpo_bench.jobs.job import Job, JobError, check
from gdpo_bench.jobs.plan import plan

TUNED: dict[str, Any] = {
    "envs": ["gdpo/MathMini-v1"],
    "normalizers": ["grpo", "gdpo"],
    "seeds": ["0:0", "1:1"],
    "training": {"steps": 20},
    "tuning": {"learning_rates": [3e-4, 1e-3], "seeds": ["10:10"]},
    "horizons": [10, 20],
}


def tuning(**changed: Any) -> dict[str, Any]:
    return TUNED | {"tuning": TUNED["tuning"] | changed}


def test_every_normalizer_is_tried_at_every_learning_rate_on_all_seeds() -> None:
    planned = plan(check(TUNED))
    rates = [(one.choice.normalizer, planned.training(env, one).learning_rate) for env, one in planned.pairs]
    assert rates == [("grpo", 3e-4), ("grpo", 1e-3), ("gdpo", 3e-4), ("gdpo", 1e-3)]
    assert [seed.label for seed in planned.job.all_seeds] == ["10:10", "0:0", "1:1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (tuning(seeds=["0:5"]), "warm start 0 is tested on as well"),
        (tuning(seeds=["1:1"]), "what chooses must not be what is measured"),
        (tuning(options={"gdpo": [{"eps": 1e-6}, {"eps": 1e-4}]}), "same number of trials; got grpo 2, gdpo 4"),
        (tuning(options={"rloo": [{}]}), "'rloo' is none of this job's normalizers"),
        (TUNED | {"horizons": [7]}, "nothing is evaluated after step 7"),
        (TUNED | {"horizons": [40]}, "nothing is evaluated after step 40"),
        (
            TUNED | {"normalizers": [{"normalizer": "grpo", "training": {"learning_rate": 1e-3}}, "gdpo"]},
            "exclude each other",
        ),
    ],
)
def test_an_unfair_or_impossible_plan_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        check(values)


def test_a_pretrained_policy_has_no_warm_starts_to_keep_apart() -> None:
    values = tuning(seeds=[7]) | {"policy": "hf:somewhere/else", "seeds": [0, 1]}
    assert [seed.rl for seed in check(values).all_seeds] == [7, 0, 1]
    with pytest.raises(JobError, match="seed 0:1 is tested on as well"):
        check(values | {"tuning": TUNED["tuning"] | {"seeds": [1]}})


def test_the_target_must_be_there() -> None:
    with pytest.raises(LookupError, match="target of tuning"):
        plan(check(tuning(target="formt")))


@pytest.mark.parametrize("name", ["steps", "prompts", "eval_every", "max_new_tokens"])
def test_a_normalizer_may_learn_otherwise_but_not_more(name: str) -> None:
    check(TUNED | {"normalizers": [{"normalizer": "grpo", "training": {"clip_high": 0.3}}, "gdpo"]})
    with pytest.raises(JobError, match=f"{name} must be the same for all normalizers"):
        check(TUNED | {"normalizers": [{"normalizer": "grpo", "training": {name: 5}}, "gdpo"]})


def test_what_is_declared_is_what_decides_and_plain_jobs_declare_nothing() -> None:
    assert Job.load("default").declared is None
    declared = check(TUNED).declared
    assert declared is not None
    assert declared["clusters"] == 2
    assert check(TUNED | {"name": "other"}).declared == declared
    assert check(TUNED | {"seeds": ["0:0", "1:1", "2:2"]}).declared != declared
    assert check(TUNED | {"extends": "0" * 16}).declared != declared
    assert check(TUNED | {"extends": "0" * 16}).declared["extends"] == "0" * 16
    assert check(TUNED | {"extends": ["0" * 16, "1" * 16]}).declared["extends"] == ["0" * 16, "1" * 16]
    with pytest.raises(JobError, match=r"extends\.1: String should match pattern"):
        check(TUNED | {"extends": ["0" * 16, "plan"]})
    with pytest.raises(JobError, match=r"extends\.0: String should match pattern"):
        check(TUNED | {"extends": "plan"})
    with pytest.raises(JobError, match=r"extends.*at most 100"):  # or its entries could not be filed
        check(TUNED | {"extends": ["0" * 16] * 101})
    with pytest.raises(JobError, match=r"horizons.*at most 100"):
        check(TUNED | {"horizons": list(range(1, 102))})
    assert "tested" not in declared["tuning"]
    chosen_only = check(tuning(tested="chosen")).declared
    assert chosen_only is not None
    assert chosen_only["tuning"]["tested"] == "chosen"


def test_the_bundled_answers_tune_on_three_warm_starts_and_test_on_ten() -> None:
    job = Job.load("answers")
    assert job.tuning is not None
    assert (len(job.tuning.seeds), len(job.seeds), job.horizons) == (3, 10, (40, 120))
    assert (job.training.steps, job.training.eval_samples, job.tuning.target) == (120, 2, "all right")
    assert sum(len(job.trials(one)) for one in job.normalizers) * len(job.all_seeds) == 156
