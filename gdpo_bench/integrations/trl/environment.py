"""What TRL's trainers need of an environment: reward functions, data and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gdpo_bench.core.env import tasks_of
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import Scorer
from gdpo_bench.integrations.trl.extra import import_trl
from gdpo_bench.integrations.trl.rewards import TASK_COLUMN, BatchScorer, RewardComponent

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import GRPOConfig


class TRLEnvironment:
    """An environment of one turn, as TRL's `GRPOTrainer` takes it.

    Attributes:
        env_id: The id.
        env: The author's environment.
        reward_funcs: One reward function for each reward, in the order of the reward vector.
    """

    def __init__(self, env_id: str, **options: Any) -> None:
        """Make the environment of a registered id.

        Args:
            env_id: A registered id, or `module:namespace/Name-v0`.
            **options: The environment's own options.

        Raises:
            UnknownNameError: No such id or option.
            IntegrationError: The environment has several turns.
            UnavailableError: What scoring needs is missing on this machine.
        """
        scorer = Scorer(env_id, options)
        self.env_id, self.env = scorer.env_id, scorer.env
        batches = BatchScorer(scorer)
        self.reward_funcs = [RewardComponent(batches, k, reward) for k, reward in enumerate(scorer.reward_specs)]

    def dataset(self, split: str | None = None) -> Dataset:
        """The tasks of a split: `prompt`, the messages that the environment shows, and `task_id`.

        Args:
            split: By default the first of the environment's splits, mostly "train".

        Raises:
            UnknownNameError: The environment has no such split.
        """
        from datasets import Dataset  # noqa: PLC0415 — takes a second, and rewards alone do not need it

        tasks = tasks_of(self.env, split or self.env.splits[0])
        rows = [{"prompt": self.env.messages(task), TASK_COLUMN: task.id} for task in tasks]
        return Dataset.from_list(rows)

    def reward_weights(self, weights: Mapping[str, float] | None = None) -> list[float]:
        """Weights by position, as `GRPOConfig(reward_weights=…)` takes them, from weights by name.

        Args:
            weights: Reward → weight; one left out keeps its declared weight.

        Raises:
            UnknownNameError: A weight for a reward that does not exist.
        """
        known = {reward.name: reward.weight for reward in self.env.reward_specs}
        for name in weights or {}:
            if name not in known:
                raise UnknownNameError(f"reward of {self.env_id} in weights", name, known)
        return list((known | dict(weights or {})).values())

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
        if "reward_weights" in settings:
            names = ", ".join(reward.name for reward in self.env.reward_specs)
            raise IntegrationError(f"Give weights by name, weights={{…}}, not reward_weights; the rewards are {names}.")
        if settings.pop("remove_unused_columns", False):
            raise IntegrationError(f"remove_unused_columns must be False: rewards read the column {TASK_COLUMN!r}.")
        config: GRPOConfig = import_trl().GRPOConfig(
            output_dir, reward_weights=self.reward_weights(weights), remove_unused_columns=False, **settings
        )
        return config
