"""A model whose linear layers are in bfloat16 already, for drawing under mixed precision.

Autocast rounds the weights of a linear layer at each call: while drawing, all of them for each token. Rounded once
an update they give the same numbers, bit for bit. All other weights are the model's own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from gdpo_bench.agent.language_model import CausalLM


def rounded(model: CausalLM) -> CausalLM:
    """The model with linear layers of its own in bfloat16; `round_again` after each update.

    Args:
        model: Not changed.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared).eval()
    for layer in _linear_layers(twin):
        for name, weights in layer.named_parameters(recurse=False):
            setattr(layer, name, nn.Parameter(weights.detach().bfloat16(), requires_grad=False))
    return twin


@torch.inference_mode()
def round_again(twin: CausalLM, model: CausalLM) -> None:
    """Take over a model's weights, in place.

    Args:
        twin: Came from `rounded`.
        model: The same as there.
    """
    for layer, source in zip(_linear_layers(twin), _linear_layers(model), strict=True):
        for rounded_weights, weights in zip(
            layer.parameters(recurse=False), source.parameters(recurse=False), strict=True
        ):
            rounded_weights.copy_(weights)


def _linear_layers(model: CausalLM) -> Iterator[nn.Linear]:
    return (module for _, module in model.named_modules() if type(module) is nn.Linear)
