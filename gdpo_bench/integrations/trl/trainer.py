"""TRL's `GRPOTrainer` with the advantages of any of our normalizers.

TRL 1.16 has no hook for advantages: `_generate_and_score_completions` computes them amid much else. So it runs as
it is shipped, and what it returns gets other advantages. Two methods are extended:

1. `_calculate_rewards`, which gathers the rewards of all processes, keeps what it gathered, with token counts and
   which scorers failed.
2. `_generate_and_score_completions` hands the kept rewards of the whole batch to the normalizer and takes this
   process's part of the result.

TRL's own advantages serve as a check: it is made to compute the plainest ones, the weighted sum centred in its group,
and whenever these are not what the kept rewards give in this process's part, training stops. So another order of
rollouts, another grouping, or rewards that were changed in between cannot pass unnoticed.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer

from gdpo_bench.advantages import compute_advantages, diagnose
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.trl.extra import check_version
from gdpo_bench.integrations.trl.rewards import PLAYED_COLUMN, RewardComponent
from gdpo_bench.integrations.trl.settings import AnyNormalizer, check_settings, read_normalizer, weights_of

_STATE_FILE = "normalizer.json"
_TOLERANCE = 1e-4
"""Of TRL's float32 sums, as a share of the largest weighted sum."""


@dataclass(frozen=True)
class _Gathered:
    """What all processes' N rollouts of a batch got, in TRL's order: process by process, groups adjacent."""

    rewards: Tensor
    """(N, K) float32, NaN where a reward function returned None."""
    failed: Tensor
    """(N, K) bool, where one of our scorers failed."""
    lengths: Tensor
    """(N,) tokens drawn."""


class NormalizerGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer` whose advantages one of our normalizers computes.

    Everything else is TRL's: generation, loss, logging. Beside TRL's metrics there are `advantages/zero_signal_share`,
    groups from which nothing is learned, and `advantages/collapsed_rollouts`; `frac_reward_zero_std` still speaks of
    the weighted sum.
    """

    def __init__(self, *args: Any, normalizer: AnyNormalizer, **kwargs: Any) -> None:
        """Set up a training.

        Weights are those of the normalizer's text (`"gdpo:weights.format=2"`), or else of `reward_weights`, or else
        the declared ones of an environment's rewards and 1 for other reward functions.

        Args:
            *args: As for `GRPOTrainer`.
            normalizer: A name with options as command lines take it, such as `"gd2po:tau=0.2"`; a normalizer with
                its options; or a function of a `RewardBatch`.
            **kwargs: As for `GRPOTrainer`; `scale_rewards` and `multi_objective_aggregation` stay at their defaults,
                since the normalizer stands in their place.

        Raises:
            IntegrationError: Another TRL than the tested one, or settings that contradict the normalizer.
            UnknownNameError: No such normalizer, option or reward.
        """
        check_version()
        self.normalizer, named = read_normalizer(normalizer)
        super().__init__(*args, **kwargs)
        check_settings(self)
        self._weights = weights_of(self.reward_func_names, self.reward_funcs, named, self.args.reward_weights)
        # TRL logs the sum with these weights, and centres it, for the check.
        self.reward_weights = torch.tensor(self._weights, dtype=torch.float32)
        self.scale_rewards = "none"
        self._gathered: _Gathered | None = None

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: list[list[int]]
    ) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        extra = torch.zeros(len(completions), 1 + len(self.reward_funcs), device=self.accelerator.device)
        # Of a dialogue only what the policy drew counts.
        drawn = [row[PLAYED_COLUMN].drawn if PLAYED_COLUMN in row else None for row in inputs]
        lengths = [len(ids) if n is None else n for ids, n in zip(completion_ids_list, drawn, strict=True)]
        extra[:, 0] = torch.tensor(lengths, dtype=torch.float32)
        for k, function in enumerate(self.reward_funcs):
            if isinstance(function, RewardComponent):
                extra[:, 1 + k] = torch.from_numpy(function.last_failed).float()
        extra = self.accelerator.gather(extra)
        self._gathered = _Gathered(rewards.clone(), extra[:, 1:] > 0, extra[:, 0])
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._gathered = None
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        training = self.model.training
        group_size = self.num_generations if training else self.num_generations_eval
        gathered = self._checked(output.get("advantages"), len(inputs), group_size)
        advantages = self._advantages(gathered, group_size, training)
        output["advantages"] = advantages[self._own(len(inputs))].to(output["advantages"])
        log = self._logs["advantages"]
        for _ in range(min(len(advantages), len(log))):  # TRL's, which it has just added
            log.pop()
        log.extend(advantages.tolist())
        return output

    def _advantages(self, gathered: _Gathered, group_size: int, training: bool) -> Tensor:
        """Advantages (N,) of the whole batch."""
        rewards, failed = gathered.rewards, gathered.failed
        applicable = failed | ~rewards.isnan()
        groups = torch.arange(len(rewards), device=rewards.device) // group_size
        declared = [function.spec for function in self.reward_funcs if isinstance(function, RewardComponent)]
        advantages = compute_advantages(
            # A running average must not learn from evaluations.
            self.normalizer if training else copy.deepcopy(self.normalizer),
            rewards,
            groups,
            specs=declared if len(declared) == len(self.reward_funcs) else None,
            weights=self._weights,
            lengths=gathered.lengths,
            applicable=applicable,
            failed=failed,
        )
        found = diagnose(advantages, rewards.nan_to_num(), groups, applicable, failed)
        metrics = self._metrics["train" if training else "eval"]
        metrics["advantages/zero_signal_share"].append(found.zero_signal_share)
        metrics["advantages/collapsed_rollouts"].append(float(found.collapsed_rollouts))
        return advantages

    def _own(self, count: int) -> slice:
        """This process's rollouts among all."""
        start = self.accelerator.process_index * count
        return slice(start, start + count)

    def _checked(self, theirs: Any, count: int, group_size: int) -> _Gathered:
        """What was gathered, if TRL's advantages are what it gives.

        Raises:
            IntegrationError: They are not.
        """
        gathered = self._gathered
        if gathered is None:
            raise _unexpected("it did not call _calculate_rewards")
        total = count * self.accelerator.num_processes
        if gathered.rewards.shape != (total, len(self.reward_funcs)) or total % group_size:
            raise _unexpected(
                f"rewards of shape {tuple(gathered.rewards.shape)} came for {total} rollouts in groups of {group_size} "
                f"and {len(self.reward_funcs)} reward functions"
            )
        if not isinstance(theirs, Tensor) or theirs.shape != (count,):
            came = tuple(theirs.shape) if isinstance(theirs, Tensor) else type(theirs).__name__
            raise _unexpected(f"expected advantages of shape ({count},), got {came}")
        weighted = gathered.rewards * self.reward_weights.to(gathered.rewards)
        sums = weighted.nansum(1).masked_fill(weighted.isnan().all(1), torch.nan)
        centred = (sums.view(-1, group_size) - sums.view(-1, group_size).nanmean(1, keepdim=True)).flatten()
        expected = centred.nan_to_num(0.0)[self._own(count)]
        slack = _TOLERANCE * float(weighted.nan_to_num().abs().sum(1).max())
        if not torch.allclose(theirs, expected.to(theirs), rtol=0, atol=slack):
            row = int((theirs - expected.to(theirs)).abs().argmax())
            raise _unexpected(
                f"rollout {row} of this process has the centred weighted reward {expected[row].item():.6g}, and TRL "
                f"computed {theirs[row].item():.6g}"
            )
        return gathered

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if hasattr(self.normalizer, "state_dict") and self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            (folder / _STATE_FILE).write_text(json.dumps(self.normalizer.state_dict()), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if hasattr(self.normalizer, "load_state_dict") and checkpoint is not None:
            try:
                state = (Path(checkpoint) / _STATE_FILE).read_text(encoding="utf-8")
            except FileNotFoundError:
                raise IntegrationError(
                    f"{checkpoint} holds no {_STATE_FILE}, the running average of {self.normalizer}: it was saved by "
                    "another trainer or normalizer."
                ) from None
            self.normalizer.load_state_dict(json.loads(state))


def _unexpected(what: str) -> IntegrationError:
    return IntegrationError(
        f"TRL's advantages are not computed as NormalizerGRPOTrainer expects, so it cannot replace them: {what}. Is "
        "_calculate_rewards or _generate_and_score_completions changed by a subclass or a patch?"
    )
