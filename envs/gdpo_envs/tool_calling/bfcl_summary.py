"""The single-turn figures of the Berkeley Function-Calling Leaderboard, from replies in a file.

    python -m gdpo_envs.tool_calling.bfcl_summary replies.jsonl --data-dir data

The file is the one that `--policy replay:FILE` reads: lines `{"task_id": "…", "replies": ["…"]}`, here of all
`gdpo/BFCL3…` environments together; `case`, BFCL's own id, will do for `task_id`. Several replies to a task
count with their mean. Without a file the reference replies are scored, which shows what can be reached.

Figures have the names that `generate_leaderboard_csv` gives them (`eval_runner_helper.py` of
github.com/ShishirPatil/gorilla at cd9429cc): non-live ones are means of categories, live ones of questions. "Overall
Acc" is not among them: it also needs the multi-turn categories.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gdpo_bench.core import DataError, GdpoBenchError
from gdpo_envs.tool_calling.bfcl import (
    BFCL3,
    BFCL3Irrelevance,
    BFCL3Live,
    BFCL3Multiple,
    BFCL3Parallel,
    BFCL3ParallelMultiple,
    BFCL3Simple,
    BFCLTask,
)

ENVIRONMENTS: tuple[type[BFCL3], ...] = (
    BFCL3Simple,
    BFCL3Multiple,
    BFCL3Parallel,
    BFCL3ParallelMultiple,
    BFCL3Irrelevance,
    BFCL3Live,
)
_LIVE_AST = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
_NON_LIVE_AST = (
    "Non-Live Simple AST",
    "Non-Live Multiple AST",
    "Non-Live Parallel AST",
    "Non-Live Parallel Multiple AST",
)
MEANS_OF_CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "Non-Live Simple AST": BFCL3Simple.categories,
    "Non-Live Multiple AST": BFCL3Multiple.categories,
    "Non-Live Parallel AST": BFCL3Parallel.categories,
    "Non-Live Parallel Multiple AST": BFCL3ParallelMultiple.categories,
    "Non-Live AST Acc": _NON_LIVE_AST,
    "Non-Live Overall Acc": (*_NON_LIVE_AST, "irrelevance"),
    "Live Simple AST": ("live_simple",),
    "Live Multiple AST": ("live_multiple",),
    "Live Parallel AST": ("live_parallel",),
    "Live Parallel Multiple AST": ("live_parallel_multiple",),
    "Relevance Detection": ("live_relevance",),
    "Irrelevance Detection": ("irrelevance", "live_irrelevance"),
}
"""Figure → the categories, or figures above it, that it is the unweighted mean of."""
MEANS_OF_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "Live AST Summary": _LIVE_AST,
    "Live Acc": (*_LIVE_AST, "live_irrelevance", "live_relevance"),
}
"""Figure → the categories that it is the mean of, each weighted by its number of questions."""


def summarize(right: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """BFCL's figures.

    Args:
        right: Category → for each of its questions, the share of right replies, in [0, 1].

    Returns:
        Name → accuracy in [0, 1]: each category under BFCL's name, then the figures whose categories are all there.
    """
    figures = {category: sum(shares) / len(shares) for category, shares in right.items()}
    for name, parts in MEANS_OF_CATEGORIES.items():
        if all(part in figures for part in parts):
            figures[name] = sum(figures[part] for part in parts) / len(parts)
    for name, parts in MEANS_OF_QUESTIONS.items():
        if all(part in figures for part in parts):
            shares = [share for part in parts for share in right[part]]
            figures[name] = sum(shares) / len(shares)
    return figures


def score_replies(replies: Mapping[str, Sequence[str]] | None, data_dir: str | None = None) -> dict[str, list[float]]:
    """Score replies to the questions of all categories.

    Args:
        replies: Task id, or BFCL's own id, → replies; None for the reference replies.
        data_dir: As for the environments.

    Returns:
        What `summarize` takes, of the categories that have a reply to every question. A question
        without reference reply counts as wrong, as it does for everybody.

    Raises:
        DataError: The data are not as expected, or no category has a reply to all of its questions.
    """
    right: dict[str, list[float]] = {}
    gaps: dict[str, int] = {}
    for cls in ENVIRONMENTS:
        env = cls(data_dir=data_dir)
        for task in env.tasks("eval"):
            given = _given(env, task, replies)
            if given:
                share = sum(env.correct(task, reply) for reply in given) / len(given)
                right.setdefault(task.category, []).append(share)
            else:
                gaps[task.category] = gaps.get(task.category, 0) + 1
    complete = {category: shares for category, shares in right.items() if category not in gaps}
    for category in sorted(right.keys() & gaps.keys()):
        print(f"Left out {category}: {gaps[category]} of its questions have no reply.", file=sys.stderr)
    if not complete:
        raise DataError("No category of BFCL has a reply to all of its questions; 'task_id' must be a task's id.")
    return complete


def _given(env: BFCL3, task: BFCLTask, replies: Mapping[str, Sequence[str]] | None) -> Sequence[str]:
    if replies is None:
        return [env.reference(task) or ""]
    return replies.get(task.id) or replies.get(task.case) or ()


def read_replies(lines: Iterable[str], where: str) -> dict[str, list[str]]:
    """Replies by task id, or by BFCL's own id.

    Args:
        lines: JSON objects with `task_id` or `case`, and `replies`; blank ones are passed over.
        where: Their file, for messages.

    Raises:
        DataError: A line is of another form.
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            key, texts = content.get("task_id", content.get("case")), content["replies"]
            well_formed = (
                isinstance(key, str) and isinstance(texts, list) and all(isinstance(text, str) for text in texts)
            )
        except (ValueError, KeyError, AttributeError, RecursionError):
            well_formed = False
        if not well_formed:
            raise DataError(
                f"{where}, line {number}: expected a JSON object with 'task_id' or 'case', a text, and 'replies', "
                f"a list of texts; got {line.strip():.60}"
            )
        found.setdefault(key, []).extend(texts)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gdpo_envs.tool_calling.bfcl_summary", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("replies", nargs="?", help="JSON lines; without it the reference replies are scored")
    parser.add_argument("--data-dir", help="folder with bfcl_v3/; GDPO_BENCH_DATA or the published files when absent")
    options = parser.parse_args(arguments)
    try:
        replies = None
        if options.replies is not None:
            with Path(options.replies).open(encoding="utf-8") as lines:
                replies = read_replies(lines, options.replies)
        right = score_replies(replies, options.data_dir)
    except (GdpoBenchError, OSError, UnicodeDecodeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    for name, accuracy in summarize(right).items():
        questions = f"  of {len(right[name])}" if name in right else ""
        print(f"{name:<32}{accuracy:8.2%}{questions}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
