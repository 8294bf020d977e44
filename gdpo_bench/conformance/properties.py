"""The properties: what each says, why it matters, and how it is checked.

A check gets an implementation and a case, and returns None or what went wrong. Where advantages
are compared they may differ by 1e-4 of the largest, which leaves room for float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement, product

import torch
from hypothesis import strategies as st
from torch import Tensor

from gdpo_bench.advantages import compute_advantages
from gdpo_bench.conformance.cases import EPSILON, GRID, POSITIVE, TOLERANCE, Case, batches, without_one, without_rollout
from gdpo_bench.conformance.implementation import Implementation

Check = Callable[[Implementation, Case], str | None]


@dataclass(frozen=True)
class Property:
    """Something that an estimator of advantages may or may not have."""

    id: str
    says: str
    why: str
    cases: st.SearchStrategy[Case]
    check: Check
    rare: tuple[Case, ...] = ()
    """Cases that a short search would hardly meet, tried after it."""


PROPERTIES: dict[str, Property] = {}
"""All properties by id, in the order of reports."""


def _property(id: str, says: str, why: str, cases: st.SearchStrategy[Case], *rare: Case) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        PROPERTIES[id] = Property(id, says, why, cases, check, rare)
        return check

    return add


def _show(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values.tolist()) + "]"


def _size(*values: Tensor) -> float:
    """The largest advantage, what differences are compared with."""
    return max(1e-12, *(value.abs().max().item() for value in values))


def _differ(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> str | None:
    found, expected = found.double(), expected.double()
    if bool((found - expected).abs().max() <= tolerance * _size(found, expected)):
        return None
    return f"expected {_show(expected)}, got {_show(found)}"


def _differ_beyond_whitening(alone: Tensor, within: Tensor, whole: Tensor) -> str | None:
    """Compare up to a shift and a positive scale: all that whitening by the batch may change."""
    centred, expected = within.double() - within.double().mean(), alone.double() - alone.double().mean()
    flat = bool(centred.abs().max() <= TOLERANCE * _size(whole))
    if bool(expected.abs().max() <= TOLERANCE * _size(alone)) or flat:
        agree = flat and bool(expected.abs().max() <= TOLERANCE * max(1.0, _size(alone)))
    else:
        slope = (centred @ expected) / (expected @ expected)
        agree = bool(slope > 0) and bool((centred - slope * expected).abs().max() <= 10 * TOLERANCE * _size(whole))
    return None if agree else f"alone {_show(alone)}, within the batch {_show(within)}"


def _members(case: Case) -> list[list[int]]:
    return [[i for i, group in enumerate(case.groups) if group == wanted] for wanted in dict.fromkeys(case.groups)]


def _least_spread(case: Case) -> float:
    """The smallest standard deviation, other than 0, of any reward or sum within any group."""
    rewards = case.tensor.double()
    columns = torch.cat([rewards, (rewards @ torch.tensor(case.weights, dtype=torch.float64))[:, None]], dim=1)
    spreads = torch.cat([columns[rows].std(dim=0) for rows in _members(case)])
    return min((value for value in spreads.tolist() if value > 1e-9), default=1.0)


# How rollouts are ordered, grouped and distributed


@_property(
    "rollout-order",
    "Reordering the rollouts reorders the advantages.",
    "Rollouts come back in the order in which they finish, not in that of their groups.",
    batches(weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    order = list(range(len(case.groups)))
    order = order[1::2] + order[::2][::-1]
    return _differ(run(case.rows(order)), run(case)[order])


@_property(
    "group-labels",
    "Renaming the groups changes nothing.",
    "Ids are hashes or counters; an id must carry no meaning.",
    batches(weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    return _differ(run(replace(case, groups=[17 - 5 * group for group in case.groups])), run(case))


@_property(
    "chunks",
    "Groups computed by shards agree with the whole batch, up to the shift and scale of batch whitening.",
    "Workers see shards; with the batch's mean and spread handed to them they must find the same.",
    batches(groups=(2, 3), weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    whole, members = run(case), _members(case)
    for rows in (members[0], [i for others in members[1:] for i in others]):
        problem = _differ_beyond_whitening(run(case.rows(rows)), whole[rows], whole)
        if problem:
            return problem
    return None


@_property(
    "uneven-groups",
    "Groups of different sizes each agree with the group alone, up to the shift and scale of batch whitening.",
    "Filters, time-outs and multi-turn episodes leave groups uneven.",
    batches(groups=(2, 3), even=False, weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    whole = run(case)
    for rows in _members(case):
        problem = _differ_beyond_whitening(run(case.rows(rows)), whole[rows], whole)
        if problem:
            return problem
    return None


@_property(
    "group-of-one",
    "The only rollout of a group gets exactly 0.",
    "There is nothing to compare it with.",
    batches(groups=(2, 3), even=False, sizes=(1, 3)),
)
def _(run: Implementation, case: Case) -> str | None:
    alone = [rows[0] for rows in _members(case) if len(rows) == 1]
    if not alone or bool((run(case)[alone] == 0).all()):
        return None
    return f"rollouts {alone} are alone in their groups and got {_show(run(case)[alone])}"


@_property(
    "single-group",
    "In a batch of one group, a rollout that is better in every reward than another is told from it.",
    "Small batches and the last batch of an epoch must not lose their signal.",
    batches(groups=(1, 1), weights=POSITIVE),
)
def _(run: Implementation, case: Case) -> str | None:
    found, rewards = run(case), case.tensor
    for i, j in product(range(len(rewards)), repeat=2):
        if bool((rewards[i] > rewards[j]).all()) and not found[i] > found[j] + TOLERANCE * _size(found):
            return f"rollout {i} beats rollout {j} in every reward; advantages {_show(found)}"
    return None


# What may be done to rewards and weights


@_property(
    "shift",
    "Adding a constant to a reward, everywhere, changes nothing.",
    "Only differences between rollouts can teach; where zero lies is the author's taste.",
    batches(weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    shifted = case.tensor + torch.arange(1, case.k + 1, dtype=case.dtype)
    return _differ(run(case.with_rewards(shifted)), run(case), TOLERANCE + 10 * EPSILON * EPSILON)


@_property(
    "scale-common",
    "Multiplying all rewards by 4 changes nothing, up to what ε ≤ 1e-4 allows (10 ε / σ).",
    "The step size would otherwise depend on the unit of the reward.",
    batches(weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    bound = TOLERANCE + 10 * EPSILON / _least_spread(case)
    return _differ(run(case.with_rewards(case.tensor * 4)), run(case), bound)


@_property(
    "scale-per-reward",
    "Multiplying one reward (and its declared range) by 4 changes nothing, up to what ε ≤ 1e-4 allows (10 ε / σ).",
    "Otherwise the reward with the widest range decides, and the others are noise.",
    batches(k=(2, 3), weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    factors = torch.tensor([4.0] + [1.0] * (case.k - 1), dtype=case.dtype)
    highs = tuple(spec.high * factor for spec, factor in zip(case.specs, factors.tolist(), strict=True))
    bound = TOLERANCE + 10 * EPSILON / _least_spread(case)
    return _differ(run(replace(case, highs=highs).with_rewards(case.tensor * factors)), run(case), bound)


@_property(
    "reward-order",
    "Permuting rewards together with their weights changes nothing.",
    "The order of columns is an accident of the code.",
    batches(k=(2, 3), weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    turned = replace(case, weights=case.weights[::-1], highs=tuple(spec.high for spec in case.specs)[::-1])
    return _differ(run(turned.with_rewards(case.tensor.flip(1))), run(case))


@_property(
    "weights-by-name",
    "Weights given by name, in any order, reach the rewards of those names.",
    "By position or by key order, a reordered reward silently takes another one's weight.",
    batches(k=(2, 3), weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    return _differ(run(replace(case, by_name=True)), run(case), 0.0)


@_property(
    "magnitude",
    "Giving every reward twice leaves the size of advantages (root mean square) as it was.",
    "The effective learning rate would otherwise grow with the number of rewards.",
    batches(weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    twice = replace(case, weights=case.weights * 2, highs=tuple(spec.high for spec in case.specs) * 2)
    found = run(twice.with_rewards(case.tensor.repeat(1, 2))).double().square().mean().sqrt()
    expected = run(case).double().square().mean().sqrt()
    bound = TOLERANCE + 10 * EPSILON / _least_spread(case)
    if abs(found - expected) <= bound * max(found, expected):
        return None
    return f"root mean square {expected:.4g} with each reward once, {found:.4g} with each twice"


# What advantages say


@_property(
    "dominance",
    "A rollout that is nowhere worse than another of its group gets no smaller advantage (weights positive).",
    "Otherwise the policy is pushed towards what every reward calls worse.",
    batches(weights=POSITIVE, lengths=True),
    Case([[0.0, 2.0], [3.0, 0.25], [3.0, 0.25], [0.25, 3.0], [2.0, 0.25]], [0] * 5, [1.0, 1.0], [10] * 5),
)
def _(run: Implementation, case: Case) -> str | None:
    found, rewards = run(case), case.tensor
    for rows in _members(case):
        for i, j in product(rows, repeat=2):
            if bool((rewards[i] >= rewards[j]).all()) and found[i] < found[j] - TOLERANCE * _size(found):
                return f"rollout {i} is nowhere worse than rollout {j}; advantages {_show(found)}"
    return None


@_property(
    "group-mean-zero",
    "The advantages of a group add up to 0.",
    "The baseline then costs no bias, and a prompt's rollouts are weighed against each other only.",
    batches(weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    for rows in _members(case):
        if found[rows].double().mean().abs() > TOLERANCE * _size(found):
            return f"group of rollouts {rows} has mean {found[rows].mean():.4g}; advantages {_show(found)}"
    return None


_NON_DYADIC = st.sampled_from((0.9, 0.1, 1 / 3, 0.7, 2.2))


@st.composite
def _constant_first_group(draw: st.DrawFn) -> Case:
    case = draw(batches(groups=(2, 3), sizes=(2, 9), lengths=True, dtypes=(torch.float64, torch.float32)))
    vector = draw(st.lists(_NON_DYADIC, min_size=case.k, max_size=case.k))
    rows = _members(case)[0]
    return replace(case, rewards=[vector if i in rows else row for i, row in enumerate(case.rewards)])


@_property(
    "equal-rewards",
    "A group whose rewards are all equal gets exactly 0, also for constants like 0.9 and in float32.",
    "Rounding noise divided by a tiny ε is as large as a signal, and always points the same way.",
    _constant_first_group(),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)[_members(case)[0]]
    return None if bool((found == 0).all()) else f"the first group is constant and got {_show(found)}"


@_property(
    "constant-sum",
    "Two rewards of equal weight with a constant sum cancel: all advantages are 0 (below 1e-6).",
    "There is no net preference; what remains is amplified noise. (That holds for GDPO, too.)",
    batches(k=(1, 1), sizes=(2, 6)).map(
        lambda case: replace(
            case, rewards=[[row[0], 3 - row[0]] for row in case.rewards], weights=[1.0, 1.0], highs=(3.0, 3.0)
        )
    ),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    return None if bool((found.abs() <= 1e-6).all()) else f"advantages {_show(found)}"


LARGEST = 100.0
"""An advantage beyond this, of rewards up to 3, is no comparison of rollouts."""


def _traded_off(case: Case, slope: float, weight: float) -> Case:
    """The second reward falls by `slope` where the first one rises."""
    rewards = [[row[0], slope * (3 - row[0])] for row in case.rewards]
    return replace(case, rewards=rewards, weights=[1.0, weight], highs=(3.0, 3.0))


@_property(
    "bounded-trade-off",
    "Two rewards of which one falls where the other rises give no advantage beyond 100, if both lie between 0 and 3.",
    "A single rollout would otherwise outweigh all others of a run.",
    st.builds(_traded_off, batches(k=(1, 1), sizes=(2, 5)), st.sampled_from((1.0, 0.5, 0.25)), POSITIVE),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    # The negation, so that NaN is beyond any bound.
    return None if bool((found.abs() <= LARGEST).all()) else f"advantages {_show(found)}"


@st.composite
def _one_odd(draw: st.DrawFn) -> Case:
    case = draw(batches(groups=(1, 1), sizes=(3, 9), dtypes=(torch.float64, torch.float32)))
    vector = draw(st.lists(st.sampled_from((0.35, 0.9, 1.0, 2.2)), min_size=case.k, max_size=case.k))
    return replace(case, rewards=[case.rewards[0], *[vector] * (len(case.groups) - 1)])


@_property(
    "bounded-odd-one-out",
    "A rollout beside equal fellows gives no advantage beyond 100, also for constants like 0.35 and in float32.",
    "The spread of equal fellows is rounding noise: who divides by it lets one rollout end a run.",
    _one_odd(),
    Case([[0.0]] + [[0.35]] * 7, [0] * 8, [1.0], [10] * 8, dtype=torch.float32),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    return None if bool((found.abs() <= LARGEST).all()) else f"advantages {_show(found)}"


_SCALE = 1000.0


@_property(
    "scale-cannot-silence",
    "Two rollouts that differ in one reward only keep a tenth of their distance (beside the largest advantage) when "
    "another reward and its declared range grow a thousandfold.",
    "A reward in another unit must not switch off the others.",
    batches(k=(2, 2), groups=(1, 1)).filter(lambda case: len({row[1] for row in case.rewards}) > 1),
)
def _(run: Implementation, case: Case) -> str | None:
    grown = replace(case, highs=(3.0, 6.0 * _SCALE)).with_rewards(case.tensor * torch.tensor([1.0, _SCALE]))
    plain, scaled = run(case), run(grown)
    for i, j in combinations(range(len(case.groups)), 2):
        if case.rewards[i][1] == case.rewards[j][1]:
            before, after = ((one[i] - one[j]).abs().item() / _size(one) for one in (plain, scaled))
            if before > 0.1 and after < before / 10:
                return f"rollouts {i} and {j} differ in reward 0: {_show(plain)} becomes {_show(scaled)}"
    return None


@_property(
    "single-reward",
    "With a single reward the advantages are GRPO's, up to one positive factor.",
    "A multi-reward estimator should mean the known thing where there is one reward.",
    batches(k=(1, 1), lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    found, grpo = run(case).double(), compute_advantages("grpo", case.tensor, case.groups).double()
    factor = 1.0 if grpo.abs().max() == 0 else max(0.0, ((found @ grpo) / (grpo @ grpo)).item())
    bound = TOLERANCE + 10 * EPSILON / _least_spread(case)
    if bool((found - factor * grpo).abs().max() <= bound * _size(found)) and (factor > 0 or grpo.abs().max() == 0):
        return None
    return f"GRPO gives {_show(grpo)}, got {_show(found)}"


@_property(
    "length",
    "Token counts have no influence.",
    "A prompt's signal would otherwise depend on how long the other rollouts of the batch are.",
    batches(weights=POSITIVE, lengths=True),
)
def _(run: Implementation, case: Case) -> str | None:
    return _differ(run(case), run(replace(case, lengths=[10] * len(case.groups))))


_KINDS = {2: 3, 3: 6, 4: 14}
"""How many kinds of advantages GDPO has for groups of a size."""


def _figure_3(size: int) -> Case:
    vectors = list(product((0.0, 1.0), repeat=2))
    groups = list(combinations_with_replacement(vectors, size))
    rewards = [list(vector) for group in groups for vector in group]
    ids = [index for index in range(len(groups)) for _ in range(size)]
    return Case(rewards, ids, [1.0, 1.0], [10] * len(ids), highs=(1.0, 1.0))


def _kinds(advantages: Tensor, size: int) -> list[tuple[float, ...]]:
    """Each group's sorted advantages, rounded."""
    levels = (advantages.double().reshape(-1, size).sort(dim=1).values * 1e4).round()
    return [tuple(group) for group in levels.tolist()]


@_property(
    "figure-3",
    "Of all groups of 2, 3 or 4 with 2 binary rewards, at least 3, 6 or 14 kinds of advantages are told apart "
    "(GDPO paper, Figure 3).",
    "Fewer means that different reward vectors collapse into the same advantages.",
    st.sampled_from([_figure_3(size) for size in _KINDS]),
)
def _(run: Implementation, case: Case) -> str | None:
    size = case.groups.count(0)
    found = _kinds(run(case), size)
    if len(set(found)) >= _KINDS[size]:
        return None
    gdpo = _kinds(compute_advantages("gdpo_no_bn", case.tensor, case.groups), size)
    pairs = combinations(range(len(found)), 2)
    i, j = next((i, j) for i, j in pairs if found[i] == found[j] and gdpo[i] != gdpo[j])
    first, second = (case.rewards[group * size : (group + 1) * size] for group in (i, j))
    return f"{len(set(found))} kinds; the same for the groups {first} and {second}"


# Rewards that are not there


@_property(
    "absence-is-local",
    "A missing or failed reward changes the advantages of its own group only.",
    "One broken scorer must not move the rest of the batch. (Whitening by the batch spreads it.)",
    batches(groups=(2, 3), weights=POSITIVE, lengths=True).flatmap(without_one),
)
def _(run: Implementation, case: Case) -> str | None:
    others = [i for rows in _members(case)[1:] for i in rows]
    return _differ(run(case)[others], run(replace(case, applicable=None, failed=None))[others])


@_property(
    "absence-is-not-worst",
    "A rollout that lacks a reward is not put below all that have it, if nothing else distinguishes them.",
    "Not applicable is not zero: a reward of 0 would be the worst of all here.",
    batches(groups=(1, 1), sizes=(3, 5), k=(2, 2), values=st.sampled_from((1.0, 2.0, 3.0)), lengths=True)
    .map(lambda case: replace(case, rewards=[[row[0], 1.0] for row in case.rewards]))
    .flatmap(without_one),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    if found[0] >= found[1:].min() - TOLERANCE * _size(found):
        return None
    return f"rollout 0 lacks reward 0; advantages {_show(found)}"


@_property(
    "no-reward",
    "A rollout without any reward gets exactly 0.",
    "Nothing is known of it.",
    batches(weights=POSITIVE, lengths=True).flatmap(without_rollout),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    return None if found[0] == 0 else f"rollout 0 has no reward; advantages {_show(found)}"


@_property(
    "no-reward-no-influence",
    "A rollout without any reward leaves the others' advantages as if it were not there.",
    "A broken sample must not shift its group's baseline.",
    batches(weights=POSITIVE, lengths=True, sizes=(3, 4)).flatmap(without_rollout),
)
def _(run: Implementation, case: Case) -> str | None:
    others = list(range(1, len(case.groups)))
    there = replace(case.rows(others), applicable=None, failed=None)
    return _differ(run(case)[others], run(there))


# Numbers


@_property(
    "finite",
    "Finite rewards up to 1e30 give finite advantages.",
    "One NaN ends a training run.",
    batches(
        values=st.one_of(st.floats(0, 1e30), st.floats(-1e30, 1e30)),
        sizes=(1, 4),
        even=False,
        lengths=True,
        dtypes=(torch.float64, torch.float32),
    ),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    return None if bool(found.isfinite().all()) else f"advantages {_show(found)}"


@_property(
    "dtype-and-device",
    "Advantages come in the rewards' dtype and on their device.",
    "A silent float32 loses what float64 rewards had; a silent copy to the CPU stalls a GPU.",
    batches(dtypes=(torch.float64, torch.float32, torch.bfloat16), values=st.sampled_from(GRID)),
)
def _(run: Implementation, case: Case) -> str | None:
    found = run(case)
    if (found.dtype, found.device) == (case.dtype, case.tensor.device):
        return None
    return f"{case.dtype} on {case.tensor.device} became {found.dtype} on {found.device}"
