"""Plans on a board: none is extended after its results were seen without saying so."""

from __future__ import annotations

from gdpo_bench.leaderboard.files.entries import EntryError
from gdpo_bench.leaderboard.files.schema import Entry
from gdpo_bench.leaderboard.files.store import Board


def check_extension(entry: Entry, board: Board) -> None:
    """Refuse a result whose plan quietly goes on from another one that is on the board already.

    Args:
        entry: About to be filed.
        board: Where.

    Raises:
        EntryError: A current entry of the same configuration belongs to another plan, and this one's plan does not say
            that it extends it, nor does the entry supersede it.
    """
    if entry.plan is None or entry.id in board.entries:
        return
    for other in board.current():
        if other.plan is None or other.plan.hash == entry.plan.hash or other.plan.role != entry.plan.role:
            continue
        said = other.plan.hash in entry.plan.extended or entry.supersedes == other.id
        if _configuration(entry) == _configuration(other) and not said:
            raise EntryError(
                f"Entry {entry.id} goes on from plan {other.plan.hash}, whose result {other.id} is on the board, "
                f"without saying so: run it with `extends: {other.plan.hash}` in the job, or file it with --supersede."
            )


def _configuration(entry: Entry) -> tuple[object, ...]:
    how = entry.normalizer
    asked = (entry.environment.id, entry.environment.options, entry.policy.name)
    return (entry.track, *asked, entry.trained_with(), how.name, how.live_options, how.weights)
