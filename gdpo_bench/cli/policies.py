"""`gdpo-bench policies`: who can reply in a job, and with which options. Torch is imported only when it runs."""

from __future__ import annotations

import dataclasses

import tyro
from rich.markup import escape
from rich.table import Table

from gdpo_bench.cli.terminal import make_console
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.core.models import option_sentences

_WHAT = {
    "mini": "124,000 parameters, made on the spot; on the CPU",
    "small": "3.2 million parameters, made on the spot",
    "base": "88 million parameters, made on the spot; wants a GPU",
    "smollm2": "SmolLM2, 135 million parameters, fetched by pip",
    "hf:MODEL": "a Hugging Face model: a folder, or a name on the hub",
    "gguf:FILE": "a model in a GGUF file",
    "demonstrations": "the environment's own noisy replies, without training",
    "oracle": "the environment's reference replies, without training",
    "replay:FILE": "replies of a file (JSON lines), without training",
}


def policies(name: tyro.conf.Positional[str | None] = None, /) -> None:
    """List policies, or the options of one.

    Args:
        name: A policy whose options to list: mini, small, base, hf or gguf. Without it, all policies are listed.
    """
    from gdpo_bench.agent.options import EMBEDDED_CONFIGS, EmbeddedConfig, PretrainedConfig  # noqa: PLC0415
    from gdpo_bench.agent.policies.packaged import PACKAGED  # noqa: PLC0415

    console = make_console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    if name is None:
        table.add_column("--policy", no_wrap=True)
        table.add_column("who replies")
        for policy, what in _WHAT.items():
            table.add_row(policy, what)
        console.print(table)
        console.print(
            "\nOptions of mini, small, base, smollm2, hf and gguf: gdpo-bench policies NAME.", highlight=False
        )
        return
    kind, _, _ = name.partition(":")
    pretrained = ["hf", "gguf", *PACKAGED]
    if kind not in (*EMBEDDED_CONFIGS, *pretrained):
        hint = "The others have none." if kind in {policy.partition(":")[0] for policy in _WHAT} else ""
        raise UnknownNameError("policy with options", name, [*EMBEDDED_CONFIGS, *pretrained], hint)
    given = kind in pretrained
    options = option_sentences(PretrainedConfig if given else EmbeddedConfig)
    if given:
        del options["model"]  # which stands before the options
    values = {} if given else dataclasses.asdict(EMBEDDED_CONFIGS[kind])
    for column in ("option", "default", ""):
        table.add_column(column, no_wrap=column == "option")
    for option, (default, sentence) in options.items():
        table.add_row(option, escape(str(values.get(option, default))), escape(sentence))
    console.print(table)
    policy = next(policy for policy in _WHAT if policy.partition(":")[0] == kind)
    console.print(
        f"\nGiven as --policy {policy}:{'lora_rank=16' if given else 'warm_start_steps=400,layers=3'}.", highlight=False
    )
