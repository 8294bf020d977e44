"""What TRL's trainers need of environments: reward functions, data, settings, and what plays dialogues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.core.task import Message, Task, canonical_json
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.mixture import prefixed, prefixes, refuse_repeated
from gdpo_bench.integrations.scoring import Scorer, weights_in_order
from gdpo_bench.integrations.trl.extra import import_trl
from gdpo_bench.integrations.trl.rewards import ENV_COLUMN, TASK_COLUMN, BatchScorer, RewardComponent

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import GRPOConfig

RolloutFunction = Callable[[list[Any], Any], dict[str, Any]]


class TRLEnvironment:
    """An environment, as TRL's `GRPOTrainer` takes it.

    Attributes:
        env_id: The id.
        env: The author's environment.
        source: What the data set calls it: the id, with its options where there are any.
        reward_funcs: One reward function for each reward, in the order of the reward vector.
    """

    def __init__(self, env_id: str, **options: Any) -> None:
        """Make the environment of a registered id.

        Args:
            env_id: A registered id, or `module:namespace/Name-v0`.
            **options: The environment's own options.

        Raises:
            UnknownNameError: No such id or option.
            UnavailableError: What scoring needs is missing on this machine.
        """
        self.scorer = Scorer(env_id, options)
        self.env_id, self.env = self.scorer.env_id, self.scorer.env
        self.source = self.env_id + (f" {canonical_json(options)}" if options else "")
        batches = BatchScorer(self.scorer, self.source)
        self.reward_funcs = [RewardComponent(batches, k, reward) for k, reward in enumerate(self.scorer.reward_specs)]

    @property
    def rollout_func(self) -> RolloutFunction | None:
        """What plays a dialogue in TRL's stead; None where one reply is all, as TRL itself does it."""
        return _player([self]) if self.env.max_turns > 1 else None

    def dataset(self, split: str | None = None) -> Dataset:
        """The tasks of a split: `prompt`, the messages that the environment shows, `task_id`, and `env`, the source.

        Args:
            split: By default the first of the environment's splits, mostly "train".

        Raises:
            UnknownNameError: The environment has no such split.
        """
        return _dataset(self.rows(split, named=self.env.max_turns > 1))

    def rows(self, split: str | None, *, named: bool) -> list[dict[str, Any]]:
        """What stands in the data set.

        Args:
            split: See `dataset`.
            named: Whether the last message of a prompt names the task too, for what plays dialogues.
        """
        tasks = tasks_of(self.env, split or self.env.splits[0])
        return [
            {"prompt": self._messages(task, named), TASK_COLUMN: task.id, ENV_COLUMN: self.source} for task in tasks
        ]

    def _messages(self, task: Task, named: bool) -> list[Any]:
        messages: list[Message] = self.env.messages(task)
        names = {TASK_COLUMN: task.id, ENV_COLUMN: self.source}
        return [*messages[:-1], {**messages[-1], **names}] if named else messages

    def reward_weights(self, weights: Mapping[str, float] | None = None) -> list[float]:
        """Weights by position, as `GRPOConfig(reward_weights=…)` takes them, from weights by name.

        Args:
            weights: Reward → weight; one left out keeps its declared weight.

        Raises:
            UnknownNameError: A weight for a reward that does not exist.
        """
        return weights_in_order(self.env_id, self.env.reward_specs, weights)

    def config(self, output_dir: str, *, weights: Mapping[str, float] | None = None, **settings: Any) -> GRPOConfig:
        """A `GRPOConfig` in which what the environment decides is set.

        That is `reward_weights`, in the order of `reward_funcs`, and `remove_unused_columns=False`, since rewards
        find their tasks by a column.

        Args:
            output_dir: Where TRL saves.
            weights: Reward → weight; see `reward_weights`.
            **settings: Everything else of `GRPOConfig`.

        Raises:
            IntegrationError: A setting that contradicts the environment.
            MissingExtraError: TRL is not installed.
        """
        return _config(output_dir, self.reward_weights(weights), self.env.reward_specs, settings)


class TRLMixture:
    """Several environments in one training: a prompt is of one of them, and the others' rewards are None there.

    Rewards are named after their environment too, as `MathMini_v1_correct`.

    Attributes:
        envs: The environments.
        reward_funcs: One reward function for each reward of each environment, those of the first one first.
    """

    def __init__(self, *envs: TRLEnvironment) -> None:
        """Put environments together.

        Args:
            *envs: At least one, each another.

        Raises:
            IntegrationError: None, or the same one twice.
        """
        refuse_repeated([env.source for env in envs])
        self.envs = envs
        self.reward_funcs = [
            function.renamed(prefixed(function.spec, prefix))
            for env, prefix in zip(envs, prefixes([env.env_id for env in envs]), strict=True)
            for function in env.reward_funcs
        ]

    @property
    def rollout_func(self) -> RolloutFunction | None:
        """What plays all of them, where one is a dialogue; else None."""
        return _player(self.envs) if self._named else None

    @property
    def _named(self) -> bool:
        return any(env.env.max_turns > 1 for env in self.envs)

    def dataset(self, split: str | None = None) -> Dataset:
        """The tasks of all, one environment after the other; TRL shuffles them.

        Args:
            split: By default the first of each environment's splits, mostly "train".

        Raises:
            UnknownNameError: An environment has no such split.
        """
        return _dataset([row for env in self.envs for row in env.rows(split, named=self._named)])

    def reward_weights(self, weights: Mapping[str, float] | None = None) -> list[float]:
        """See `TRLEnvironment.reward_weights`; names are those of `reward_funcs`."""
        return weights_in_order("the mixture", [function.spec for function in self.reward_funcs], weights)

    def config(self, output_dir: str, *, weights: Mapping[str, float] | None = None, **settings: Any) -> GRPOConfig:
        """See `TRLEnvironment.config`."""
        specs = [function.spec for function in self.reward_funcs]
        return _config(output_dir, self.reward_weights(weights), specs, settings)


def _player(envs: Sequence[TRLEnvironment]) -> RolloutFunction:
    from gdpo_bench.integrations.trl.dialogues import play  # noqa: PLC0415 — brings torch, which rewards do not need

    return partial(play, {env.source: env.scorer for env in envs})


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    from datasets import Dataset  # noqa: PLC0415 — takes a second, and rewards alone do not need it

    return Dataset.from_list(rows)


def _config(
    output_dir: str, reward_weights: list[float], specs: Sequence[RewardSpec], settings: dict[str, Any]
) -> GRPOConfig:
    if "reward_weights" in settings:
        names = ", ".join(reward.name for reward in specs)
        raise IntegrationError(f"Give weights by name, weights={{…}}, not reward_weights; the rewards are {names}.")
    if settings.pop("remove_unused_columns", False):
        raise IntegrationError(f"remove_unused_columns must be False: rewards read the column {TASK_COLUMN!r}.")
    config: GRPOConfig = import_trl().GRPOConfig(
        output_dir, reward_weights=reward_weights, remove_unused_columns=False, **settings
    )
    return config
