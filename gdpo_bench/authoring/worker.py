"""One of the processes that play probes: `python -m gdpo_bench.authoring.worker SENT OUTPUT`.

Writes JSON lines: first what there is before any reply, then an outcome for each probe.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from gdpo_bench.authoring.probes import Outcome, demonstration_probes, play_alone, reference_probes
from gdpo_bench.core.errors import DeclarationError
from gdpo_bench.core.task import content_hash


def main(sent: str, output: str) -> None:
    """Play probes.

    Args:
        sent: A file with a pickled recipe of the environment, its id, splits, and the probes.
        output: Where to write the lines.
    """
    warnings.simplefilter("ignore")  # our parent tells of them
    make, name, splits, probes = pickle.loads(Path(sent).read_bytes())
    env = make()
    tasks = {split: list(env.tasks(split)) for split in splits}
    before: dict[str, Any] = {f"the tasks of split {split!r}": [t.id for t in found] for split, found in tasks.items()}
    with suppress(DeclarationError):  # the check of references says so
        firsts = [found[0] for found in tasks.values()]
        before["the references"] = [t.replies for t in reference_probes(env, name, firsts)]
    if splits == list(env.splits):  # else data are missing, those of training maybe
        with suppress(DeclarationError):  # the check of demonstrations says so
            before["the demonstrations"] = [(t.task.id, t.replies) for t in demonstration_probes(env, name)]
    with open(output, "x", encoding="ascii") as lines:
        _say({what: content_hash(found) for what, found in before.items()}, lines)
        for probe in probes:
            _say(_comparable(play_alone(env, name, probe)), lines)


def _say(what: dict[str, Any], lines: TextIO) -> None:
    print(json.dumps(what), file=lines, flush=True)  # at once: it shows how far this process came


def _comparable(outcome: Outcome) -> dict[str, Any]:
    """An outcome without texts of errors, in which an address in memory may stand."""
    values = asdict(outcome)
    del values["failures"]
    return values | {"error": bool(outcome.error)}


if __name__ == "__main__":
    main(*sys.argv[1:])
