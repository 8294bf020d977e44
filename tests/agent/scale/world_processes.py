"""What `test_world.py` computes in one process and in two: `python world_processes.py FOLDER` in each of the two."""

import copy
import itertools
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gdpo_bench
from gdpo_bench.advantages import RewardBatch, make_normalizer
from gdpo_bench.agent.checkpoint import Checkpoints
from gdpo_bench.agent.loss import Batch
from gdpo_bench.agent.options import EmbeddedConfig, TrainingOptions
from gdpo_bench.agent.policies.embedded import build_policy
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import Rollouts, Tally
from gdpo_bench.agent.scale.processes import World, join_world, leave_world
from gdpo_bench.agent.scale.shared_step import SharedStep
from gdpo_bench.agent.step import TrainingStep
from gdpo_bench.agent.trainer import Trainer
from gdpo_bench.core import GdpoBenchError, GroupVectorEnv, Task, TextEnv, reward
from gdpo_bench.core.scoring import Scores

ROWS, WIDTH = 7, 9
"""An odd number of rollouts, so that two processes have different shares."""
ADVANTAGES = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -2.0, 1.5], dtype=torch.float64)
UPDATES: dict[str, dict[str, Any]] = {
    f"{aggregation} micro_batch={micro_batch} kl={kl}": {
        "aggregation": aggregation,
        "micro_batch": micro_batch,
        "kl_coefficient": kl,
        "epochs": 2,
    }
    for aggregation, micro_batch, kl in itertools.product(
        ["sequence_mean", "token_mean", "constant"], [32, 2], [0.0, 0.1]
    )
} | {
    "gspo": {"surrogate": "gspo"},
    "cispo": {"surrogate": "cispo", "overlong": "mask"},
    "a minibatch for each rollout": {"minibatches": ROWS},
    "another sampler": {"exact": False},
    "clipped": {"max_grad_norm": 1e-3},
    "adapters": {"lora": True, "kl_coefficient": 0.1},
    "memory runs out in one process": {"limit": 2},
}
RUN = TrainingOptions(
    steps=4, prompts=4, group_size=4, eval_every=2, eval_prompts=4, max_new_tokens=4, learning_rate=1e-2
)


def make_policy(*, lora: bool = False) -> Policy:
    """Fresh weights, made larger so that some tokens are much likelier than others."""
    config = EmbeddedConfig(hidden_size=16, intermediate_size=32, vocabulary=300)
    policy = build_policy(config, ["What is 1+2? It is 3.", "abracadabra"], seed=1)
    with torch.no_grad():
        for weights in policy.model.parameters():
            weights.mul_(4)
    if not lora:
        return policy
    import peft

    torch.manual_seed(0)
    options = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    return Policy(peft.get_peft_model(policy.model, options), policy.tokenizer)


def make_rollouts() -> Rollouts:
    """Rollouts of random tokens, as if drawn by a policy near the one that learns."""
    rng = torch.Generator().manual_seed(0)
    mask = torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    for row in range(ROWS):
        mask[row, 2 : 3 + row] = True
    blank = Rollouts(
        torch.randint(2, 200, (ROWS, WIDTH), generator=rng),
        mask,
        torch.zeros(ROWS, WIDTH),
        torch.arange(ROWS) % 2 == 1,
        np.arange(ROWS) // 2,
        Scores.empty(ROWS, 1),
    )
    policy = make_policy()
    log_probs = make_step(World(), policy).all_log_probs(policy, blank.token_ids)
    blank.log_probs[:, 1:] = (log_probs + 0.1 * torch.randn(log_probs.shape, generator=rng)) * mask[:, 1:]
    return blank


class Idle:
    """A backend that is not asked to draw."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def sleep(self) -> None: ...

    def update_weights(self, policy: Policy) -> None: ...


def make_step(world: World, policy: Policy, *, exact: bool = True, **options: Any) -> TrainingStep:
    make = partial(SharedStep, world) if world.size > 1 else TrainingStep
    defaults = TrainingOptions(minibatches=1, learning_rate=1e-3, max_new_tokens=WIDTH)
    return make(
        policy,
        Idle(exact),  # type: ignore[arg-type]
        GroupVectorEnv(Letters(), "test/Letters-v0", 1, 1),
        normalizer=make_normalizer("gdpo"),
        reward_weights={},
        options=defaults.model_copy(update=options),
        rng=torch.Generator().manual_seed(3),
        tally=Tally(),
    )


def learn(
    rollouts: Rollouts, world: World, *, lora: bool = False, limit: int = 0, **options: Any
) -> tuple[dict[str, torch.Tensor], dict[str, float], int]:
    """The trained weights after an update, what was measured, and the size of micro-batches at the end."""
    step = make_step(world, make_policy(lora=lora), **options)
    original = step.one_pass

    def limited(batch: Any, rows: torch.Tensor, totals: Any) -> dict[str, float]:
        found = original(batch, rows, totals)
        if limit and world.rank == world.size - 1 and len(rows) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    step.one_pass = limited  # type: ignore[method-assign]
    measures = step.learn(Batch(rollouts, ADVANTAGES, step.options, *step.log_probs(rollouts)), 0)
    return {name: value.clone() for name, value in step.weights.named().items()}, measures, step.micro_batch


class Letters(TextEnv[Task]):
    """Short replies earn more, and so do vowels."""

    scored_elsewhere = True

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"{split} {i}") for i in range(12)]

    @reward(low=0, high=1)
    def short(self, task: Task, reply: str) -> float:
        return 1 / (1 + len(reply))

    @reward(low=0, high=1)
    def vowels(self, task: Task, reply: str) -> float:
        return min(1.0, sum(map(reply.count, "aeiou")) / 4)


class StoppedError(Exception):
    """As if the processes had been killed."""


def make_trainer(world: World, options: TrainingOptions = RUN, **others: Any) -> Trainer:
    def vec(prompts: int, split: str) -> gdpo_bench.core.GroupVectorEnv:
        return gdpo_bench.make_vec("test/Letters-v0", prompts, options.group_size, split)

    given: dict[str, Any] = {"normalizer": make_normalizer("gdpo"), "weights": {"short": 1.0, "vowels": 1.0}} | others
    return Trainer(
        make_policy(),
        vec(options.prompts, "train"),
        vec(options.eval_prompts, "eval"),
        options=options,
        seed=5,
        world=world,
        **given,
    )


def outcome(work: Callable[[], Any]) -> str:
    """What was raised."""
    try:
        return f"nothing but {work()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def meet(world: World) -> dict[str, Any]:
    """What processes tell each other."""

    def fail(rank: int, error: Exception) -> int:
        if world.rank == rank:
            raise error
        return world.rank

    nested = [0]

    def inner() -> None:
        nested[0] += 1
        world.all_gather(lambda: fail(1, GdpoBenchError("inner")))

    return {
        "all_gather": world.all_gather(lambda: world.rank * 10),
        "broadcast": world.broadcast(lambda: f"of {world.rank}"),
        "barrier": world.barrier(lambda: world.rank),
        "share": world.share(list(range(5))),
        "noise": torch.rand(3, generator=world.generator(7)),
        "refused": outcome(lambda: world.all_gather(lambda: fail(1, GdpoBenchError("no room")))),
        "refused in the first": outcome(lambda: world.broadcast(lambda: fail(0, GdpoBenchError("no file")))),
        "defect": outcome(lambda: world.all_gather(lambda: fail(0, KeyError("oops")))),
        "both": outcome(lambda: world.all_gather(lambda: fail(world.rank, GdpoBenchError(f"of {world.rank}")))),
        "nested": outcome(lambda: world.barrier(inner)),
        "elsewhere": outcome(lambda: world.barrier(lambda: fail(1, KeyError()) and world.all_gather(lambda: 1))),
        "still in step": world.all_gather(lambda: world.rank),
    }


def train(world: World, folder: Path) -> dict[str, Any]:
    """Whole runs."""
    seen: list[RewardBatch] = []

    def spy(batch: RewardBatch) -> torch.Tensor:
        seen.append(batch)
        return make_normalizer("gdpo")(batch)

    played: list[Rollouts] = []
    whole = make_trainer(world, normalizer=spy)
    original = whole.step.advantages
    whole.step.advantages = lambda rollouts: (played.append(rollouts), original(rollouts))[1]  # type: ignore[func-returns-value,method-assign]
    result = whole.run()

    def stop(step: int, evaluation: Any) -> None:
        if step == 3:
            raise StoppedError

    checkpoints = Checkpoints(folder / "checkpoints")
    stopped = outcome(lambda: make_trainer(world, checkpoints=checkpoints).run(stop))
    resumed = make_trainer(world, checkpoints=checkpoints)
    again = resumed.run()
    broken = make_trainer(world)
    if world.rank == world.size - 1:
        own = broken.step.one_pass
        broken.step.one_pass = lambda *given: own(*given) | {"loss": float("nan")}  # type: ignore[method-assign]
    dynamic = RUN.model_copy(update={"dynamic_sampling": True, "steps": 2})
    return {
        "seen": len(seen),
        "played": [(part.token_ids, part.groups, part.scores.values) for part in played],
        "advantages": original(played[0]),
        "result": (result.evaluations, result.diagnostics, result.tokens),
        "weights": {name: value.clone() for name, value in whole.step.weights.named().items()},
        "stopped": stopped,
        "resumed": (again.evaluations, again.diagnostics, again.tokens),
        "resumed weights": {name: value.clone() for name, value in resumed.step.weights.named().items()},
        "diverged": outcome(broken.run),
        "uneven": outcome(lambda: make_trainer(world, RUN.model_copy(update={"prompts": 3}))),
        "dynamic": make_trainer(world, dynamic).run().tokens,
    }


def main(folder: Path) -> None:
    """Everything that the tests look at, computed once, since starting processes takes longest."""
    torch.set_num_threads(1)
    world = join_world()
    gdpo_bench.register("test/Letters-v0", Letters)
    rollouts = make_rollouts()
    found = {
        "meet": meet(world),
        "updates": {name: learn(copy.deepcopy(rollouts), world, **options) for name, options in UPDATES.items()},
        "train": train(world, folder),
    }
    torch.save(found, folder / f"{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_world(0)
