"""Everything a job needs, looked up and checked before the first process starts."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gdpo_bench.advantages import DomainError, Normalizer, make_normalizer, normalizer_options
from gdpo_bench.advantages.state import check_state_is_offered
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.completions import check_completions
from gdpo_bench.agent.metrics import check_loggers
from gdpo_bench.agent.options import EMBEDDED_CONFIGS, EmbeddedConfig, PretrainedConfig, TrainingOptions
from gdpo_bench.agent.policies.chat_template import check_conversation
from gdpo_bench.agent.policies.pretrained import check_pretrained
from gdpo_bench.agent.policy import Chat
from gdpo_bench.core import RewardSpec, Task, TextEnv, UnknownNameError, list_envs, make_env, spec
from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.schedules import Schedule, ever_counts, starting_weights
from gdpo_bench.jobs.conversations import conversations
from gdpo_bench.jobs.job import EnvChoice, Job, JobError, JobNormalizer, RuntimeOptions
from gdpo_bench.jobs.policy import EVAL_SPLIT, TRAIN_SPLIT, PolicyChoice, parse_policy, parse_rollout
from gdpo_bench.jobs.preflight import absent_rewards, check_demonstrations, try_normalizer
from gdpo_bench.jobs.record_size import check_record_size
from gdpo_bench.jobs.room import check_prompts, embedded_room, pretrained_room
from gdpo_bench.leaderboard import Environment, NormalizerConfig
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT

WARM_START_ENVS = ("gdpo/CodingMini-v1", "gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1")
"""The embedded policy always imitates all of these, so that jobs on one of them share a warm start."""


@dataclass(frozen=True)
class PlannedEnv:
    """An environment of the job, made and described."""

    label: str
    """What tells it from others of the job."""
    choice: EnvChoice
    env: TextEnv[Any]
    tasks: list[Task]
    """The tasks of the split that is measured."""
    description: Environment
    training: TrainingOptions

    @property
    def specs(self) -> tuple[RewardSpec, ...]:
        """The K rewards."""
        return self.env.reward_specs


@dataclass(frozen=True)
class PlannedNormalizer:
    """A normalizer of the job, made and described."""

    choice: JobNormalizer
    normalizer: Normalizer
    options: dict[str, Any]
    named: JobNormalizer
    """What the job names, of which `choice` is a trial where the job tunes."""

    def weights(self, specs: tuple[RewardSpec, ...]) -> dict[str, float]:
        """Reward → weight of the first step, for an environment's rewards."""
        return starting_weights(self.scheduled_weights(specs))

    def scheduled_weights(self, specs: tuple[RewardSpec, ...]) -> dict[str, float | Schedule]:
        """Reward → weight, or how it changes, for an environment's rewards."""
        return {spec.name: self.choice.weights.get(spec.name, spec.weight) for spec in specs}

    def check(self, specs: tuple[RewardSpec, ...]) -> None:
        """Refuse rewards that are outside the normalizer's domain, where it says what that is.

        Raises:
            DomainError: It cannot take rewards of these ranges.
        """
        if callable(check := getattr(self.normalizer, "check_rewards", None)):
            check(specs, self.weights(specs))

    def describe(self, specs: tuple[RewardSpec, ...]) -> NormalizerConfig:
        """What a leaderboard entry says of it."""
        weights = self.scheduled_weights(specs)
        return NormalizerConfig(name=self.choice.normalizer, options=self.options, weights=weights)


@dataclass(frozen=True)
class Plan:
    """A job that can be run."""

    job: Job
    policy: PolicyChoice
    envs: tuple[PlannedEnv, ...]
    normalizers: tuple[PlannedNormalizer, ...]
    pairs: tuple[tuple[PlannedEnv, PlannedNormalizer], ...]
    """What is run with each seed: every environment with every normalizer that can take its rewards."""
    left_out: tuple[str, ...] = ()
    """Why optional environments, or normalizers on some environment, take no part; a text each."""
    device: str = "cpu"
    vllm: VLLMOptions | None = None
    """How completions are drawn, if by vLLM."""
    warnings: tuple[str, ...] = ()
    """What may not come out as wanted; a sentence each."""
    undemonstrated: tuple[str, ...] = ()
    """Ids of environments whose replies the policy has never seen when training on them begins."""
    imitated: tuple[EnvChoice, ...] | None = None
    """Whose demonstrations the policy imitates, where that does not follow from the job."""

    def training(self, env: PlannedEnv, normalizer: PlannedNormalizer) -> TrainingOptions:
        """The training options of a pair."""
        return TrainingOptions.model_validate(env.training.model_dump() | normalizer.choice.training)

    def division(self, env: PlannedEnv, normalizer: PlannedNormalizer) -> Literal["closed", "open"]:
        """`closed` if only environment and normalizer depart from the benchmark's defaults."""
        defaults = self.training(env, normalizer) == TrainingOptions() and self.policy.config in (
            None,
            *EMBEDDED_CONFIGS.values(),
        )
        return "closed" if defaults else "open"

    def warm_start_envs(self, env: PlannedEnv) -> tuple[EnvChoice, ...]:
        """Whose demonstrations the policy imitates before it is trained on `env`.

        The job's environments, and for an embedded policy all Mini ones; where the job holds two variants of one
        environment, the variant that is trained on stands for it. One that `warm_starts_alone` does so.
        """
        if self.imitated is not None:
            return self.imitated
        if env.env.warm_starts_alone:
            return (env.choice,)
        always = WARM_START_ENVS if self.policy.kind == "embedded" else ()
        chosen = {id: EnvChoice(id=id) for id in always if id in list_envs()}
        for planned in (*(one for one in self.envs[::-1] if not one.env.warm_starts_alone), env):
            chosen[planned.description.id] = planned.choice
        return tuple(chosen[id] for id in sorted(chosen))

    def warm_start_sentences(self) -> list[str]:
        """Which environments of the job begin from which warm start; a sentence each."""
        sharing: dict[str, list[str]] = {}
        for env in self.envs if self.policy.imitates else ():
            shown = [one for one in self.warm_start_envs(env) if spec(one.id).id not in self.undemonstrated]
            imitated = _listed([one.label for one in shown])
            sharing.setdefault(imitated, []).append(env.label)
        return [
            f"Warm start of {_listed(labels)}{' together' if len(labels) > 1 else ''}: on demonstrations of {imitated}."
            for imitated, labels in sharing.items()
        ]


def plan(job: Job) -> Plan:
    """Look up and check everything a job names, and try on a few replies what it would trip over later.

    Raises:
        GdpoBenchError: An unknown id, normalizer, option, reward, policy, backend or logger, data that
            cannot be loaded, an environment that needs what is missing here and is not optional, prompts
            behind which no reply fits, or code of an author that fails.
    """
    vllm = parse_rollout(job.rollout)
    policy = parse_policy(job.policy)
    device = policy.device(job.runtime.device) if policy.trained else "cpu"
    if policy.trained:
        check_loggers(job.runtime.loggers)
    if policy.file is not None:
        check_completions(policy.file, policy.mapping)  # before data are loaded
    pretrained = None
    if isinstance(policy.config, PretrainedConfig):
        pretrained = check_pretrained(policy.config)
        if any(seed.warm_start for seed in job.all_seeds) and not policy.imitates:
            raise JobError(
                f"The policy {policy.name} begins as it is given, so seeds are numbers, not pairs; "
                f"{policy.name}:warm_start_steps=120 gives it a warm start."
            )
    normalizers = tuple(
        PlannedNormalizer(
            choice, choice.make(), normalizer_options(make_normalizer(choice.normalizer, **choice.options)), named
        )
        for named in job.normalizers
        for choice in job.trials(named)
    )
    if job.runtime.checkpoint_every:
        for one in normalizers:
            check_state_is_offered(one.normalizer)
    envs, left_out = _plan_envs(job, policy)
    suites = [_plan_suite(suite, job.training) for suite in job.suites] if policy.trained else []
    if pretrained is not None:
        for env in (*envs, *suites):
            for roles in sorted(conversations(env.env, env.tasks)):
                check_conversation(pretrained[0], roles, env.choice.id)
    _check_weights(normalizers, envs)
    _check_target(job, envs)
    pairs, outside = _pairs(envs, normalizers)
    _try_normalizers(pairs, policy)
    records = [check_record_size(env.label, env.specs, env.training, len(job.seeds)) for env in envs if policy.trained]
    planned = Plan(job, policy, envs, normalizers, pairs, (*left_out, *outside), device, vllm)
    told = [*records, _unused(job.runtime, device) if policy.trained else None]
    planned = dataclasses.replace(planned, warnings=tuple(text for text in told if text))
    if policy.imitates:
        planned = dataclasses.replace(planned, undemonstrated=_undemonstrated(planned))
        if policy.kind == "pretrained" and len(planned.undemonstrated) == len({env.description.id for env in envs}):
            raise JobError(
                f"{_listed(planned.undemonstrated)} offers no demonstrations, and policy {policy.name} is to imitate "
                "some (warm_start_steps). Define `demonstrations(rng)` in the environment, or leave the warm start out."
            )
    if policy.trained:
        _check_prompts(planned, suites, pretrained)
    return planned


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _check_target(job: Job, envs: Sequence[PlannedEnv]) -> None:
    for env in envs if job.tuning else ():
        known = [ALL_RIGHT, *(reward.name for reward in env.specs)]
        if job.tuning and job.tuning.target not in known:
            raise UnknownNameError(f"target of tuning on {env.label}", job.tuning.target, known)


def _check_weights(normalizers: Sequence[PlannedNormalizer], envs: Sequence[PlannedEnv]) -> None:
    rewards = {reward.name for env in envs for reward in env.specs}
    for planned in normalizers:
        for name in planned.choice.weights:
            if name not in rewards:
                raise UnknownNameError(f"reward in the weights of {planned.choice.normalizer!r}", name, rewards)
        for env in envs:
            if not any(map(ever_counts, planned.scheduled_weights(env.specs).values())):
                raise JobError(
                    f"{planned.choice.label}: all weights of {env.label} are 0, so that nothing would be learned; "
                    "give one reward another weight."
                )


def _try_normalizers(pairs: Sequence[tuple[PlannedEnv, PlannedNormalizer]], policy: PolicyChoice) -> None:
    for env, with_it in itertools.groupby(pairs, key=lambda pair: pair[0]):
        with blaming(f"{env.choice.id} cannot score replies"):
            absent = absent_rewards(env.env, env.description.id, env.tasks)
        for _, one in with_it:
            try_normalizer(
                one.choice.make,
                one.choice.label,
                specs=env.specs,
                weights=one.weights(env.specs),
                absent=absent,
                training=env.training if policy.trained else None,
            )


def _unused(runtime: RuntimeOptions, device: str) -> str | None:
    if runtime.runs_per_gpu is None or device == "cuda":
        return None
    return f"runs_per_gpu={runtime.runs_per_gpu} changes nothing: this job trains on the CPU, a run for each core."


def _undemonstrated(plan: Plan) -> tuple[str, ...]:
    """Ids of environments without demonstrations; those of the others are drawn, as warm starts will."""
    config = plan.policy.config
    assert config is not None
    seeds = dict.fromkeys(seed.warm_start for seed in plan.job.all_seeds)
    without: list[str] = []
    for env in plan.envs:
        id, share = env.description.id, math.ceil(config.warm_start_examples / len(plan.warm_start_envs(env)))
        if not all(check_demonstrations(env.env, id, seed, share) for seed in seeds) and id not in without:
            without.append(id)
    return tuple(without)


def _check_prompts(plan: Plan, suites: Sequence[PlannedEnv], pretrained: tuple[Chat, int | None] | None) -> None:
    """Refuse prompts that the policy cannot read, before it is made."""
    config, warm_start = plan.policy.config, plan.job.seeds[0].warm_start
    for env in (*plan.envs, *suites):
        id, training = env.description.id, env.training
        if isinstance(config, EmbeddedConfig):
            room = embedded_room(plan.policy.name, config, plan.warm_start_envs(env), warm_start)
        elif pretrained is not None and pretrained[1] is not None:
            room = pretrained_room(pretrained[0], pretrained[1])
        else:
            return
        check_prompts(env.env, id, env.tasks, training.eval_sampling.max_new_tokens, room)
        if any(env is own for own in plan.envs):
            check_prompts(env.env, id, tasks_of(env.env, TRAIN_SPLIT, id), training.max_new_tokens, room)


def _pairs(
    envs: tuple[PlannedEnv, ...], normalizers: tuple[PlannedNormalizer, ...]
) -> tuple[tuple[tuple[PlannedEnv, PlannedNormalizer], ...], tuple[str, ...]]:
    """Which normalizer runs on which environment, and why others do not.

    Raises:
        JobError: None can be run.
    """
    pairs: list[tuple[PlannedEnv, PlannedNormalizer]] = []
    outside: list[str] = []
    for env, normalizer in itertools.product(envs, normalizers):
        try:
            normalizer.check(env.specs)
            pairs.append((env, normalizer))
        except DomainError as error:
            outside.append(f"{normalizer.choice.label} takes no part on {env.label}: {error}")
    if not pairs:
        raise JobError("No normalizer of this job can take its rewards. " + " ".join(outside))
    return tuple(pairs), tuple(outside)


def _plan_envs(job: Job, policy: PolicyChoice) -> tuple[tuple[PlannedEnv, ...], tuple[str, ...]]:
    """The environments, and why others are left out."""
    envs: list[PlannedEnv] = []
    left_out: list[str] = []
    for choice in job.envs:
        planned = _plan_env(choice, job.training_on(choice), policy.split, trained=policy.trained)
        reason = planned.env.unavailable()
        if reason is None:
            envs.append(planned)
        elif planned.description.id in job.optional:
            left_out.append(f"{choice.id} is left out of this job. {reason}")
        else:
            raise JobError(f"{choice.id} cannot be scored here. {reason}")
    if not envs:
        raise JobError("No environment of this job can be scored here. " + " ".join(left_out))
    return tuple(envs), tuple(left_out)


def _plan_suite(choice: EnvChoice, training: TrainingOptions) -> PlannedEnv:
    planned = _plan_env(choice, training)
    if reason := planned.env.unavailable():
        raise JobError(f"The suite {choice.id} cannot be scored here. {reason}")
    return planned


def _plan_env(
    choice: EnvChoice, training: TrainingOptions, split: str = EVAL_SPLIT, *, trained: bool = False
) -> PlannedEnv:
    found = spec(choice.id)
    with blaming(f"{choice.id} cannot be made with options {choice.options}"):
        env = make_env(choice.id, **choice.options)
        tasks = list(tasks_of(env, split, found.id))
        if trained:
            if TRAIN_SPLIT not in env.splits:
                raise JobError(
                    f"{choice.id} is for evaluation only: it has no split {TRAIN_SPLIT!r}. Train on another "
                    "environment, or score replies on this one with --policy oracle or --policy replay:FILE."
                )
            _check_held_out(choice.id, tasks_of(env, TRAIN_SPLIT, found.id), tasks)
    description = Environment.describe(
        found.id,
        options=found.options_with(choice.options),
        specs=env.reward_specs,
        split=split,
        task_ids=(task.id for task in tasks),
        data_revision=env.data_revision(),
        grader_revision=env.grader_revision,
    )
    plain = EnvChoice(id=choice.id, options=choice.options)
    return PlannedEnv(choice.label, plain, env, tasks, description, training)


def _check_held_out(id: str, trained_on: Sequence[Task], held_out: Sequence[Task]) -> None:
    """Refuse to measure a policy on nothing but what it is trained on.

    Raises:
        JobError: Every held-out task is one to train on.
    """
    prompts = {task.prompt for task in trained_on}
    if any(task.prompt not in prompts for task in held_out):
        return  # ids are hashes of whole tasks, of which there can be many
    trained = {task.id for task in trained_on}
    if all(task.id in trained for task in held_out):
        raise JobError(
            f"{id}: all {len(held_out)} tasks of split {EVAL_SPLIT!r} are in split {TRAIN_SPLIT!r} too, so that "
            "nothing is held out. Give the splits different tasks, as gdpo_bench.core.task.split_by_content does."
        )
