"""What an entry would have this machine import, read or fetch, and how much it would take: asked for, or refused.

An entry is a file of somebody else. Only registered environments, normalizers and embedded policies are used unasked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import psutil

from gdpo_bench.advantages.foreign import check_origin
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.options import EMBEDDED_CONFIGS, EmbeddedConfig, PretrainedConfig, TrainingOptions
from gdpo_bench.agent.policies.packaged import PACKAGED
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.core.registry import has_scheme, names_environment
from gdpo_bench.jobs.job import EnvChoice, Job, JobError, read_options
from gdpo_bench.jobs.policy import FROZEN_POLICIES, parse_policy
from gdpo_bench.leaderboard import Entry

_PLACES = ("data_dir", "tokenizer")
"""Options of environments that name a file, a folder or something to be fetched."""
_SIGNS = ("/", "\\", "~", ":", "..")
"""What a text has that leads to a file or a folder elsewhere."""
MOST_TOKENS = 10**10
"""Tokens that an entry's job may draw, or imitate, in all."""
MOST_ITEMS = 10**6
"""Rollouts that are drawn at once."""
MOST_OF_AN_OPTION = 10**5
"""Of any number in an environment's options: how many tasks, digits or characters there are, and so on."""
MOST_SEQUENCES = 4096
"""Completions that vLLM draws side by side: it keeps logits over the vocabulary for each."""
LONGEST_CONTEXT = 2**18
"""Tokens of a prompt and its completion in vLLM."""
LARGEST_GPU_SHARE = 0.9
"""Of a GPU's memory that vLLM takes."""
_BYTES_A_WEIGHT = 16
"""Weight, gradient and two moments in float32."""


def check_consent(entry: Entry, allow_code: bool = False, allowed: Collection[str] = ()) -> None:
    """Refuse what the reader of an entry did not ask for; nothing is imported, opened or fetched here.

    Args:
        entry: The entry.
        allow_code: Whether its normalizer may be code that is not registered here.
        allowed: Models, folders and files that the reader names himself.

    Raises:
        JobError: It asks for more; all that it asks for is listed.
        RegistrationError: Its normalizer is code that was not asked for, or not what the entry says.
    """
    check_origin(entry.normalizer.name, entry.normalizer.options, allow_code)
    asked = [(where, name) for where, name in _asked(entry) if name not in allowed]
    if asked:
        listing = "".join(f"\n  {where}: {name!r}" for where, name in asked)
        words = " ".join(name for _, name in asked)
        raise JobError(
            f"Entry {entry.id} would have this machine read or fetch what you did not name; nothing was. If you want "
            f"that, add --allow {words}{listing}"
        )


def _asked(entry: Entry) -> Iterator[tuple[str, str]]:
    name, trained = entry.policy.name, entry.training is not None
    if (name.startswith(("hf:", "gguf:")) or name in PACKAGED) and trained:
        yield "policy.name", name
    elif name not in (EMBEDDED_CONFIGS if trained else FROZEN_POLICIES):
        known = ", ".join([*EMBEDDED_CONFIGS, *PACKAGED, "hf:MODEL", "gguf:FILE"] if trained else FROZEN_POLICIES)
        raise JobError(f"policy.name of entry {entry.id} is {name!r}, on the {entry.track} track: expected {known}.")
    if has_scheme(entry.environment.id):
        yield "environment.id", entry.environment.id  # of another library, whose code would run
    yield from _places("environment.options", entry.environment.options)
    for i, one in enumerate(entry.policy.details.get("warm_start_envs", ())):
        if not names_environment(one["id"]):
            raise JobError(f"policy.details.warm_start_envs[{i}].id is {one['id']!r}, which is not registered here.")
        if has_scheme(one["id"]) and one["id"] != entry.environment.id:
            yield f"policy.details.warm_start_envs[{i}].id", one["id"]
        yield from _places(f"policy.details.warm_start_envs[{i}].options", one["options"])


def _places(where: str, options: Mapping[str, Any], named: bool = False) -> Iterator[tuple[str, str]]:
    """Texts in options, however deep, that are a place: by an option's name, or because they look like one.

    Args:
        where: What stands above them.
        options: Option → value.
        named: Whether an option above them names places.
    """
    for name, value in options.items():
        place = named or name in _PLACES
        if isinstance(value, str) and (place or any(sign in value for sign in _SIGNS)):
            yield f"{where}.{name}", value
        elif isinstance(value, Mapping):
            yield from _places(f"{where}.{name}", value, place)
        elif isinstance(value, list | tuple):
            yield from _places(f"{where}.{name}", {str(i): one for i, one in enumerate(value)}, place)


def check_sizes(job: Job, imitated: Sequence[EnvChoice] = ()) -> None:
    """Refuse a job of somebody else that this machine cannot hold, or that would not end.

    Args:
        job: The job of an entry.
        imitated: Environments whose demonstrations its warm start imitates.

    Raises:
        JobError: A size is beyond its bound; the message says both.
    """
    for env in job.envs:
        _check_options("environment.options", env.options)
    for i, one in enumerate(imitated):
        _check_options(f"policy.details.warm_start_envs[{i}].options", one.options)
    options, policy = job.training, parse_policy(job.policy)
    if not policy.trained:
        return
    _check_sampler(job.rollout)
    _check("training.prompts × group_size", options.prompts * options.group_size, MOST_ITEMS, "rollouts")
    _check("training.eval_prompts × eval_group_size × eval_samples", _evaluated(options), MOST_ITEMS, "rollouts")
    _check("tokens to draw in all", len(job.seeds) * _tokens(options), MOST_TOKENS, "tokens")
    if isinstance(policy.config, PretrainedConfig):
        _check("policy.details.config: demonstrations", policy.config.warm_start_examples, MOST_ITEMS, "to imitate")
    if isinstance(policy.config, EmbeddedConfig):
        config, memory = policy.config, psutil.virtual_memory().total
        tokens = config.warm_start_steps * config.warm_start_batch * config.positions
        _check("policy.details.config: tokens of the warm start", tokens, MOST_TOKENS, "tokens")
        _check("policy.details.config: memory", _memory(config, options), memory // 2, "bytes, half of what is here,")


def _check_options(where: str, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        for number in _numbers(value):
            _check(f"{where}.{name}", number, MOST_OF_AN_OPTION, "")


def _numbers(value: Any) -> Iterator[float]:
    """Absolute values of all numbers in an option, however deep."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield abs(value)


def _check_sampler(text: str) -> None:
    """Bounds on how vLLM runs, which takes what it is told to before it draws anything."""
    name, values = parse_choice(text)
    if name != "vllm":
        return
    options = read_options(VLLMOptions, "rollout backend 'vllm'", values)
    where = "policy.details.rollout: vllm's"
    half = psutil.virtual_memory().total // 2
    _check(f"{where} max_num_seqs", options.max_num_seqs, MOST_SEQUENCES, "completions at once")
    _check(f"{where} max_model_len", options.max_model_len or 0, LONGEST_CONTEXT, "tokens")
    _check(f"{where} kv_cache_gib", (options.kv_cache_gib or 0) * 2**30, half, "bytes, half of what is here,")
    _check(f"{where} gpu_memory_utilization", options.gpu_memory_utilization, LARGEST_GPU_SHARE, "of a GPU's memory")


def _check(what: str, size: float, bound: float, unit: str) -> None:
    if size > bound:
        raise JobError(f"{what}: {size:.3g} is beyond {bound:.3g} {unit}".rstrip() + " that an entry may ask for here.")


def _evaluated(options: TrainingOptions) -> int:
    return options.eval_prompts * options.eval_group_size * options.eval_samples


def _tokens(options: TrainingOptions) -> int:
    draws = options.max_draws if options.dynamic_sampling else 1
    trained = options.steps * draws * options.prompts * options.group_size * options.max_new_tokens * options.epochs
    evaluations = options.steps // options.eval_every + 2
    return trained + evaluations * _evaluated(options) * options.eval_sampling.max_new_tokens


def _memory(config: EmbeddedConfig, options: TrainingOptions) -> int:
    """Bytes at least: weights with what training keeps of each, the corpus, a batch's logits, the cache of one draw."""
    width = config.hidden_size
    layer = 4 * width * width + 3 * width * config.intermediate_size
    weights = _BYTES_A_WEIGHT * (config.layers * layer + config.vocabulary * width)
    corpus = 16 * config.warm_start_examples * config.positions
    longest = max(options.max_new_tokens, options.eval_sampling.max_new_tokens)
    rollouts = max(options.prompts * options.group_size, _evaluated(options))
    drawn = rollouts * min(longest, config.positions) * (16 + 8 * config.layers * width)
    rows = max(config.warm_start_batch, min(options.micro_batch, rollouts))
    return weights + corpus + drawn + 4 * rows * config.vocabulary * min(longest, config.positions)
