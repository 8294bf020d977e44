"""Entries that go on with others: a plan may extend another by more seeds, and tables show the two as one.

Both stay on the board as they were filed, each with its own provenance. Shown as two rows they would halve the number
of units that there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gdpo_bench.core.task import canonical_json
from gdpo_bench.leaderboard.compare.alike import WARM_STARTS, agree, like, warm_starts
from gdpo_bench.leaderboard.files.schema import Entry, seed_order


def with_extensions(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with the results of those that go on with them, which are left out.

    Args:
        entries: In any order.

    Returns:
        In the same order. An entry that another goes on with keeps its id, plan and provenance.
    """
    return joined(entries, extensions(entries))


def joined(entries: Sequence[Entry], more: Mapping[str, Sequence[Entry]]) -> list[Entry]:
    """The same where `extensions` of the entries are known.

    Args:
        entries: In any order.
        more: What `extensions` found.
    """
    inside = {other.id for others in more.values() for other in others}
    return [_joined(entry, more.get(entry.id, ())) for entry in entries if entry.id not in inside]


def extensions(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Id of an entry → those that go on with it, the oldest first.

    An entry goes on with another if its plan `extends` the other's, both were measured on test seeds, and nothing is
    unlike but the seeds, of which none is in both. It may go on with one that goes on with a third.

    Args:
        entries: In any order.
    """
    by_plan: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: (entry.provenance.date, entry.id)):
        if entry.plan is not None and entry.plan.role == "test":
            by_plan[entry.plan.hash].append(entry)
    extending = [one for some in by_plan.values() for one in some if one.plan and one.plan.extended & by_plan.keys()]
    found: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(extending, key=lambda entry: (entry.provenance.date, entry.id)):
        first = _first(entry, by_plan)
        known = [first, *found.get(first.id, ())]
        seeds = {result.seed for one in known for result in one.results}
        fits = all(agree(warm_starts(one), warm_starts(entry)) for one in known)
        if first is not entry and fits and seeds.isdisjoint(result.seed for result in entry.results):
            found[first.id].append(entry)
    return dict(found)


def _first(entry: Entry, by_plan: Mapping[str, Sequence[Entry]]) -> Entry:
    """What it goes on with, directly or by way of others; itself if with nothing. Hashes allow no circle of plans."""
    own = _configuration(entry)
    while entry.plan is not None:
        named = [one for plan in sorted(entry.plan.extended) for one in by_plan.get(plan, ())]
        base = next((one for one in named if _configuration(one) == own), None)
        if base is None:
            break
        entry = base
    return entry


def _configuration(entry: Entry) -> str:
    how = entry.normalizer
    return canonical_json([like(entry), how.name, how.live_options, how.weights])


def _joined(entry: Entry, more: Sequence[Entry]) -> Entry:
    if not more:
        return entry
    results = sorted((one for part in (entry, *more) for one in part.results), key=lambda one: seed_order(one.seed))
    update: dict[str, object] = {"results": results}
    if imitated := {seed: corpus for part in (entry, *more) for seed, corpus in warm_starts(part).items()}:
        details = entry.policy.details | {WARM_STARTS: imitated}
        update["policy"] = entry.policy.model_copy(update={"details": details})
    return entry.model_copy(update=update)
