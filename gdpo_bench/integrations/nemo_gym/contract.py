"""What NeMo Gym and NeMo-RL expect of a verifier with several rewards, and how we meet it.

- `reward_components` maps each reward's name to a number, the same names for every task
  (https://docs.nvidia.com/nemo/gym, "Multi-Reward Verification"). There is no mask: NeMo-RL fills what is left
  out with 0.0, so we return 0.0 ourselves where a reward is not applicable or failed, and say so beside it.
- `reward` is the plain sum of the components. NeMo-RL stops where it is not (`nemo_rl/environments/nemo_gym.py`,
  `validate_reward_components_match_scalar`), so the weights that an environment declares do not enter here.
- NeMo-RL binds `reward_weights` to the names in alphabetical order; so the components come in that order, and
  `reward_weights` puts weights into it.
- Each reward is a top-level number too, since the aggregate metrics see no others. It is None where it is not
  applicable or failed, which leaves it out of the means.
- A scorer that failed sets `mask_sample`, which takes the sample out of quality metrics, with
  `failure_kind="gdpo_bench:scorer"` (nemo-gym 0.7).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.registry import make_env
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import check_one_turn, refuse_names, scorer, weights_in_order

RESERVED = {"responses_create_params", "response", "reward", "reward_components", "capture_rollout_id"}
RESERVED |= {"mask_sample", "failure_kind", "failure_reason", "env", "task_id", "options"}
"""Top-level names of a response that a reward cannot have."""
_WHAT = "is a field of the verify response of NeMo Gym"
FAILURE_KIND = "gdpo_bench:scorer"


def verification(
    env_id: str, task_id: str, reply: str, options: Mapping[str, Any] | str | None = None
) -> dict[str, Any]:
    """The part of a verify response that is about rewards.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        task_id: Which task the reply answers.
        reply: The reply.
        options: The environment's options, or their JSON.

    Returns:
        `reward`, `reward_components`, each reward by its name, `mask_sample`, `failure_kind` and `failure_reason`.

    Raises:
        UnknownNameError: No such environment, option or task.
        IntegrationError: An environment of several turns, or a reward whose name is a field of the response.
        UnavailableError: What the rewards need is not there on this machine.
    """
    score = scorer(env_id, options)
    refuse_names(env_id, score.reward_specs, RESERVED, _WHAT)
    found = score.named(task_id, reply)
    components = {name: found.values[name] for name in sorted(found.values)}
    return {
        "reward": sum(components.values()),
        "reward_components": components,
        "mask_sample": any(found.failed.values()),
        "failure_kind": FAILURE_KIND if found.failures else None,
        "failure_reason": found.failures[0] if found.failures else None,
        **found.known(),
    }


def reward_weights(env_id: str, weights: Mapping[str, float] | None = None, **options: Any) -> list[float]:
    """Weights in the order in which NeMo-RL binds them: `grpo.adv_estimator.reward_weights`.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        weights: Reward → weight; one left out keeps its declared weight.
        **options: The environment's own options.

    Raises:
        UnknownNameError: No such environment or option, or a weight for a reward that does not exist.
    """
    specs = make_env(env_id, **options).reward_specs
    return weights_in_order(env_id, sorted(specs, key=lambda spec: spec.name), weights)


def reply_text(output: Sequence[Any]) -> str:
    """The reply in a response's output: its messages, after what the model thought.

    A model server with a reasoning parser takes `<think>…</think>` out of the text, and rewards judge the
    whole reply, so it is put back.

    Args:
        output: The items of `response.output`, as objects or as JSON.

    Raises:
        IntegrationError: A tool call, which environments of one turn do not offer.
    """
    parts = []
    for item in output:
        kind = _field(item, "type")
        if kind == "reasoning":
            thoughts = [_field(part, "text") for part in _field(item, "summary") or []]
            parts += [f"<think>{thought}</think>" for thought in thoughts if thought]
        elif kind == "message":
            content = _field(item, "content")
            texts = [content] if isinstance(content, str) else [_field(part, "text") or "" for part in content]
            parts += texts
        else:
            raise IntegrationError(
                f"A reply may hold messages and reasoning; got an item of type {kind!r}. Serve the model without a "
                "tool parser: these environments read tool calls from the text."
            )
    return "".join(parts)


def write_server(env_id: str, folder: Path, **options: Any) -> list[Path]:
    """Write a resources server: program, requirements, configuration, and each split as `data/<split>.jsonl`.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        folder: `resources_servers/<name>` in a folder that NeMo Gym searches; the server gets its last part as name.
        **options: The environment's own options.

    Returns:
        What was written.

    Raises:
        UnknownNameError: No such id or option.
        IntegrationError: An environment of several turns, or a reward whose name is a field of the response.
    """
    env = make_env(env_id, **options)
    check_one_turn(env, env_id)
    refuse_names(env_id, env.reward_specs, RESERVED, _WHAT)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "configs").mkdir(exist_ok=True)
    config = folder / "configs" / f"{folder.name}.yaml"
    template = Path(__file__).parent / "config"
    written = [folder / "app.py", folder / "requirements.txt", config]
    for path in written[:2]:
        shutil.copy(template / path.name, path)
    text = (template / "server.yaml").read_text(encoding="utf-8")
    config.write_text(text.replace("SERVER", folder.name).replace("ENVIRONMENT", env_id), encoding="utf-8")
    for split in env.splits:
        path = folder / "data" / f"{split}.jsonl"
        with path.open("w", encoding="utf-8") as lines:
            for task in tasks_of(env, split):
                row = {
                    "responses_create_params": {"input": env.messages(task)},
                    "env": env_id,
                    "task_id": task.id,
                    "options": options,
                }
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        written.append(path)
    return written


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
