"""Warm start of a pretrained policy: it imitates imperfect demonstrations in its own chat template.

The prompt's tokens are those that a rollout would begin with, in a dialogue those of the turns before too; the loss is
on the reply and the token that ends it. What is trained is what reinforcement trains: with LoRA adapters, which are
merged into the weights afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from gdpo_bench.agent.options import PretrainedConfig
from gdpo_bench.agent.policies.cache import cached, what_computes
from gdpo_bench.agent.policies.pretrained import load_pretrained, origin
from gdpo_bench.agent.policies.warm_start import IGNORED, Progress, fit, padded
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import Message, content_hash

_CODE = 1
"""Version of the code that makes a warm start: raised when it gives another policy, so that no older one is taken."""
_TOKENS = 4096
"""Tokens of one forward pass, padding included, which bounds memory; gradients are added up over a batch."""

Turns = Sequence[tuple[Sequence[Message], str]]
"""What stands before each reply, and the reply."""


def imitated(
    turns: Turns,
    config: PretrainedConfig,
    seed: int,
    progress: Progress = lambda share, text: None,
    device: str = "cpu",
) -> Path:
    """A pretrained policy after its warm start, from the cache or trained now.

    Args:
        turns: What to imitate.
        config: Which policy, and how it is trained.
        seed: Fixes the batches, and adapters' weights.
        progress: Told how far the training is.
        device: Where to train.

    Returns:
        The policy's folder in the cache, in the Hugging Face layout.

    Raises:
        DataError: The model cannot be loaded.
        WriteError: The cache cannot be written to.
    """
    key = content_hash(
        {
            "config": asdict(config) | {"model": origin(config), "revision": None},
            "corpus": content_hash(turns, 64),
            "seed": seed,
            "code": _CODE,
            **what_computes(device),
        }
    )
    return cached(
        "warm_start",
        key,
        "the warm-started policy",
        {"seed": seed, **asdict(config)},
        lambda: imitate(turns, config, seed, progress, device),
    )


def imitate(turns: Turns, config: PretrainedConfig, seed: int, progress: Progress, device: str = "cpu") -> Policy:
    """Train a pretrained policy to imitate demonstrations; its adapters are merged in the end."""
    torch.manual_seed(seed)  # adapters begin at random
    policy = load_pretrained(config, device)
    ids, labels, lengths = encoded(policy, turns)
    learned = labels != IGNORED

    def backward(rows: torch.Tensor) -> float:
        total, loss = int(learned[rows].sum()), 0.0
        for part in rows.split(max(1, _TOKENS // int(lengths[rows].max()))):
            mask = learned[part, 1 : int(lengths[part].max())]
            first = int(mask.any(0).nonzero()[0])
            columns = slice(first, mask.shape[1])
            log_probs = policy.log_probs(ids[part], columns, 1.0)
            share = -log_probs[mask[:, columns].to(log_probs.device)].sum() / total
            share.backward()
            loss += share.item()
        return loss

    policy.model.train()
    fit(
        [weights for weights in policy.model.parameters() if weights.requires_grad],
        lengths,
        backward,
        steps=config.warm_start_steps,
        batch=config.warm_start_batch,
        peak=config.warm_start_lr,
        seed=seed,
        progress=progress,
    )
    model: Any = policy.model
    return replace(policy, model=model.merge_and_unload()) if config.lora_rank else policy


def encoded(policy: Policy, turns: Turns) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Token ids, labels and lengths of the turns that the policy can read; see `padded`."""
    pairs = [(_prompt(policy, before), [*policy.chat.tokens(reply), policy.end_token]) for before, reply in turns]
    return padded(
        [(prompt, reply) for prompt, reply in pairs if len(prompt) + len(reply) <= (policy.context or 1 << 60)]
    )


def _prompt(policy: Policy, before: Sequence[Message]) -> list[int]:
    """Tokens of a conversation as a rollout holds them: what was said, and between it what the template writes."""
    replies = [i for i, message in enumerate(before) if message["role"] == "assistant"]
    tokens = policy.encode(before[: replies[0]] if replies else before) or [policy.end_token]
    for i in replies:
        tokens += [*policy.chat.tokens(before[i]["content"]), policy.end_token]
        tokens += policy.chat.answer(before[: i + 2], policy.end_token)
    return tokens
