"""TRL's GRPO trains on our environments, with any of our normalizers.

    from gdpo_bench.integrations.trl import NormalizerGRPOTrainer, TRLEnvironment

    env = TRLEnvironment("gdpo/ToolCallingMini-v1")
    trainer = NormalizerGRPOTrainer(
        model,
        env.reward_funcs,
        args=env.config("runs/tools", num_generations=8),
        train_dataset=env.dataset("train"),
        normalizer="gd2po:tau=0.2",
    )

A dialogue is played by `rollout_func=env.rollout_func`; `TRLMixture` puts several environments into one training.
Rewards and data need no TRL: `TRLEnvironment` serves TRL's own `GRPOTrainer` too. `NormalizerGRPOTrainer` is
imported when it is first asked for: `pip install 'gdpo-bench[trl]'`.
"""

from typing import TYPE_CHECKING, Any

from gdpo_bench.integrations.trl.environment import TRLEnvironment, TRLMixture
from gdpo_bench.integrations.trl.rewards import RewardComponent

if TYPE_CHECKING:
    from gdpo_bench.integrations.trl.trainer import NormalizerGRPOTrainer

__all__ = ["NormalizerGRPOTrainer", "RewardComponent", "TRLEnvironment", "TRLMixture"]


def __getattr__(name: str) -> Any:
    if name != "NormalizerGRPOTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gdpo_bench.integrations.trl.extra import import_trl  # noqa: PLC0415

    import_trl()
    from gdpo_bench.integrations.trl import trainer  # noqa: PLC0415

    return trainer.NormalizerGRPOTrainer
