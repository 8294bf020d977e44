"""A model's weights spread over several processes by FSDP2, as the optimizer sees them.

Spread weights are whole again but for the moment in which the optimizer steps. So rollouts and passes over
micro-batches are those of a single process, and processes may take different numbers of them, stop at different
lengths and run out of memory alone: nobody waits for anybody. Gradients are added up once a gradient step. What
is spread is the optimizer's state; each GPU must hold weights and gradients whole, as rollouts ask for anyway.

Source: `torch.distributed.fsdp.fully_shard`, with `set_requires_gradient_sync(False)` until the last pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from gdpo_bench.agent.language_model import CausalLM, has_adapters
from gdpo_bench.agent.scale.processes import World
from gdpo_bench.agent.weights import Weights
from gdpo_bench.core import GdpoBenchError

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


class ShardedWeights(Weights):
    """The weights of a model in several processes, in which `Weights`' methods are called at the same time."""

    def __init__(self, model: CausalLM, world: World) -> None:
        """Spread a model's weights.

        Args:
            model: The same in all processes; changed in place.
            world: The processes.

        Raises:
            GdpoBenchError: This torch is too old.
        """
        self._world = world
        mesh = init_device_mesh(model.device.type, (world.size,))
        self._parts = [_fully_sharded(part, mesh) for part in (*_blocks(model), model)]
        self._whole = self._parts[-1]
        super().__init__(model)
        self._whole.set_requires_gradient_sync(False)
        self._gather()

    @torch.no_grad()
    def assign(self, value_of: Callable[[str], torch.Tensor]) -> None:
        """See `Weights.assign`."""
        self._scatter()
        for name, weights in self.named().items():
            assert isinstance(weights, DTensor)
            weights.to_local().copy_(_laid_out_like(value_of(name), weights).to_local())
        self._gather()

    def reduce_gradients(self) -> None:
        """See `Weights.reduce_gradients`."""
        whole = self._whole
        whole.set_requires_gradient_sync(True)
        whole.set_reshard_after_backward(True)
        # FSDP adds up what has accumulated in a backward pass; this one, over a token, adds nothing of its own.
        token = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)
        with self._world.in_step():
            (self.model(input_ids=token, use_cache=False).logits.sum() * 0).backward()
        whole.set_requires_gradient_sync(False)
        whole.set_reshard_after_backward(False)

    def renew(self) -> None:
        """See `Weights.renew`."""
        self._gather()

    def discard_gradients(self) -> None:
        """See `Weights.discard_gradients`."""
        super().discard_gradients()
        self._whole.reset_iter_state()
        self._gather()

    def whole(self, value: torch.Tensor) -> torch.Tensor:
        """See `Weights.whole`; on the CPU, since there may be no room for it elsewhere."""
        with self._world.in_step():
            return value.full_tensor().cpu() if isinstance(value, DTensor) else value

    def spread(self, value: torch.Tensor, number: int) -> torch.Tensor:
        """See `Weights.spread`."""
        weights = self.trained[number]
        assert isinstance(weights, DTensor)
        return _laid_out_like(value, weights) if value.shape == weights.shape else value

    def _gather(self) -> None:
        with self._world.in_step():
            for part in self._parts:
                part.unshard()

    def _scatter(self) -> None:
        for part in self._parts:
            part.reshard()


def _blocks(model: CausalLM) -> Iterator[Any]:
    """The decoder's blocks, by transformers' own list of modules that belong together."""
    base: Any = model.get_base_model() if has_adapters(model) else model
    kinds = set(base._no_split_modules or ())
    return (module for module in base.modules() if type(module).__name__ in kinds)


def _fully_sharded(module: Any, mesh: DeviceMesh) -> FSDPModule:
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard  # noqa: PLC0415 (new in 2.6)

    if not hasattr(FSDPModule, "reset_iter_state"):
        raise GdpoBenchError(f"Training in several processes needs torch 2.13 or newer; this is {torch.__version__}.")
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    spread: FSDPModule = fully_shard(module, mesh=mesh, reshard_after_forward=False, mp_policy=policy)
    spread.set_reshard_after_backward(False, recurse=False)
    # Losses are divided by the sizes of the whole minibatch already: gradients are to be added up, not averaged.
    spread.set_gradient_divide_factor(1.0)
    spread.set_force_sum_reduction_for_comms(True)
    return spread


def _laid_out_like(value: torch.Tensor, weights: DTensor) -> DTensor:
    # None: every process has the whole value, nothing is sent.
    return distribute_tensor(value.to(weights.device), weights.device_mesh, weights.placements, src_data_rank=None)
