"""Rollouts: the policy answers prompts of a vector environment, and what it said is kept with its rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial, reduce

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gdpo_bench.agent.backends.protocol import Completion, RolloutBackend, Sampling
from gdpo_bench.agent.errors import ContextError, ScorerFailuresError
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import GroupVectorEnv
from gdpo_bench.core.scoring import SHOWN_CHARACTERS, Scores

Score = Callable[[], Scores]
"""Gives the rewards (N, K) of replies, perhaps after a wait. Raises what scoring raised."""
_KEPT_FAILURES = 3


@dataclass(frozen=True)
class Replies:
    """What the policy said in N rollouts of one batch of prompts."""

    token_ids: torch.Tensor
    """(N, L) prompt, replies and answers, padded on the right."""
    completion_mask: torch.Tensor
    """(N, L) bool, True where the policy drew the token; only these carry loss."""
    log_probs: torch.Tensor
    """(N, L) log-probability of each drawn token when it was drawn, 0 elsewhere."""
    truncated: torch.Tensor
    """(N,) bool, True where the last reply reached the limit on tokens."""
    groups: NDArray[np.int64]
    """(N,) number of the prompt."""
    task_ids: NDArray[np.str_] | None = field(default=None, kw_only=True)
    """(N,) where known."""

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def lengths(self) -> torch.Tensor:
        """(N,) tokens that the policy drew."""
        return self.completion_mask.sum(1)

    def scored(self, scores: Scores) -> Rollouts:
        """These replies with their rewards."""
        return Rollouts(
            self.token_ids,
            self.completion_mask,
            self.log_probs,
            self.truncated,
            self.groups,
            scores,
            task_ids=self.task_ids,
        )


@dataclass(frozen=True)
class Rollouts(Replies):
    """N finished rollouts: tokens beside reward vectors."""

    scores: Scores
    """Rewards (N, K), summed over turns."""

    def select(self, rows: torch.Tensor) -> Rollouts:
        """Some of the rollouts.

        Args:
            rows: Their indices, or a mask (N,).
        """
        index = rows.numpy()
        replies = Replies(
            self.token_ids[rows],
            self.completion_mask[rows],
            self.log_probs[rows],
            self.truncated[rows],
            self.groups[index],
            task_ids=None if self.task_ids is None else self.task_ids[index],
        )
        return replies.scored(self.scores.select(index))


@dataclass
class Tally:
    """What adds up over the rollouts of a run."""

    tokens: int = 0
    """Tokens drawn, in training and evaluation."""
    failures: list[str] = field(default_factory=list)
    """What reward functions failed on in training, the first few."""

    def checked(self, scores: Scores, max_failed_share: float) -> Scores:
        """The rewards of training rollouts, once their failures are noted.

        Raises:
            ScorerFailuresError: Reward functions failed too often.
        """
        check_failures(scores, max_failed_share)
        new = scores.failures[: _KEPT_FAILURES - len(self.failures)]
        self.failures += [f"{failure!s:.{SHOWN_CHARACTERS}}" for failure in new]
        return scores


def check_failures(scores: Scores, max_share: float) -> None:
    """Stop where reward functions fail too often.

    Raises:
        ScorerFailuresError: More than `max_share` of the rollouts have a failed reward.
    """
    share = float(scores.failed.any(1).mean())
    if share > max_share:
        raise ScorerFailuresError(
            f"Reward functions failed on {share:.0%} of {len(scores.failed)} rollouts, more than the {max_share:.0%} "
            f"that max_failed_share allows. The first: {scores.failures[0]!s:.{SHOWN_CHARACTERS}}"
        )


def check_room(
    context: int | None,
    tokens: int,
    max_new_tokens: int,
    task_id: str,
    remedy: str = "a policy with a longer context",
) -> None:
    """Make sure that a reply fits behind a prompt.

    Args:
        context: Tokens that the policy reads at most; None for any number.
        tokens: Of the prompt.
        max_new_tokens: Of the longest reply.
        task_id: Whose prompt; empty for no particular one.
        remedy: What has more room.

    Raises:
        ContextError: It does not.
    """
    if context is None or tokens + max_new_tokens <= context:
        return
    what = (
        f"The prompt of task {task_id} has {tokens} tokens, to which {max_new_tokens} may be added"
        if task_id
        else f"A reply may have {max_new_tokens} tokens"
    )
    raise ContextError(
        f"{what} (max_new_tokens), but the policy reads {context} at most, prompt and reply together. Choose a smaller "
        f"max_new_tokens{', an environment with shorter prompts,' if task_id else ''} or {remedy}."
    )


def draw(
    env: GroupVectorEnv,
    policy: Policy,
    backend: RolloutBackend,
    *,
    sampling: Sampling,
    rng: torch.Generator,
    seed: int | None = None,
    task_ids: Sequence[str] | None = None,
) -> tuple[Replies, Score]:
    """Reset the environment, and reply until all its episodes are over.

    Args:
        env: A vector environment.
        policy: Encodes prompts and decodes replies.
        backend: Draws completions.
        sampling: How to draw; the limit on tokens holds for each turn.
        rng: Source of randomness.
        seed: Fixes the order of tasks from this reset on.
        task_ids: The P tasks, instead of the next ones in that order.

    Returns:
        The replies, and what scores them. Dialogues have been scored turn by turn as they went on.

    Raises:
        RewardError: A reward is not what its declaration allows.
        ContextError: A prompt leaves no room for a reply.
    """
    _, info = env.reset(seed=seed, options=None if task_ids is None else {"task_ids": task_ids})
    groups, ids = info["group"], info["task_id"]
    # A model needs something to go on from, also where the prompt is empty.
    rows = [_Row(policy.encode(messages) or [policy.end_token]) for messages in info["messages"]]
    # The rollouts of a prompt are still alike in the first turn: prefill it once.
    live, n = list(range(env.num_envs)), env.group_size
    prompts = live[::n]
    scores: Scores | None = None
    while True:
        for i in prompts:
            check_room(policy.context, len(rows[i].token_ids), sampling.max_new_tokens, ids[i])
        completions = backend.generate([rows[i].token_ids for i in prompts], n, sampling, rng)
        texts = [""] * env.num_envs
        decoded = policy.decode([completion.token_ids for completion in completions])
        for i, completion, text in zip(live, completions, decoded, strict=True):
            rows[i].draw(completion)
            texts[i] = text
        if env.text_env.max_turns == 1:
            return _replies(rows, groups, ids), partial(env.score, texts)
        turn = env.score(texts)
        scores = turn if scores is None else scores + turn
        live = prompts = np.flatnonzero(~env.over).tolist()
        if not live:
            return _replies(rows, groups, ids), partial(copy, scores)
        n, messages = 1, env.messages
        for i in live:
            rows[i].read(policy.chat.answer(messages[i], rows[i].end))


class _Row:
    """The tokens of one rollout so far."""

    def __init__(self, prompt: list[int]) -> None:
        self.token_ids = list(prompt)
        self.log_probs = [0.0] * len(prompt)
        self.completion_mask = [False] * len(prompt)
        self.end: int | None = None
        """The token that ended the last reply; None where it was truncated."""

    def draw(self, completion: Completion) -> None:
        self.token_ids += completion.token_ids
        self.log_probs += completion.log_probs
        self.completion_mask += [True] * len(completion.token_ids)
        self.end = completion.token_ids[-1] if completion.finish_reason == "stop" else None

    def read(self, token_ids: list[int]) -> None:
        self.token_ids += token_ids
        self.log_probs += [0.0] * len(token_ids)
        self.completion_mask += [False] * len(token_ids)


def _replies(rows: Sequence[_Row], groups: NDArray[np.int64], task_ids: NDArray[np.str_]) -> Replies:
    width = max(len(row.token_ids) for row in rows)
    token_ids = torch.zeros(len(rows), width, dtype=torch.long)
    completion_mask = torch.zeros(len(rows), width, dtype=torch.bool)
    log_probs = torch.zeros(len(rows), width)
    for i, row in enumerate(rows):
        length = len(row.token_ids)
        token_ids[i, :length] = torch.tensor(row.token_ids)
        completion_mask[i, :length] = torch.tensor(row.completion_mask)
        log_probs[i, :length] = torch.tensor(row.log_probs)
    truncated = torch.tensor([row.end is None for row in rows])
    return Replies(token_ids, completion_mask, log_probs, truncated, groups, task_ids=task_ids)


def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
    """Rollouts one after the other, their groups numbered on.

    Args:
        parts: At least one batch.
    """
    return concatenate_replies(parts).scored(reduce(Scores.stack, (part.scores for part in parts)))


def concatenate_replies(parts: Sequence[Replies]) -> Replies:
    """Replies one after the other, their groups numbered on.

    Args:
        parts: At least one batch.
    """
    if len(parts) == 1:
        return parts[0]
    width = max(part.token_ids.shape[1] for part in parts)

    def padded(name: str) -> torch.Tensor:
        tensors = [getattr(part, name) for part in parts]
        return torch.cat([F.pad(tensor, (0, width - tensor.shape[1])) for tensor in tensors])

    ids = [part.task_ids for part in parts if part.task_ids is not None]
    offsets = np.cumsum([0, *(int(part.groups.max(initial=-1)) + 1 for part in parts)])
    return Replies(
        padded("token_ids"),
        padded("completion_mask"),
        padded("log_probs"),
        torch.cat([part.truncated for part in parts]),
        np.concatenate([part.groups + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        task_ids=np.concatenate(ids) if len(ids) == len(parts) else None,
    )
