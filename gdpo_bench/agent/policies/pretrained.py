"""Hugging Face models as policies: loaded, prepared for training, and refused with a reason."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from gdpo_bench.agent.errors import OutOfMemoryError
from gdpo_bench.agent.language_model import CausalLM, Tokenizer
from gdpo_bench.agent.options import PretrainedConfig
from gdpo_bench.agent.policies.chat_template import template_options
from gdpo_bench.agent.policies.gguf import gguf_folder, gguf_hash, is_gguf
from gdpo_bench.agent.policies.packaged import file_hash
from gdpo_bench.agent.policy import Chat, Policy, context_of
from gdpo_bench.core import DataError, GdpoBenchError, UnknownNameError, content_hash
from gdpo_bench.core.hub import give_up_where_there_is_no_hub
from gdpo_bench.core.processor import multiplies_bfloat16


class DeviceError(GdpoBenchError, RuntimeError):
    """A device that this machine does not have."""


def choose_device(wanted: str) -> str:
    """The device for a policy.

    Args:
        wanted: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    Returns:
        `cpu` or `cuda`.

    Raises:
        DeviceError: A GPU is asked for and torch finds none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        built = "" if torch.version.cuda else f" The installed torch {torch.__version__} is a build without CUDA."
        raise DeviceError(f"device=cuda, but torch finds no GPU here; choose device=cpu or auto.{built}")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else list(map(str, range(torch.cuda.device_count())))


def check_pretrained(config: PretrainedConfig) -> tuple[Chat, int | None]:
    """Look for what a policy needs, without loading its weights.

    Returns:
        Its chat template, to be checked for an environment's conversations, and how many tokens it reads at most.

    Raises:
        DataError: There is no such model, or it lacks a tokenizer or a chat template.
        UnknownNameError: An option that neither policies nor this chat template have.
        GdpoBenchError: LoRA is asked for and peft is not installed.
    """
    if config.model.startswith((".", "/", "~")) and not Path(config.model).is_dir():
        raise DataError(f"There is no folder {config.model} with a model.")
    place = _place(config)
    if not Path(place).exists():
        give_up_where_there_is_no_hub()
    with _explained(config):
        found = AutoConfig.from_pretrained(place, revision=config.revision, trust_remote_code=False)
    chat = Chat(_load_tokenizer(config, place), config.chat_template_kwargs)
    offered = template_options(chat.tokenizer)
    for name in config.chat_template_kwargs:
        if name not in offered:
            known = {*(field.name for field in dataclasses.fields(config)), *offered}
            raise UnknownNameError(f"option of policy {config.name!r}", name, known)
    if config.lora_rank:
        _import_peft()
    return chat, context_of(found)


def sizes(config: PretrainedConfig) -> tuple[int, int]:
    """How many weights a model has, and how many tokens its vocabulary; they are not loaded.

    Raises:
        DataError: There is no such model.
    """
    with _explained(config):
        found = AutoConfig.from_pretrained(_place(config), revision=config.revision, trust_remote_code=False)
        with torch.device("meta"):
            outline = AutoModelForCausalLM.from_config(found)
    return outline.num_parameters(), found.get_text_config().vocab_size


def load_pretrained(config: PretrainedConfig, device: str) -> Policy:
    """Load a model for training.

    Args:
        config: Which, and how it is trained.
        device: Where to.

    Returns:
        The policy; with LoRA only its adapters are trainable.

    Raises:
        DataError: There is no such model, or it lacks a tokenizer or a chat template.
        GdpoBenchError: LoRA is asked for and peft is not installed.
        OutOfMemoryError: The GPU is too small.
    """
    place = _place(config)
    tokenizer = _load_tokenizer(config, place)
    dtype = config.dtype
    if dtype == "auto":
        dtype = _cpu_dtype() if device == "cpu" else "bfloat16" if config.lora_rank else "mixed"
    with _explained(config):
        loaded = AutoModelForCausalLM.from_pretrained(
            place,
            revision=config.revision,
            dtype=torch.bfloat16 if dtype == "bfloat16" else torch.float32,
            trust_remote_code=False,
        )
    if config.gradient_checkpointing:
        # transformers 5.23 renamed it.
        enable = getattr(loaded, "activation_checkpointing_enable", loaded.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    model: CausalLM = loaded
    if config.lora_rank:
        peft = _import_peft()
        lora = peft.LoraConfig(
            r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=config.lora_targets, task_type="CAUSAL_LM"
        )
        model = peft.get_peft_model(loaded, lora)
    try:
        moved = model.to(device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"The policy {config.name} does not fit into the memory of this GPU; choose a smaller one, {config.name}:"
            "lora_rank=16, which keeps its weights in half precision, or --runtime device=cpu."
        ) from error
    return Policy(moved, tokenizer, dtype == "mixed", config.chat_template_kwargs)


def origin(config: PretrainedConfig) -> dict[str, str]:
    """What says exactly which weights were given: the commit on the hub, or a hash of the file or files.

    Raises:
        DataError: There is no such model.
    """
    if is_gguf(config.model):
        return {"gguf": gguf_hash(config.model)}
    with _explained(config):
        found = AutoConfig.from_pretrained(config.model, revision=config.revision, trust_remote_code=False)
        if commit := getattr(found, "_commit_hash", None):
            return {"commit": str(commit)}
        files = (path for path in sorted(Path(config.model).expanduser().iterdir()) if path.is_file())
        return {"files": content_hash({path.name: file_hash(path) for path in files}, 64)}


def pinned(policy: Policy) -> dict[str, Any]:
    """What says exactly which policy this is, for a leaderboard entry."""
    model = policy.model
    return {
        "commit": getattr(model.config, "_commit_hash", None),
        "chat_template": content_hash(policy.tokenizer.chat_template),
        "end_tokens": policy.tokenizer.convert_ids_to_tokens(list(policy.end_tokens)),
        "system_message": "first user turn" if policy.chat.folds_system else "own turn",
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "trainable": sum(weights.numel() for weights in model.parameters() if weights.requires_grad),
        "dtype": "mixed" if policy.mixed_precision else str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
    }


def _cpu_dtype() -> Literal["float32", "mixed"]:
    """By what the processor says that it can do, not by timing, so that runs of a machine are alike."""
    return "mixed" if multiplies_bfloat16() else "float32"


def _place(config: PretrainedConfig) -> str:
    """Where transformers finds the model: a folder, or a name on the hub."""
    return str(gguf_folder(config.model)) if is_gguf(config.model) else config.model


def _load_tokenizer(config: PretrainedConfig, place: str) -> Tokenizer:
    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(
            place, revision=config.revision, padding_side="left", trust_remote_code=False
        )
        if len(tokenizer) < 2:  # what transformers makes of the model's kind alone
            raise ValueError("its files are not there")
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise DataError(
            f"{config.model} has no tokenizer that transformers can read; save one beside the model with "
            f"`tokenizer.save_pretrained`. ({_first_line(error)})"
        ) from error
    if tokenizer.chat_template is None:
        raise DataError(
            f"The tokenizer of {config.model} has no chat template, by which messages become a prompt; choose an "
            "instruction-tuned model, or set `tokenizer.chat_template` and save it in a folder."
        )
    if tokenizer.eos_token_id is None:
        raise DataError(f"The tokenizer of {config.model} has no end token (eos_token), by which a reply ends.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def _explained(config: PretrainedConfig) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError, HfHubHTTPError) as error:
        raise DataError(
            f"Cannot load the model {config.model}: {_first_line(error)} It must be a folder in the Hugging Face "
            "layout or the name of a causal language model on the hub."
        ) from error


def _first_line(error: BaseException) -> str:
    if "trust_remote_code" in str(error):
        return "It comes with code of its own, which is never run."
    return str(error).strip().partition("\n")[0][:300]


def _import_peft() -> Any:
    try:
        import peft  # noqa: PLC0415
    except ImportError as error:
        raise GdpoBenchError("LoRA needs peft: pip install 'gdpo-bench[lora]'.") from error
    return peft
