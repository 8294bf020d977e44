"""Supervised warm start of the embedded policy on demonstrations, computed once and cached.

A policy that never earns a reward learns nothing from reinforcement, so it first imitates the
environments' imperfect demonstrations. All environments share one warm start: the same weights
begin every run, whatever the normalizer. Of pretrained policies: see `imitation`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policies.cache import cached, what_computes
from gdpo_bench.agent.policies.embedded import build_policy, conversation_text
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import Message, Task, TextEnv, content_hash
from gdpo_bench.core.authored import demonstrations_end, demonstrations_of
from gdpo_bench.core.env import Script, script_replies
from gdpo_bench.core.errors import DeclarationError
from gdpo_bench.core.foreign import blaming
from gdpo_bench.core.scoring import Episode

_CODE = 2
"""Version of the code that makes a warm start: raised when it gives another policy, so that no older one is taken."""
_TOKENIZER_EXAMPLES = 3000
_BUCKET = 8
"""Batches are cut from this many times their size, sorted by length, to waste little on padding."""
IGNORED = -100
"""Label of tokens that are not learned."""

Corpus = list[tuple[str, str]]
"""Prompts as the policy sees them, and replies."""
Progress = Callable[[float, str], None]
"""Called with the finished share in [0, 1] and a few words."""


def build_corpus(envs: Mapping[str, TextEnv[Any]], examples: int, seed: int) -> Corpus:
    """Demonstrations of all environments as the embedded policy sees them; see `demonstrated_turns`."""
    return [(conversation_text(before), reply) for before, reply in demonstrated_turns(envs, examples, seed)]


def demonstrated_turns(
    envs: Mapping[str, TextEnv[Any]], examples: int, seed: int
) -> list[tuple[Sequence[Message], str]]:
    """Demonstrations of all environments, taken in turn.

    Args:
        envs: Environments by id; those without demonstrations take no part.
        examples: How many episodes in all; each of their turns becomes a row.
        seed: Fixes the demonstrations.

    Returns:
        What stands before each reply, and the reply.

    Raises:
        DeclarationError: No environment has demonstrations, or those of one end or raise.
    """
    streams = []
    for env_id, env in sorted(envs.items()):
        stream = demonstrations_of(env, Random(f"{env_id} {seed}"), env_id)
        first = next(stream, None)
        if first is not None:
            streams.append((env_id, env, itertools.chain([first], stream)))
    if not streams:
        raise DeclarationError(
            f"None of {', '.join(sorted(envs))} offers demonstrations, which a warm start imitates; "
            "define `demonstrations(rng)` in the environment, or choose another policy."
        )
    corpus: list[tuple[Sequence[Message], str]] = []
    for number, (env_id, env, stream) in zip(range(examples), itertools.cycle(streams), strict=False):
        demonstration = next(stream, None)
        if demonstration is None:
            raise demonstrations_end(env, env_id, number // len(streams))
        with blaming(f"A demonstration of {env_id} cannot be played"):
            corpus.extend(_turns(env, *demonstration))
    return corpus


def _turns(env: TextEnv[Any], task: Task, script: Script) -> Iterator[tuple[Sequence[Message], str]]:
    """What stands before each reply of an episode, and the reply."""
    episode = Episode(env, task)
    for reply in script_replies(script):
        yield tuple(episode.transcript), reply
        episode.advance(env, reply)
        if episode.over:
            return


def warm_start(
    corpus: Corpus,
    config: EmbeddedConfig,
    seed: int,
    progress: Progress = lambda share, text: None,
    device: str = "cpu",
) -> Path:
    """The warm-started policy for a corpus, from the cache or trained now.

    Args:
        corpus: What to imitate.
        config: Size and training settings.
        seed: Fixes weights and batches.
        progress: Told how far the training is.
        device: Where to train.

    Returns:
        The policy's folder in the cache; `Policy.load` reads it.

    Raises:
        WriteError: The cache cannot be written to.
    """
    key = content_hash(
        {
            "config": asdict(config),
            "corpus": content_hash(corpus, 64),
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
        lambda: train(corpus, config, seed, progress, device),
    )


def tokenizer_texts(corpus: Corpus) -> Iterator[str]:
    """What the tokenizer of a warm-started policy is trained on."""
    return itertools.chain.from_iterable(corpus[:_TOKENIZER_EXAMPLES])


def train(corpus: Corpus, config: EmbeddedConfig, seed: int, progress: Progress, device: str = "cpu") -> Policy:
    """Train a fresh policy to imitate a corpus: AdamW, cosine schedule, loss on replies only."""
    policy = build_policy(config, tokenizer_texts(corpus), seed)
    policy.model.to(device)
    ids, labels, lengths = _encode(policy, corpus)

    def backward(rows: torch.Tensor) -> float:
        width = int(lengths[rows].max())
        # Padding stands on the right, where causal attention never looks at it: no mask is needed.
        logits = policy.model(input_ids=ids[rows, :width].to(device), use_cache=False).logits[:, :-1]
        targets = labels[rows, 1:width].to(device)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        return loss.item()

    policy.model.train()
    fit(
        list(policy.model.parameters()),
        lengths,
        backward,
        steps=config.warm_start_steps,
        batch=config.warm_start_batch,
        peak=config.warm_start_lr,
        seed=seed,
        progress=progress,
    )
    return policy


def fit(
    weights: Sequence[torch.nn.Parameter],
    lengths: np.ndarray[Any, np.dtype[np.int64]],
    backward: Callable[[torch.Tensor], float],
    *,
    steps: int,
    batch: int,
    peak: float,
    seed: int,
    progress: Progress,
) -> None:
    """Minimize a loss over rows: AdamW, 20 steps of warm-up, then a cosine to 0.

    Args:
        weights: What is trained.
        lengths: (rows,) in tokens; rows of about one length come together.
        backward: Adds the gradients of the loss over some rows, by their indices; returns the loss.
        steps: Updates.
        batch: Rows an update.
        peak: The highest learning rate.
        seed: Fixes the batches.
        progress: Told how far it is.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(weights, lr=peak, weight_decay=0.01)
    batches: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    for step in range(steps):
        if not batches:
            pool = rng.permutation(len(lengths))[: batch * _BUCKET]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches = np.array_split(pool, max(1, len(pool) // batch))
            rng.shuffle(batches)
        decay = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 20) * decay
        optimizer.zero_grad(set_to_none=True)
        loss = backward(torch.from_numpy(batches.pop()))
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % 10 == 0:
            progress(step / steps, f"loss {loss:.2f}")


def _encode(policy: Policy, corpus: Corpus) -> tuple[torch.Tensor, torch.Tensor, np.ndarray[Any, np.dtype[np.int64]]]:
    """Right-padded token ids and labels (rows, width), and each row's length."""
    prompts = policy.tokenizer([prompt for prompt, _ in corpus], add_special_tokens=False)["input_ids"]
    replies = policy.tokenizer([reply for _, reply in corpus], add_special_tokens=False)["input_ids"]
    ended = [[*reply, policy.end_token] for reply in replies]
    return padded(list(zip(prompts, ended, strict=True)))


def padded(
    pairs: Sequence[tuple[list[int], list[int]]],
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray[Any, np.dtype[np.int64]]]:
    """Prompts followed by replies.

    Args:
        pairs: Tokens of each row's prompt, and those that are learned.

    Returns:
        Token ids (rows, width), padded on the right; labels (rows, width), `IGNORED` but for replies; lengths (rows,).
    """
    lengths = np.array([len(prompt) + len(reply) for prompt, reply in pairs])
    ids = torch.zeros(len(pairs), int(lengths.max()), dtype=torch.long)
    labels = torch.full_like(ids, IGNORED)
    for i, (prompt, reply) in enumerate(pairs):
        ids[i, : lengths[i]] = torch.tensor(prompt + reply)
        labels[i, len(prompt) : lengths[i]] = torch.tensor(reply)
    return ids, labels, lengths
