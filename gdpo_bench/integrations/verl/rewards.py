"""An environment's rewards as verl's `compute_score`.

    reward.custom_reward_function.path=pkg://gdpo_bench.integrations.verl
    reward.custom_reward_function.name=compute_score_async

verl makes an array of each key and averages it, so every reply gets every key and none is None or NaN: a
reward that is not applicable, or whose scorer failed, is 0.0 and says so in two further keys. That is how the
rewards of other environments stand there, where several are trained on together.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdpo_bench.core.scoring import ScoringFailure
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.mixture import Source, read_mixture
from gdpo_bench.integrations.scoring import beside, scorer, weights_in_order
from gdpo_bench.integrations.verl.columns import APPLICABLE, FAILED, MIXTURE, OPTIONS, REWARD

_SHOWN_CHARACTERS = 500
_log = logging.getLogger(__name__)
_announced: set[tuple[str, str]] = set()


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    weights: Mapping[str, float] | None = None,
    **_: Any,
) -> dict[str, float]:
    """The rewards of one reply.

    Args:
        data_source: The environment's id.
        solution_str: The reply.
        ground_truth: The task's id.
        extra_info: With `options`, the environment's options as JSON, and `environments` where the data are of
            several; everything else is ignored.
        weights: Reward → weight in `score`; one left out keeps its declared weight. From
            `reward.custom_reward_function.reward_kwargs.weights`. Our estimators have weights of their own.
        **_: What verl adds for reward models.

    Returns:
        `score`, Σ weight · reward over the rewards that apply and did not fail; and for each reward
        `reward/<name>`, `reward/<name>/applicable` and `reward/<name>/failed`; all finite. Where the data are of
        several environments, names are such as `MathMini_v1_correct`, and those of the others are not applicable.

    Raises:
        UnknownNameError: No such environment, option, task or reward.
        IntegrationError: A task id that is no text, such as None of a prompt of other data.
        UnavailableError: What the rewards need is not there on this machine.
    """
    return compute_scores([data_source], [solution_str], [ground_truth], [extra_info], weights)[0]


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    weights: Mapping[str, float] | None = None,
    **_: Any,
) -> dict[str, float]:
    """As `compute_score`; verl awaits those of a batch together, beyond the few threads that it has a core."""
    return await beside(compute_score, data_source, solution_str, ground_truth, extra_info, weights)


def compute_scores(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[str],
    extra_infos: Sequence[Mapping[str, Any] | None],
    weights: Mapping[str, float] | None = None,
    **_: Any,
) -> list[dict[str, float]]:
    """The rewards of N replies at once, for verl's `batch` reward manager; otherwise as `compute_score`."""
    found: list[dict[str, float]] = [{} for _ in solution_strs]
    batches: dict[tuple[Source, str], list[int]] = {}
    for i, (env_id, info) in enumerate(zip(data_sources, extra_infos, strict=True)):
        options, mixture = ((info or {}).get(name) for name in (OPTIONS, MIXTURE))
        batches.setdefault(((str(env_id), str(options or "{}")), str(mixture or "")), []).append(i)
    for (source, mixture), rows in batches.items():
        score = scorer(*source)
        specs = read_mixture(mixture) if mixture else {source: score.reward_specs}
        if source not in specs:
            raise IntegrationError(f"{' '.join(source)} is none of the environments of its data: {mixture}.")
        every = [spec for declared in specs.values() for spec in declared]
        factors = weights_in_order(score.env_id, every, weights)
        scores = score([ground_truths[i] for i in rows], [solution_strs[i] for i in rows])
        _announce(scores.failures)
        place = (every.index(specs[source][0]), len(every))
        columns = [_among(part, *place) for part in (scores.values, scores.applicable, scores.failed)]
        for i, values, applicable, failed in zip(rows, *columns, strict=True):
            found[i]["score"] = sum(weight * value for weight, value in zip(factors, values, strict=True))
            for k, spec in enumerate(every):
                found[i][f"{REWARD}{spec.name}"] = values[k]
                found[i][f"{REWARD}{spec.name}{APPLICABLE}"] = applicable[k]
                found[i][f"{REWARD}{spec.name}{FAILED}"] = failed[k]
    return found


def _among(part: NDArray[Any], first: int, count: int) -> list[list[float]]:
    """An environment's K columns (N, K) at their place among those of a mixture, which are 0."""
    rows: list[list[float]] = np.pad(part.astype(float), ((0, 0), (first, count - first - part.shape[1]))).tolist()
    return rows


def _announce(failures: Sequence[ScoringFailure]) -> None:
    for failure in failures:
        if (failure.environment, failure.reward) not in _announced:
            _announced.add((failure.environment, failure.reward))
            _log.warning("%s (said once a reward and process)", str(failure)[:_SHOWN_CHARACTERS])
