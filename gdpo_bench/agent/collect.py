"""Rollouts: the policy plays a vector environment; out come tokens and reward vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gdpo_bench.agent.backend import Completion, RolloutBackend, Sampling
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Replies, Rollouts
from gdpo_bench.core import GdpoBenchError, GroupVectorEnv, Message
from gdpo_bench.core.scoring import Scores

SHOWN_CHARACTERS = 1000
"""Of a failure; the author's exception may quote the whole reply."""


class ScorerFailuresError(GdpoBenchError, RuntimeError):
    """Reward functions failed on more rollouts than the run tolerates."""


@dataclass(frozen=True)
class Drawn:
    """Replies whose rewards may still be on their way."""

    replies: Replies
    rewards: Callable[[], tuple[Scores, float]]
    """Waits for the rewards (N, K), which come with the seconds that judging took. Raises what judging raised."""
    drawing_s: float = 0.0
    """Seconds that drawing took."""
    judging_s: float = 0.0
    """Seconds that the caller has waited for rewards already."""

    def judged(self) -> Rollouts:
        """The rollouts, once their rewards are known."""
        return self.replies.judged(*self.rewards())


def draw(
    env: GroupVectorEnv,
    policy: Policy,
    backend: RolloutBackend,
    *,
    sampling: Sampling,
    rng: torch.Generator,
    seed: int | None = None,
    task_ids: Sequence[str] | None = None,
    judges: Executor | None = None,
) -> Drawn:
    """Reset the environment and play its episodes until all are over.

    Args:
        env: A vector environment.
        policy: Encodes prompts and decodes replies.
        backend: Draws completions.
        sampling: How to draw; the limit on tokens holds for each turn.
        rng: Source of randomness.
        seed: Fixes the order of tasks from this reset on.
        task_ids: The P tasks, instead of the next ones in that order.
        judges: Judges the replies of episodes of one turn, while the caller goes on; absent: that is done here.

    Returns:
        The replies; their rewards may have to be waited for.

    Raises:
        RewardError: A reward is not what its declaration allows.
        ContextError: A prompt leaves no room for a reply.
    """
    started = time.perf_counter()
    _, info = env.reset(seed=seed, options=None if task_ids is None else {"task_ids": task_ids})
    groups, ids = info["group"], info["task_id"]
    scores, scoring_s = Scores.empty(env.num_envs, env.reward_dim), 0.0
    # A model needs something to go on from, also where the prompt is empty.
    rows = [_Row(policy.encode(messages) or [policy.end_token]) for messages in info["messages"]]
    over = np.zeros(env.num_envs, bool)
    first = True
    while not over.all():
        live = np.flatnonzero(~over).tolist()
        # The rollouts of a prompt are still alike in the first turn: prefill it once.
        prompts, n = (live[:: env.group_size], env.group_size) if first else (live, 1)
        for i in prompts:
            policy.check_room(len(rows[i].token_ids), sampling.max_new_tokens, ids[i])
        completions = backend.generate([rows[i].token_ids for i in prompts], n, sampling, rng)
        texts = [""] * env.num_envs
        decoded = policy.decode([completion.token_ids for completion in completions])
        for i, completion, text in zip(live, completions, decoded, strict=True):
            rows[i].draw(completion)
            texts[i] = text
        if judges is not None and env.text_env.max_turns == 1:
            rewards = _waiting_for(judges.submit(_judge, env, texts))
            return Drawn(_replies(rows, groups, ids), rewards, time.perf_counter() - started)
        judged = _judge(env, texts)
        scores, scoring_s = scores + judged.scores, scoring_s + judged.seconds
        over, messages = judged.over, judged.messages
        for i in live:
            if not over[i]:
                rows[i].read(policy.encode_answer(messages[i], rows[i].end))
        first = False
    drawing_s = time.perf_counter() - started - scoring_s
    return Drawn(_replies(rows, groups, ids), lambda: (scores, scoring_s), drawing_s, scoring_s)


@dataclass(frozen=True)
class _Judged:
    """What an environment made of one turn."""

    scores: Scores
    over: NDArray[np.bool_]
    messages: list[list[Message]]
    seconds: float


def _judge(env: GroupVectorEnv, texts: list[str]) -> _Judged:
    started = time.perf_counter()
    _, rewards, terminated, truncated, info = env.step(texts)
    scores = Scores(rewards, info["raw"], info["applicable"], info["failed"], info["failures"])
    return _Judged(scores, terminated | truncated, info["messages"], time.perf_counter() - started)


def _waiting_for(future: Future[_Judged]) -> Callable[[], tuple[Scores, float]]:
    return lambda: (future.result().scores, future.result().seconds)


def check_failures(scores: Scores, max_share: float) -> None:
    """Stop a run whose reward functions fail too often.

    Raises:
        ScorerFailuresError: More than `max_share` of the rollouts have a failed reward.
    """
    share = float(scores.failed.any(1).mean())
    if share > max_share:
        raise ScorerFailuresError(
            f"Reward functions failed on {share:.0%} of {len(scores.failed)} rollouts, more than the {max_share:.0%} "
            f"that max_failed_share allows. The first: {scores.failures[0]!s:.{SHOWN_CHARACTERS}}"
        )


class _Row:
    """The tokens of one rollout so far."""

    def __init__(self, prompt: list[int]) -> None:
        self.token_ids = list(prompt)
        self.log_probs = [0.0] * len(prompt)
        self.drawn = [False] * len(prompt)
        self.end: int | None = None
        """The token that ended the last reply; None where it was cut off."""

    def draw(self, completion: Completion) -> None:
        self.token_ids += completion.token_ids
        self.log_probs += completion.log_probs
        self.drawn += [True] * len(completion.token_ids)
        self.end = completion.token_ids[-1] if completion.finish_reason == "stop" else None

    def read(self, token_ids: list[int]) -> None:
        self.token_ids += token_ids
        self.log_probs += [0.0] * len(token_ids)
        self.drawn += [False] * len(token_ids)


def _replies(rows: Sequence[_Row], groups: NDArray[np.int64], task_ids: NDArray[np.str_]) -> Replies:
    width = max(len(row.token_ids) for row in rows)
    token_ids = torch.zeros(len(rows), width, dtype=torch.long)
    drawn = torch.zeros(len(rows), width, dtype=torch.bool)
    log_probs = torch.zeros(len(rows), width)
    for i, row in enumerate(rows):
        length = len(row.token_ids)
        token_ids[i, :length] = torch.tensor(row.token_ids)
        drawn[i, :length] = torch.tensor(row.drawn)
        log_probs[i, :length] = torch.tensor(row.log_probs)
    cut_off = torch.tensor([row.end is None for row in rows])
    return Replies(token_ids, drawn, log_probs, cut_off, groups, task_ids=task_ids)
