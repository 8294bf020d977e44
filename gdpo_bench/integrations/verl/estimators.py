"""Our normalizers as advantage estimators of verl, by the names `gdpo_bench/<normalizer>`.

    VERL_USE_EXTERNAL_MODULES=gdpo_bench.integrations.verl.estimators python -m verl.trainer.main_ppo …
    algorithm.adv_estimator=gdpo_bench/gd2po
    +algorithm.gdpo_bench.options.tau=0.2 +algorithm.gdpo_bench.weights.format=0.5

`gdpo_bench` alone takes the normalizer from `algorithm.gdpo_bench.normalizer`, such as `my_module:my_function`.

verl 0.9.1 hands the rewards one by one to the estimator "gdpo" alone, and its default trainer (v1) not even to
that: it leaves them in its queue. So importing this wraps two functions of verl, which remember what the batch
holds while advantages are computed: `ray_trainer.compute_advantage` and `PPOTrainer._compute_advantage`. What
they compute for other estimators stays what it was. Where no rewards arrive, an estimator says so and stops.

An advantage belongs to a reply: each of its tokens gets it, as with verl's own outcome estimators. Rewards are
found by name, and groups by `uid`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from gdpo_bench.advantages import Normalizer, OptionError, compute_advantages, list_normalizers
from gdpo_bench.advantages.choice import NormalizerChoice
from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.core.models import problems
from gdpo_bench.core.registry import spec
from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.integrations.errors import IntegrationError, MissingExtraError
from gdpo_bench.integrations.mixture import declared, read_mixture
from gdpo_bench.integrations.scoring import weights_in_order
from gdpo_bench.integrations.verl.columns import APPLICABLE, FAILED, MIXTURE, OPTIONS, REWARD, reward_names

PREFIX = "gdpo_bench"

Columns = Mapping[str, Any]
"""What verl knows of N replies beside tensors: name → N values."""

_at_hand: ContextVar[Columns | None] = ContextVar("columns of the batch whose advantages are computed", default=None)


@contextmanager
def at_hand(columns: Columns) -> Iterator[None]:
    """Let estimators see the rewards in `columns`; without any, they see what they saw before."""
    token = _at_hand.set(columns if reward_names(list(columns)) else _at_hand.get())
    try:
        yield
    finally:
        _at_hand.reset(token)


def advantages(
    name: str | None,
    *,
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: NDArray[Any] | None = None,
    config: Any = None,
    non_tensor_batch: Columns | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Advantages of a batch by one of our normalizers, as verl calls its estimators.

    Args:
        name: The normalizer; None where `config.gdpo_bench.normalizer` names it.
        token_level_rewards: (N, T); only its dtype counts, since the rewards are taken one by one.
        response_mask: (N, T), 1 on the policy's own tokens.
        index: Group ids (N,), verl's `uid`.
        config: verl's `algorithm` section; `gdpo_bench` in it holds `options` and `weights`, by name.
        non_tensor_batch: The columns of the batch, where verl hands them over.
        **_: What verl has for other estimators.

    Returns:
        Advantages (N, T), equal on a reply's tokens and 0 elsewhere; and the same as returns.

    Raises:
        IntegrationError: The rewards or groups are not there, or settings contradict each other.
        UnknownNameError: No such normalizer, or weights of rewards that do not exist.
        OptionError: An option with a value that it cannot take.
    """
    settings = config or {}
    if settings.get("use_kl_in_reward", False):
        raise IntegrationError(
            "algorithm.use_kl_in_reward adds a penalty to the sum of the rewards, and our estimators read the rewards "
            "one by one. Set it to False; actor_rollout_ref.actor.use_kl_loss=True puts the penalty into the loss."
        )
    columns = non_tensor_batch if reward_names(list(non_tensor_batch or {})) else _at_hand.get()
    if columns is None:
        raise IntegrationError(
            f"No column {REWARD}<name> arrived with the batch. Set reward.custom_reward_function to compute_score of "
            "pkg://gdpo_bench.integrations.verl, or return such keys from a reward function of your own."
        )
    if index is None:
        raise IntegrationError("No group ids arrived: the batch needs the column 'uid', one value a prompt.")
    normalizer, weights = _choice(name, settings.get(PREFIX))
    specs = _specs(columns)
    names = [spec.name for spec in specs] if specs else reward_names(list(columns))
    if specs:
        factors = weights_in_order(str(columns["data_source"][0]), specs, weights)
    else:
        factors = weights_in_order("this batch", [RewardSpec(name, 0, 1) for name in names], weights)
    numbers = {uid: number for number, uid in enumerate(dict.fromkeys(index.tolist()))}
    found = compute_advantages(
        normalizer,
        _matrix(columns, names, ""),
        [numbers[uid] for uid in index.tolist()],
        specs=specs,
        weights=factors,
        lengths=response_mask.sum(-1),
        applicable=_matrix(columns, names, APPLICABLE, default=1.0) != 0,
        failed=_matrix(columns, names, FAILED, default=0.0) != 0,
    )
    spread = found.to(token_level_rewards)[:, None] * response_mask
    return spread, spread


def _matrix(columns: Columns, names: Sequence[str], suffix: str, default: float | None = None) -> NDArray[np.float64]:
    """The columns `reward/<name><suffix>` as (N, K)."""
    rows = len(columns[f"{REWARD}{names[0]}"]) if f"{REWARD}{names[0]}" in columns else 0
    found = []
    for name in names:
        key = f"{REWARD}{name}{suffix}"
        if key in columns:
            found.append(np.asarray(columns[key], dtype=np.float64))
        elif default is not None:
            found.append(np.full(rows, default))
        else:
            raise IntegrationError(f"The batch has no column {key!r}; its rewards: {reward_names(list(columns))}.")
    return np.stack(found, axis=1)


def _specs(columns: Columns) -> tuple[RewardSpec, ...] | None:
    """The declarations of the rewards, or None where they are not of an environment of ours."""
    if "data_source" not in columns:
        return None
    infos = [info or {} for info in columns.get("extra_info", [None] * len(columns["data_source"]))]
    mixtures = {str(info.get(MIXTURE) or "") for info in infos}
    if len(mixtures) == 1 and (mixture := mixtures.pop()):
        return tuple(spec for own in read_mixture(mixture).values() for spec in own)
    sources = {
        (str(source), str(info.get(OPTIONS) or "{}"))
        for source, info in zip(columns["data_source"], infos, strict=True)
    }
    if len(sources) > 1:
        raise IntegrationError(
            f"Data of {len(sources)} environments were not written for one training: "
            f"{', '.join(' '.join(source) for source in sorted(sources))}. Name them all in one call of python -m "
            "gdpo_bench.integrations.verl, so that each reward has a column."
        )
    source = sources.pop()
    try:
        spec(source[0])
    except UnknownNameError:
        return None
    return declared(source)


def _choice(name: str | None, settings: Any) -> tuple[Normalizer, dict[str, float]]:
    """The normalizer and its weights by name. The same settings give the same object, as some have a state."""
    given = {key: dict(value) if hasattr(value, "items") else value for key, value in (settings or {}).items()}
    try:
        choice = NormalizerChoice.model_validate(({"normalizer": name} if name else {}) | given)
    except ValidationError as error:
        raise OptionError(f"algorithm.{PREFIX}: {problems(error)}") from error
    if name and choice.normalizer != name:
        raise OptionError(
            f"algorithm.{PREFIX}.normalizer is {choice.normalizer!r} and algorithm.adv_estimator says {name!r}; "
            f"leave one out, adv_estimator={PREFIX} reads the former."
        )
    return _normalizer(choice.model_dump_json()), choice.starting_weights


@functools.lru_cache(maxsize=8)
def _normalizer(choice: str) -> Normalizer:
    return NormalizerChoice.model_validate_json(choice).make()


def register() -> None:
    """Register the estimators and let verl's trainers show them the rewards; done when this is imported.

    Raises:
        MissingExtraError: verl, or what its trainers need, is not installed.
    """
    try:
        from verl.trainer.ppo import core_algos, ray_trainer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"This needs verl and what its trainers import: pip install 'verl[verl-core]==0.9.1' "
            f"(missing: {error.name})."
        ) from error
    for name in [None, *list_normalizers()]:
        title = PREFIX if name is None else f"{PREFIX}/{name}"
        core_algos.register_adv_est(title)(functools.partial(advantages, name))
    _wrap(ray_trainer, "compute_advantage", lambda data, *_, **__: data.non_tensor_batch)
    if find_spec("transfer_queue") is not None:  # without it there is no v1 trainer
        from verl.trainer.ppo.v1 import trainer_base, utils  # noqa: PLC0415

        utils.compute_advantage = ray_trainer.compute_advantage
        _wrap(trainer_base.PPOTrainer, "_compute_advantage", _queued)


def _wrap(owner: Any, name: str, columns: Callable[..., Columns]) -> None:
    """Let `owner.name` run with the columns of its arguments at hand."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with at_hand(columns(*args, **kwargs)):
            return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def _queued(trainer: Any, batch: Any, metrics: Any) -> Columns:
    """The columns of a batch whose values lie in the queue of verl's v1 trainer."""
    if not str(trainer.config.algorithm.adv_estimator).startswith(PREFIX):
        return {}
    import transfer_queue  # noqa: PLC0415

    fields = ["extra_fields", "data_source", "extra_info"]
    data = transfer_queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    rewards = [extra.get("reward_extra_info") or {} for extra in data.pop("extra_fields").tolist()]
    if any(row.keys() != rewards[0].keys() for row in rewards):
        raise IntegrationError("Replies of the batch have different rewards; compute_score must return all keys.")
    return {
        **{key: np.array([row[key] for row in rewards]) for key in rewards[0]},
        "data_source": data.pop("data_source").tolist(),
        "extra_info": data.pop("extra_info").tolist(),
    }


register()
