"""Fit the adviser's predictor to worlds of the tabular twin, and try it on others and on committed entries.

    python benchmarks/advice.py             writes gdpo_bench/advice/predictor.json and the tables of docs/advise.md

About ten minutes of one core. Worlds are drawn at random, one seed each; those of even number are fitted to, the others
are only measured, and so are two other learning rates, and normalizers that the fit has not seen.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from gdpo_bench.advantages import DomainError, make_normalizer
from gdpo_bench.advice.advise import moments
from gdpo_bench.advice.predictor import LEARNED, SATURATED, features, fitted_predictor
from gdpo_bench.advice.recorded import RecordedRewards
from gdpo_bench.cli.advise import recorded_evaluation
from gdpo_bench.core.errors import GdpoBenchError
from gdpo_bench.core.files import write_atomically
from gdpo_bench.core.processor import arithmetic_pins
from gdpo_bench.leaderboard.files.sidecar import read_sidecar, sidecar_path
from gdpo_bench.leaderboard.files.store import entry_files, read_entry
from gdpo_bench.worlds.twin import TwinOptions, first_rollouts, train
from gdpo_bench.worlds.world import make_world

ROOT = Path(__file__).parents[1]
FITTED = ("grpo", "grpo_no_std", "grpo_scaled", "gdpo", "rloo", "reinforce_pp")
UNSEEN = ("gdpo_no_bn", "gd2po", "pass_at_k", "maxrl")
FIT_RATE, OTHER_RATES = 0.1, (0.03, 0.3)
WORLDS, OTHER_WORLDS = 600, 100
ROLLOUTS = 256
FOLDS = 200
"""Fits to worlds drawn with replacement."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """One reward of one run: what was known before, and whether it was learned."""

    world: int
    normalizer: str
    rate: float
    rho: float
    covariance: float
    learned: bool


def random_design(rng: np.random.Generator) -> dict[str, Any]:
    """Options of a world."""
    count = int(rng.choice([1, 2, 2, 2, 3, 4, 6]))
    options: dict[str, Any] = {
        "rewards": count,
        "scale": float(np.exp(rng.uniform(0, np.log(16)))),
        "rarity": float(np.exp(rng.uniform(np.log(0.005), np.log(0.4)))),
        "common": float(rng.uniform(0.05, 0.7)),
        "applicable": float(rng.choice([1, 1, 1, 0.5])),
    }
    if count > 1:
        options |= {
            "correlation": float(rng.choice([0, 0, 0, -0.6, -0.3, 0.3, 0.6])),
            "conflict": float(rng.choice([0, 0, 0, 0.05, 0.1])),
            "gated": bool(rng.random() < 0.2),
        }
    return options if options.get("gated") else options | {"noise": float(rng.choice([0, 0, 0.1, 0.3]))}


def trials_of(job: tuple[int, float, tuple[str, ...]]) -> list[Trial]:
    """All rewards of one world under some normalizers."""

    number, rate, normalizers = job
    rng = np.random.default_rng([number, round(rate * 1000)])
    world = make_world("bits", random_design(rng))
    size = int(rng.choice([4, 8, 8, 16]))
    options = TwinOptions(prompts=128 // size, group_size=size)
    first = first_rollouts(world, groups=ROLLOUTS // size, seed=number, options=options)
    recorded = RecordedRewards(
        tuple(spec.name for spec in world.specs),
        np.where(first.scores.applicable, first.scores.values, np.nan),
        first.groups.astype(np.int64),
        tuple((spec.low, spec.high) for spec in world.specs),
    )
    found = []
    for name in normalizers:
        try:
            rho, covariance, _ = moments(recorded, name, np.ones(len(recorded.names)))
            outcome = train(world, make_normalizer(name), {}, learning_rate=rate, seed=number, options=options)
        except DomainError:
            continue
        for k, spec in enumerate(world.specs):
            start = first.right[spec.name]
            if start < SATURATED:
                learned = outcome.right[spec.name] - start >= LEARNED * (1 - start)
                found.append(Trial(number, name, rate, float(rho[k]), float(covariance[k]), bool(learned)))
    return found


def run(jobs: Sequence[tuple[int, float, tuple[str, ...]]]) -> Iterator[list[Trial]]:
    os.environ.update(arithmetic_pins())
    with multiprocessing.get_context("spawn").Pool() as pool:
        for done, found in enumerate(pool.imap(trials_of, jobs, chunksize=4), start=1):
            print(f"\r{done} of {len(jobs)} worlds", end="", flush=True)
            yield found
    print()


def entry_trials() -> list[Trial]:
    """Each reward of each run of the committed training entries, from its evaluation before training."""

    found = []
    for number, path in enumerate(entry_files(ROOT / "leaderboards" / "training")):
        entry = read_entry(path)
        if entry.sidecar is None or "Mini" not in entry.environment.id:
            continue
        sidecar = read_sidecar(sidecar_path(path, entry.id), entry.sidecar)
        for run_ in sidecar.runs:
            recorded = recorded_evaluation(entry, run_.evaluations[0])
            last = recorded_evaluation(entry, run_.evaluations[-1])
            weights = np.array([entry.normalizer.weights.get(name, 1.0) for name in recorded.names])
            try:
                rho, covariance, level = moments(recorded, entry.normalizer.name, weights)
            except GdpoBenchError as error:  # an estimator that is no more
                print(f"{path.name} {entry.normalizer.name}: {error}")
                break
            lows, highs = recorded.scale
            for k, name in enumerate(recorded.names):
                if level[k] < SATURATED:
                    end = (np.nanmean(last.values[:, k]) - lows[k]) / (highs[k] - lows[k])
                    learned = end - level[k] >= LEARNED * (1 - level[k])
                    label = f"{entry.environment.id.split('/')[1]} {name}"
                    found.append(Trial(number, label, 0.0, float(rho[k]), float(covariance[k]), bool(learned)))
    return found


def fit(trials: Sequence[Trial], chosen: NDArray[np.intp] | None = None) -> Floats:
    """Coefficients of the logistic function, by maximum likelihood with a weak ridge."""

    x = features(np.array([one.covariance for one in trials]))
    y = np.array([one.learned for one in trials], dtype=float)
    if chosen is not None:
        x, y = x[chosen], y[chosen]

    def loss(coefficients: Floats) -> float:
        logit = x @ coefficients
        return float((np.logaddexp(0, logit) - y * logit).mean() + 1e-4 * (coefficients[:-1] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(x.shape[1])).x)


def auc(score: Floats, learned: NDArray[np.bool_]) -> float:
    """Probability that a learned reward's score is above that of one that was not learned."""
    ranks, wins = rankdata(score), int(learned.sum())
    pairs = wins * (len(learned) - wins)
    return float((ranks[learned].sum() - wins * (wins + 1) / 2) / pairs) if pairs else float("nan")


def predicted(trials: Sequence[Trial]) -> tuple[Floats, NDArray[np.bool_]]:
    """Probabilities, and what came of them."""
    probability = fitted_predictor().probability(np.array([one.covariance for one in trials]))
    return probability, np.array([one.learned for one in trials])


def row(title: str, trials: Sequence[Trial]) -> str:
    p, learned = predicted(trials)
    by_rho = auc(np.array([one.rho for one in trials]), learned)
    brier = ((p - learned) ** 2).mean()
    return f"| {title} | {len(p):,} | {learned.mean():.2f} | {auc(p, learned):.3f} | {by_rho:.3f} | {brier:.3f} |"


def calibration(trials: Sequence[Trial]) -> str:
    p, learned = predicted(trials)
    lines = ["| predicted | n | mean prediction | learned |", "|---|---|---|---|"]
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        here = (p >= low) & (p < low + 0.2 + (low == 0.8))
        count = f"{here.sum():,}"
        lines.append(f"| {low:.1f}–{low + 0.2:.1f} | {count} | {p[here].mean():.2f} | {learned[here].mean():.2f} |")
    return "\n".join(lines)


def main() -> None:

    jobs: list[tuple[int, float, tuple[str, ...]]] = []
    for number in range(WORLDS):
        jobs.append((number, FIT_RATE, (*FITTED, *UNSEEN) if number % 2 else FITTED))
    jobs += [(number, rate, FITTED) for rate in OTHER_RATES for number in range(OTHER_WORLDS)]
    trials = [trial for found in run(jobs) for trial in found]
    at_rate = [one for one in trials if one.rate == FIT_RATE]
    seen = [one for one in at_rate if one.normalizer in FITTED]
    training = [one for one in seen if one.world % 2 == 0]
    rng = np.random.default_rng(0)
    worlds = np.array([one.world for one in training])
    by_world = {number: np.flatnonzero(worlds == number) for number in np.unique(worlds)}
    drawn = [
        np.concatenate([by_world[number] for number in rng.choice(list(by_world), len(by_world))]) for _ in range(FOLDS)
    ]
    content = {
        "made_by": "python benchmarks/advice.py",
        "coefficients": [round(float(x), 4) for x in fit(training)],
        "resampled": [[round(float(x), 4) for x in fit(training, chosen)] for chosen in drawn],
    }
    text = json.dumps(content).replace("], [", "],\n[")
    write_atomically(ROOT / "gdpo_bench" / "advice" / "predictor.json", text + "\n")
    fitted_predictor.cache_clear()
    held_out = [one for one in seen if one.world % 2]
    minis = entry_trials()
    unseen = [one for one in at_rate if one.normalizer in UNSEEN]
    parts = {
        "worlds of the fit": training,
        "**other worlds**": held_out,
        "other worlds, normalizers that the fit has not seen": unseen,
        **{f"other worlds, learning rate {x}": [one for one in trials if one.rate == x] for x in OTHER_RATES},
        "committed entries on Minis, from step 0": minis,
        **{f"… {x}": [one for one in minis if one.normalizer == x] for x in sorted({one.normalizer for one in minis})},
    }
    lines = ["| | rewards of runs | learned | AUC | AUC of ρ alone | Brier |", "|---|---|---|---|---|---|"]
    lines += [row(title, part) for title, part in parts.items() if part]
    document = ROOT / "docs" / "advise.md"
    text = document.read_text(encoding="utf-8")
    for name, table in (("auc", "\n".join(lines)), ("calibration", calibration(held_out))):
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        text = head + begin + table + end + rest.partition(end)[2]
    write_atomically(document, text)
    print("\n".join(lines), calibration(held_out), sep="\n\n")


if __name__ == "__main__":
    main()
