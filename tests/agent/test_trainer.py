import copy
import dataclasses
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from gdpo_bench.advantages import RewardBatch, StateError, list_normalizers, make_normalizer
from gdpo_bench.advantages.errors import NormalizerOutputError
from gdpo_bench.agent.backends.protocol import Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.checkpoint import Checkpoints
from gdpo_bench.agent.errors import DivergedError, ScorerFailuresError
from gdpo_bench.agent.evaluation import evaluate_suite
from gdpo_bench.agent.metrics import MetricsLog
from gdpo_bench.agent.options import EmbeddedConfig, TrainingOptions
from gdpo_bench.agent.policies.warm_start import build_corpus, train
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.step import TrainingStep
from gdpo_bench.agent.trainer import RunResult, Trainer
from gdpo_bench.conformance import CLAIMED
from gdpo_bench.core import DataError, GroupVectorEnv, RewardError, Task, TextEnv, reward
from gdpo_bench.core.env import Turn
from gdpo_bench.core.measurements import Evaluation, unpack

Vec = Callable[..., GroupVectorEnv]
TINY = TrainingOptions(
    steps=2, prompts=2, group_size=4, eval_every=1, eval_prompts=2, max_new_tokens=4, learning_rate=1e-2
)


class Letters(TextEnv[Task]):
    """Any of four letters will do, but `a` is wanted."""

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"Letter {i}:") for i in range(12) if (i % 3 == 0) == (split == "eval")]

    def demonstrations(self, rng: Random) -> Iterator[tuple[Task, str]]:
        while True:
            yield rng.choice(self.tasks("train")), rng.choice("abcd")

    @reward(low=0, high=1, kind="binary")
    def wanted(self, task: Task, reply: str) -> bool:
        return reply == "a"

    @reward(low=0, high=1, kind="binary")
    def letter(self, task: Task, reply: str) -> bool:
        return len(reply) == 1 and reply in "abcd"


class Elsewhere(Letters):
    """Scored while the trainer goes on."""

    scored_elsewhere = True
    threads: ClassVar = set[str]()

    @reward(low=0, high=1, kind="binary")
    def wanted(self, task: Task, reply: str) -> bool:
        return reply == "a"

    def scored(self, turn: Turn[Any]) -> Any:
        self.threads.add(threading.current_thread().name)
        return super().scored(turn)


class LyingElsewhere(Elsewhere):
    @reward(low=0, high=1)
    def letter(self, task: Task, reply: str) -> float:
        return 7.0


class Failing(Letters):
    @reward(low=0, high=1)
    def letter(self, task: Task, reply: str) -> float:
        raise KeyError("no such letter")


class Rare(Letters):
    """One rollout of eight fails."""

    calls = 0

    @reward(low=0, high=1)
    def letter(self, task: Task, reply: str) -> float:
        self.calls += 1
        if self.calls % 8 == 0:
            raise KeyError("no such letter")
        return 1.0


class Lying(Letters):
    @reward(low=0, high=1)
    def letter(self, task: Task, reply: str) -> float:
        return 7.0


@pytest.fixture(scope="module")
def imitator() -> Policy:
    """A policy that says one of the letters, each about as often."""
    config = EmbeddedConfig(
        hidden_size=32, intermediate_size=32, vocabulary=300, warm_start_steps=150, warm_start_examples=256
    )
    return train(build_corpus({"test/Letters-v0": Letters()}, 256, seed=0), config, 0, lambda share, text: None)


def run(
    policy: Policy,
    vec: Vec,
    cls: type[TextEnv[Any]] = Letters,
    *,
    normalizer: Any = "gdpo",
    options: TrainingOptions = TINY,
    weights: dict[str, float] | None = None,
    seed: int = 0,
    report: Callable[[int, Evaluation | None], None] = lambda step, evaluation: None,
    **others: Any,
) -> tuple[RunResult, dict[str, torch.Tensor]]:
    """A run from a copy of the policy; its result, and the weights that it ended with."""
    own = Policy(copy.deepcopy(policy.model), policy.tokenizer)
    trainer = Trainer(
        own,
        vec(cls, options.prompts, options.group_size, "train"),
        vec(cls, options.eval_prompts, options.eval_group_size, "eval"),
        normalizer=make_normalizer(normalizer) if isinstance(normalizer, str) else normalizer,
        options=options,
        weights=weights or {"wanted": 1.0, "letter": 1.0},
        seed=seed,
        **others,
    )
    return trainer.run(report), own.model.state_dict()


def measured(result: RunResult) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(result).items() if name != "wall_s"}


def test_same_seed_gives_the_same_run_bit_for_bit_and_another_seed_another(imitator: Policy, vec: Vec) -> None:
    first, weights = run(imitator, vec)
    second, again = run(imitator, vec)
    other, different = run(imitator, vec, seed=1)
    assert measured(first) == measured(second)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not all(torch.equal(weights[name], different[name]) for name in weights)
    # What the policy could do before is measured on the same tasks with the same noise.
    assert first.evaluations[0] == other.evaluations[0]


def test_scoring_beside_training_changes_no_number(imitator: Policy, vec: Vec) -> None:
    options = TINY.model_copy(update={"kl_coefficient": 0.1, "eval_every": 2, "steps": 5})
    here, its_weights = run(imitator, vec, options=options)
    elsewhere, other_weights = run(imitator, vec, Elsewhere, options=options)
    assert Elsewhere.threads == {"scorer_0", "MainThread"}  # held-out replies are scored when they are drawn
    assert elsewhere.vectors == here.vectors
    assert (elsewhere.evaluations, elsewhere.diagnostics) == (here.evaluations, here.diagnostics)
    assert all(torch.equal(its_weights[name], other_weights[name]) for name in its_weights)


def test_training_replies_are_scored_while_the_reference_policy_computes(
    imitator: Policy, vec: Vec, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = threading.Event()

    class Patient(Elsewhere):
        """Training replies are scored once the reference policy is at work."""

        @reward(low=0, high=1, kind="binary")
        def letter(self, task: Task, reply: str) -> bool:
            return task in self.tasks("eval") or computing.wait(60)

    log_probs = TrainingStep.log_probs

    def noted(*args: Any, **kwargs: Any) -> Any:
        computing.set()
        return log_probs(*args, **kwargs)

    monkeypatch.setattr(TrainingStep, "log_probs", noted)
    result, _ = run(imitator, vec, Patient, options=TINY.model_copy(update={"steps": 1, "kl_coefficient": 0.1}))
    assert [evaluation.rewards["letter"] for evaluation in result.evaluations] == [1, 1]
    assert computing.is_set()


def test_after_an_error_nothing_waits_for_the_scorer(
    imitator: Policy, vec: Vec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_ever = threading.Event()

    class Stuck(Elsewhere):
        @reward(low=0, high=1)
        def letter(self, task: Task, reply: str) -> float:
            return float(task in self.tasks("eval") or for_ever.wait(60))

    def broken(*args: Any) -> Any:
        raise DataError("no log-probabilities")

    monkeypatch.setattr(TrainingStep, "log_probs", broken)
    try:
        with pytest.raises(DataError, match="no log-probabilities"):
            run(imitator, vec, Stuck)
        assert not for_ever.is_set()
    finally:
        for_ever.set()


def test_what_goes_wrong_while_scoring_beside_training_stops_the_run_and_is_named(imitator: Policy, vec: Vec) -> None:
    with pytest.raises(RewardError, match=r"test/Env-v0: reward 'letter' on task .* got 7"):
        run(imitator, vec, LyingElsewhere)


@pytest.mark.parametrize("normalizer", ["grpo", "gdpo"])
def test_policy_learns_what_is_rewarded(imitator: Policy, vec: Vec, normalizer: str) -> None:
    changed = {"steps": 15, "prompts": 4, "group_size": 8, "eval_every": 15, "eval_prompts": 64, "learning_rate": 2e-3}
    options = TINY.model_copy(update=changed)
    result, _ = run(imitator, vec, normalizer=normalizer, options=options)
    before, after = (evaluation.rewards for evaluation in result.evaluations)
    assert 0.1 < before["wanted"] < 0.5
    assert before["letter"] > 0.9
    assert after["wanted"] > 0.75
    assert after["letter"] > 0.85


def test_zero_advantages_leave_the_policy_as_it_is(imitator: Policy, vec: Vec) -> None:
    _, weights = run(imitator, vec, normalizer=lambda batch: torch.zeros(len(batch)))
    assert all(torch.equal(weights[name], tensor) for name, tensor in imitator.model.state_dict().items())


@pytest.mark.parametrize(
    ("steps", "every", "evaluated"), [(1, 10, [0, 1]), (4, 2, [0, 2, 4]), (5, 2, [0, 2, 4, 5]), (3, 3, [0, 3])]
)
def test_evaluations_are_before_the_first_step_every_so_often_and_after_the_last(
    imitator: Policy, vec: Vec, steps: int, every: int, evaluated: list[int]
) -> None:
    seen: list[tuple[int, bool]] = []
    options = TINY.model_copy(update={"steps": steps, "eval_every": every})
    result, _ = run(imitator, vec, options=options, report=lambda step, found: seen.append((step, found is not None)))
    assert [evaluation.step for evaluation in result.evaluations] == evaluated
    assert seen == [(step, step in evaluated) for step in range(steps + 1)]
    assert result.tokens > 0


def test_normalizer_sees_the_declared_rewards_groups_weights_masks_and_lengths(imitator: Policy, vec: Vec) -> None:
    seen: list[RewardBatch] = []

    def spy(batch: RewardBatch) -> torch.Tensor:
        seen.append(batch)
        return torch.zeros(len(batch))

    class Half(Letters):
        """Nothing is wanted of even prompts, and of one of eight replies the letter cannot be told."""

        replies = 0

        @reward(low=0, high=1, kind="binary")
        def wanted(self, task: Task, reply: str) -> bool | None:
            return None if int(task.prompt[7:-1]) % 2 == 0 else reply == "a"

        @reward(low=0, high=1, kind="binary")
        def letter(self, task: Task, reply: str) -> bool:
            self.replies += 1
            if self.replies % 8 == 0:
                raise KeyError("no such letter")
            return len(reply) == 1

    options = TINY.model_copy(update={"steps": 1, "prompts": 4, "eval_every": 9, "max_failed_share": 1.0})
    run(imitator, vec, Half, normalizer=spy, options=options, weights={"letter": 0.25, "wanted": 3.0})
    (batch,) = seen
    assert batch.rewards.shape == (16, 2)
    assert batch.groups.tolist() == [group for group in range(4) for _ in range(4)]
    assert [spec.name for spec in batch.specs or ()] == ["wanted", "letter"]
    assert batch.weights.tolist() == [3.0, 0.25]
    assert batch.lengths is not None
    assert ((batch.lengths >= 1) & (batch.lengths <= TINY.max_new_tokens)).all()
    assert set(batch.applicable[:, 0].tolist()) == {True, False}
    assert batch.applicable[:, 1].all()
    assert not batch.failed[:, 0].any()
    assert batch.failed[:, 1].tolist() == [row % 8 == 7 for row in range(16)]


def test_a_reward_that_applied_to_nobody_is_absent_from_what_a_step_logs(
    imitator: Policy, vec: Vec, tmp_path: Path
) -> None:
    run(
        imitator,
        vec,
        Silent,
        options=TINY.model_copy(update={"steps": 1}),
        open_log=partial(MetricsLog, tmp_path, "run"),
    )
    training, after = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    for logged, prefixes in ((training, ("", "eval/")), (after, ("eval/",))):
        for prefix in prefixes:
            assert f"{prefix}reward/letter" not in logged
            assert logged[f"{prefix}applicable/letter"] == 0
            assert (f"{prefix}reward/wanted" in logged) == (logged[f"{prefix}applicable/wanted"] > 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_normalizer_that_is_not_finite_stops_the_run_by_name(imitator: Policy, vec: Vec, value: float) -> None:
    def my_idea(batch: RewardBatch) -> torch.Tensor:
        return torch.full((len(batch),), value)

    with pytest.raises(NormalizerOutputError, match=r"my_idea gave (nan|inf) for rollout 0"):
        run(imitator, vec, normalizer=my_idea)


def test_loss_that_is_no_number_stops_the_run(imitator: Policy, vec: Vec) -> None:
    broken = Policy(copy.deepcopy(imitator.model), imitator.tokenizer)
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[0, 0] = torch.nan
    with pytest.raises(DivergedError, match=r"nan at step 0"):
        run(broken, vec)


def test_failing_reward_stops_the_run_and_is_named(imitator: Policy, vec: Vec) -> None:
    with pytest.raises(
        ScorerFailuresError, match=r"100%.*test/Env-v0: reward 'letter' failed on task \w{16}: KeyError"
    ):
        run(imitator, vec, Failing)


def test_few_failures_are_kept_to_be_shown(imitator: Policy, vec: Vec) -> None:
    options = TINY.model_copy(update={"steps": 8, "max_failed_share": 0.5})
    result, _ = run(imitator, vec, Rare, options=options)
    assert len(result.failures) == 3
    assert "reward 'letter' failed on task" in result.failures[0]


def test_reward_outside_its_range_stops_the_run_and_is_named(imitator: Policy, vec: Vec) -> None:
    with pytest.raises(RewardError, match=r"test/Env-v0: reward 'letter' on task \w{16} must lie in \[0, 1\]"):
        run(imitator, vec, Lying)


@pytest.mark.parametrize("changed", [{"minibatches": 100}, {"group_size": 1}, {"prompts": 1, "group_size": 1}])
def test_unusual_sizes_run(imitator: Policy, vec: Vec, changed: dict[str, int]) -> None:
    result, _ = run(imitator, vec, options=TINY.model_copy(update=changed))
    assert len(result.evaluations) == 3


class Silent(Letters):
    """Says nothing about two of three prompts."""

    @reward(low=0, high=1, kind="binary")
    def wanted(self, task: Task, reply: str) -> bool | None:
        return reply == "a" if task.prompt[7] in "147" else None

    @reward(low=0, high=1, kind="binary")
    def letter(self, task: Task, reply: str) -> bool | None:
        return None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_dynamic_sampling_trains_on_groups_with_a_signal_as_far_as_they_can_be_had(
    imitator: Policy, vec: Vec, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Letters, "scored_elsewhere", elsewhere)
    seen: list[RewardBatch] = []

    def spy(batch: RewardBatch) -> torch.Tensor:
        seen.append(batch)
        return make_normalizer("gdpo")(batch)

    run(imitator, vec, Silent, normalizer=spy, options=TINY.model_copy(update={"steps": 1}))
    plain = seen[-1]
    assert len(plain) == 8
    changed = {"steps": 3, "group_size": 8, "learning_rate": 1e-6, "dynamic_sampling": True, "max_draws": 12}
    options = TINY.model_copy(update=changed)
    run(imitator, vec, Silent, normalizer=spy, options=options)
    final = seen[-1]
    assert len(final) == 16
    for group in final.groups.unique():
        assert len(final.rewards[final.groups == group].unique(dim=0)) > 1


def test_dynamic_sampling_gives_up_after_so_many_draws(imitator: Policy, vec: Vec) -> None:
    drawn = []

    class Counting(Silent):
        @reward(low=0, high=1, kind="binary")
        def wanted(self, task: Task, reply: str) -> bool | None:
            drawn.append(task)
            return None

    options = TINY.model_copy(update={"steps": 1, "eval_every": 5, "dynamic_sampling": True, "max_draws": 3})
    _, weights = run(imitator, vec, Counting, options=options)
    assert len(drawn) == 3 * 8 + 2 * 2 * 2
    assert all(torch.equal(weights[name], tensor) for name, tensor in imitator.model.state_dict().items())


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(("stop", "cls"), [(1, Letters), (2, Elsewhere), (5, Letters)])
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers_bit_for_bit(
    imitator: Policy, vec: Vec, tmp_path: Path, stop: int, cls: type[Letters]
) -> None:
    options = TINY.model_copy(update={"steps": 6, "eval_every": 2, "warmup_steps": 2, "schedule": "cosine"})

    def train_with(checkpoints: Checkpoints | None, report: Any) -> tuple[RunResult, dict[str, torch.Tensor]]:
        own = Policy(copy.deepcopy(imitator.model), imitator.tokenizer)
        trainer = Trainer(
            own,
            vec(cls, options.prompts, options.group_size, "train"),
            vec(cls, options.eval_prompts, options.eval_group_size, "eval"),
            normalizer=make_normalizer("gdpo"),
            options=options,
            weights={"wanted": 1.0, "letter": 1.0},
            seed=3,
            checkpoints=checkpoints,
            open_log=partial(MetricsLog, tmp_path, "run") if checkpoints else None,
        )
        return trainer.run(report), own.model.state_dict()

    def stopping(step: int, evaluation: Evaluation | None) -> None:
        if step == stop:
            raise StoppedError

    whole, weights = train_with(None, lambda step, evaluation: None)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(StoppedError):
        train_with(checkpoints, stopping)
    resumed_at: list[int] = []
    resumed, again = train_with(checkpoints, lambda step, evaluation: resumed_at.append(step))
    assert resumed_at[0] == stop
    assert measured(resumed) == measured(whole)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(7))


FEW = {"steps": 3, "group_size": 8, "max_new_tokens": 2, "eval_every": 9, "eval_prompts": 1, "eval_group_size": 1}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("normalizer", list_normalizers())
def test_with_every_normalizer_a_stopped_run_goes_on_to_the_same_numbers_bit_for_bit(
    imitator: Policy, vec: Vec, tmp_path: Path, normalizer: str, dynamic: bool
) -> None:
    options = TINY.model_copy(update=FEW | {"dynamic_sampling": dynamic, "max_draws": 3})
    checkpoints = Checkpoints(tmp_path, keep=3)

    def made() -> Any:
        return make_normalizer(normalizer, **CLAIMED.get(normalizer, {}))

    whole, weights = run(imitator, vec, normalizer=made(), options=options, checkpoints=checkpoints)
    for step in (2, 3):  # as if it had been killed after the first step
        shutil.rmtree(tmp_path / f"step-{step:08d}")
    resumed, again = run(imitator, vec, normalizer=made(), options=options, checkpoints=checkpoints)
    assert measured(resumed) == measured(whole)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not all(torch.equal(weights[name], tensor) for name, tensor in imitator.model.state_dict().items())


@dataclasses.dataclass
class Remembering:
    """GDPO that counts its batches, and may say how many they were."""

    batches: int = dataclasses.field(default=0, init=False)

    def __call__(self, batch: RewardBatch) -> torch.Tensor:
        self.batches += 1
        return make_normalizer("gdpo")(batch)


class Telling(Remembering):
    def state_dict(self) -> dict[str, int]:
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches = state["batches"]


class Unseen:
    """Remembers where no field says so."""

    batches = 0

    def __call__(self, batch: RewardBatch) -> torch.Tensor:
        self.batches += 1
        return torch.full((len(batch),), float(self.batches))


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_state_advances_once_a_step(imitator: Policy, vec: Vec, dynamic: bool) -> None:
    normalizer = Telling()
    options = TINY.model_copy(update=FEW | {"dynamic_sampling": dynamic, "max_draws": 3})
    run(imitator, vec, Silent, normalizer=normalizer, options=options)
    assert normalizer.batches == 3


def test_a_state_that_is_not_offered_is_refused_where_checkpoints_are_asked_for(
    imitator: Policy, vec: Vec, tmp_path: Path
) -> None:
    options = TINY.model_copy(update=FEW)
    run(imitator, vec, normalizer=Remembering(), options=options)
    with pytest.raises(StateError, match="Remembering keeps batches from batch to batch"):
        run(imitator, vec, normalizer=Remembering(), options=options, checkpoints=Checkpoints(tmp_path))
    run(imitator, vec, normalizer=Unseen(), options=options)
    with pytest.raises(StateError, match="Unseen changed while it was called"):
        run(imitator, vec, normalizer=Unseen(), options=options, checkpoints=Checkpoints(tmp_path))
    assert not list(tmp_path.iterdir())
    run(imitator, vec, normalizer=Telling(), options=options, checkpoints=Checkpoints(tmp_path))


def test_a_checkpoint_of_another_policy_is_refused(
    imitator: Policy, small_policy: Policy, vec: Vec, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path)

    def trainer(policy: Policy) -> Trainer:
        return Trainer(
            Policy(copy.deepcopy(policy.model), policy.tokenizer),
            vec(Letters, TINY.prompts, TINY.group_size, "train"),
            vec(Letters, TINY.eval_prompts, TINY.eval_group_size, "eval"),
            normalizer=make_normalizer("gdpo"),
            options=TINY,
            weights={"wanted": 1.0, "letter": 1.0},
            seed=0,
            checkpoints=checkpoints,
        )

    trainer(imitator).run()
    with pytest.raises(DataError, match="of another policy than this run's"):
        trainer(small_policy).run()


def test_no_steps_only_evaluate(imitator: Policy, vec: Vec) -> None:
    result, weights = run(imitator, vec, options=TINY.model_copy(update={"steps": 0}))
    assert [evaluation.step for evaluation in result.evaluations] == [0]
    assert all(torch.equal(weights[name], tensor) for name, tensor in imitator.model.state_dict().items())


def test_evaluation_has_its_own_sampling(imitator: Policy, vec: Vec) -> None:
    greedy = {"eval_temperature": 0.0, "eval_group_size": 4, "steps": 0}
    result, _ = run(imitator, vec, options=TINY.model_copy(update=greedy))
    # The likeliest reply is always the same, so that each prompt's rollouts agree.
    assert result.evaluations[0].rewards["wanted"] in (0.0, 0.5, 1.0)


def test_a_step_says_how_much_of_each_reward_its_advantages_carry_on(
    imitator: Policy, vec: Vec, tmp_path: Path
) -> None:
    seen: list[dict[str, float]] = []

    class Log(MetricsLog):
        def write(self, step: int, measures: Mapping[str, float]) -> None:
            seen.append(dict(measures))

    trainer = Trainer(
        copy.deepcopy(imitator),
        vec(Letters, TINY.prompts, TINY.group_size),
        vec(Letters, TINY.eval_prompts, TINY.eval_group_size, "eval"),
        normalizer=make_normalizer("gdpo"),
        options=TINY,
        weights={"wanted": 1.0},
        seed=0,
        open_log=partial(Log, tmp_path, "run"),
    )
    trainer.run()
    told = [one for one in seen if one.get("signal/informative/wanted", 0) > 0]
    assert told
    assert all(0.5 < one["signal/correlation/wanted"] <= 1 + 1e-9 for one in told)  # one reward: all of the advantages
    assert all(one["signal/saturation/wanted"] == one["reward/wanted"] for one in told)  # of a binary reward


def test_a_second_seed_of_sampling_draws_the_same_prompts_again(imitator: Policy, vec: Vec) -> None:
    found = []
    for samples in (1, 2):
        options = TINY.model_copy(update={"eval_samples": samples, "steps": 0})
        result, _ = run(imitator, vec, options=options)
        found += unpack(result.vectors)
    once, twice = found
    n = len(once.groups)
    assert twice.groups.tolist() == once.groups.tolist() * 2
    assert twice.task_ids.tolist() == once.task_ids.tolist() * 2
    assert np.array_equal(twice.scores.raw[:n], once.scores.raw)  # the first seed is the one there always was
    assert not np.array_equal(twice.scores.raw[n:], once.scores.raw)


def test_a_suite_is_every_held_out_task_once_a_rollout(imitator: Policy, vec: Vec) -> None:
    seen: list[str] = []

    class Counting(Letters):
        @reward(low=0, high=1, kind="binary", metric="accuracy")
        def wanted(self, task: Task, reply: str) -> bool:
            seen.append(task.prompt)
            return reply == "a"

    env = vec(Counting, 1, 1, "eval")
    found = evaluate_suite(env.env_id, {}, imitator, TransformersBackend(imitator), sampling=Sampling(4), group_size=3)
    assert sorted(seen) == sorted([task.prompt for task in env.tasks] * 3)
    assert found.metrics["accuracy"] == found.rewards["wanted"]
