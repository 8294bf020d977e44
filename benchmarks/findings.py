"""The tables and the picture of docs/findings.md, from the leaderboard's entries.

    python benchmarks/findings.py --markdown docs/findings.md     # writes them, and images/answers.png beside it
    python benchmarks/findings.py --markdown docs/findings.md --check

Bundled jobs made the entries: `answers`, `answers-published` and `answers-more` those of tool calling,
`published-minis` those of the two other `-v1` Minis, `bits` those of designed rewards, `real-small` those of a real
model (see the files of these names), `normalizers` and one for each sweep those of the `-v0` Minis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import answers
import answers_picture
import bits
import published
import published_minis
import real_model
from tables import Cell, absolute, against, filled, markdown, only, table

from gdpo_bench.advantages.collapse import count_kinds
from gdpo_bench.agent.options import TrainingOptions
from gdpo_bench.core.files import write_atomically
from gdpo_bench.leaderboard.compare.board import changed_weights
from gdpo_bench.leaderboard.compare.tuning import tested
from gdpo_bench.leaderboard.files.all_right import completed_from
from gdpo_bench.leaderboard.files.schema import ALL_RIGHT, Entry
from gdpo_bench.leaderboard.files.store import ROOT, Board

TOOL, MATH, CODE = "gdpo/ToolCallingMini-v0", "gdpo/MathMini-v0", "gdpo/CodingMini-v0"
SYLLOGISM = "reasoning_gym:syllogism"
RARE = {"format_rate": 0.04}
MAIN = (
    (TOOL, RARE, (ALL_RIGHT, "format", "correctness")),
    (MATH, {}, (ALL_RIGHT, "correct", "length", "format", "integer")),
    (CODE, {}, (ALL_RIGHT, "pass_rate", "length", "no_bug")),
)
NORMALIZERS = (
    *("gdpo", "gdpo_no_bn", "gd2po", "gd2po_hard", "dgdo", "grpo_scaled", "grpo_no_std", "grpo_batch_std", "rloo"),
    *("reinforce_pp", "reinforce_pp_baseline", "opo", "maxrl", "pass_at_k"),
)
_DEFAULTS = TrainingOptions().model_dump(mode="json")


class Results:
    """Current entries of the training track, found by what departs from the main job."""

    def __init__(self, root: Path) -> None:
        """Read a board.

        Args:
            root: Its folder.
        """
        of_training = [completed_from(entry, root) for entry in Board.read(root).current() if entry.track == "training"]
        self.entries = [entry for entry in of_training if entry.policy.name == "mini"]
        self.of_real_models = [entry for entry in of_training if entry.policy.name != "mini"]

    def find(
        self,
        env: str,
        normalizer: str,
        options: Mapping[str, Any] = {},
        weights: Mapping[str, float] = {},
        *,
        training: Mapping[str, Any] = {},
        imitated: Mapping[str, Any] = RARE,
    ) -> Entry | None:
        """The entry, or None; weights and training options that are not named are as declared and by default.

        `imitated` are the options of tool calling in the warm start, which the whole job decides.
        """

        def fits(entry: Entry) -> bool:
            own = entry.training or {}
            return (
                (entry.environment.id, entry.normalizer.name) == (env, normalizer)
                and entry.environment.options == options
                and changed_weights(entry) == weights
                and {"id": TOOL, "options": imitated} in entry.policy.details["warm_start_envs"]
                and {name: value for name, value in own.items() if value != _DEFAULTS.get(name)} == training
            )

        return only([entry for entry in tested(self.entries) if fits(entry)], f"{normalizer} on {env}")


def normalizers(results: Results) -> str:
    """Every normalizer against GRPO on every Mini environment."""
    header = ["", *(f"{env[5:-7]} {name}" for env, _, names in MAIN for name in names)]
    base = {env: results.find(env, "grpo", options) for env, options, _ in MAIN}
    rows = [("`grpo`", [cell for env, _, names in MAIN for cell in absolute(base[env], names)])]
    for normalizer in NORMALIZERS:
        cells = [
            cell
            for env, options, names in MAIN
            for cell in against(results.find(env, normalizer, options), base[env], names)
        ]
        rows.append((f"`{normalizer}`", cells))
    return table(header, rows)


def scale(results: Results) -> str:
    """GRPO with format weighed more and more, and what GDPO has over it."""
    names = ("format", "correctness")
    gdpo = results.find(TOOL, "gdpo", RARE)
    rows = []
    for weight in (0.5, 1.0, 2.0, 4.0, 6.0, 12.0):
        grpo = results.find(TOOL, "grpo", RARE, {} if weight == 1 else {"format": weight})
        rows.append((f"{weight:g} : {6 / weight:g}", [*absolute(grpo, names), *against(gdpo, grpo, names)]))
    header = ["format's weight : ratio of ranges", "GRPO format", "GRPO correctness"]
    return table([*header, "GDPO − GRPO, format", "correctness"], rows)


def rarity(results: Results) -> str:
    """How rare format is in the warm start."""
    names = ("format", "correctness")
    rows = []
    for rate in (0.01, 0.04, 0.1, 0.4):
        grpo, scaled, gdpo = (
            results.find(TOOL, n, {"format_rate": rate}, imitated={"format_rate": rate})
            for n in ("grpo", "grpo_scaled", "gdpo")
        )
        cells = [*absolute(grpo, names[:1]), *against(gdpo, grpo, names), *against(gdpo, scaled, names)]
        rows.append((f"{rate:g}", cells))
    header = ["share of demonstrations", "GRPO format", "GDPO − GRPO, format", "correctness"]
    return table([*header, "GDPO − scaled GRPO, format", "correctness"], rows)


def gates(results: Results) -> str:
    """Brevity that matters less: by weight, or by condition."""
    names = ("accuracy", "exceed_ratio")
    settings: list[tuple[str, dict[str, Any], dict[str, float]]] = [
        ("as it is", {}, {}),
        ("weight 0.5", {}, {"length": 0.5}),
        ("weight 0.1", {}, {"length": 0.1}),
        ("only if correct", {"conditioned": True}, {}),
        ("only if correct, weight 0.5", {"conditioned": True}, {"length": 0.5}),
        ("only if correct, weight 0.1", {"conditioned": True}, {"length": 0.1}),
    ]
    rows = []
    for label, options, weights in settings:
        cells: list[Cell] = []
        for normalizer in ("grpo", "gdpo"):
            plain, own = (results.find(MATH, normalizer, *changes, imitated={}) for changes in ((), (options, weights)))
            cells += absolute(own, names) if own is plain else against(own, plain, names)
        rows.append((label, cells))
    return table(["length counts", "GRPO accuracy", "exceed ratio", "GDPO accuracy", "exceed ratio"], rows)


def group_size(results: Results) -> str:
    """128 rollouts a step in groups of 2 to 32."""
    parts = []
    for env, options, (_, *names) in MAIN[:2]:
        rows = []
        for size in (2, 4, 8, 16, 32):
            training = {} if size == 8 else {"group_size": size, "prompts": 128 // size}
            grpo, gdpo = (results.find(env, n, options, training=training) for n in ("grpo", "gdpo"))
            rows.append((str(size), [*absolute(grpo, names[:2]), *against(gdpo, grpo, names[:2])]))
        header = [f"{env[5:-3]}, G", *(f"GRPO {name}" for name in names[:2])]
        parts.append(table([*header, *(f"GDPO − GRPO, {name}" for name in names[:2])], rows))
    return "\n\n".join(parts)


def rewards(results: Results) -> str:
    """Sums with one to four of their rewards trained."""
    names = ("correct", "length", "format", "integer")
    rows = []
    for count in range(1, 5):
        weights = dict.fromkeys(names[count:], 0.0)
        grpo, gdpo = (results.find(MATH, n, weights=weights, imitated={}) for n in ("grpo", "gdpo"))
        rows.append((str(count), [*absolute(grpo, names), *against(gdpo, grpo, names)]))
    header = ["rewards", *(f"GRPO {name}" for name in names)]
    return table([*header, *(f"GDPO − GRPO, {name}" for name in names)], rows)


def syllogism(results: Results) -> str:
    """A task of reasoning-gym, whose rewards all lie between 0 and 1."""
    names = (ALL_RIGHT, "correct", "format", "length")
    own = [entry for entry in tested(results.entries) if entry.environment.id == SYLLOGISM]
    grpo, gdpo = (
        only([entry for entry in own if entry.normalizer.name == name], f"{name} on {SYLLOGISM}")
        for name in ("grpo", "gdpo")
    )
    rows = [("`grpo`", absolute(grpo, names)), ("`gdpo` − `grpo`", against(gdpo, grpo, names))]
    return table(["", *names], rows)


def figure_3(results: Results) -> str:
    """Kinds of groups that are told apart."""
    kept = ("grpo", "grpo_no_std", "gdpo_no_bn")
    points = [(size, 2) for size in range(2, 9)] + [(4, n) for n in (3, 4)]
    rows = [[f"{size}, {n}", *(str(count_kinds(normalizer, size, n)) for normalizer in kept)] for size, n in points]
    return markdown(["G, rewards", "GRPO", "GRPO without std", "GDPO"], rows)


SECTIONS = {
    "normalizers": normalizers,
    "scale": scale,
    "rarity": rarity,
    "gates": gates,
    "group size": group_size,
    "rewards": rewards,
    "figure 3": figure_3,
    "syllogism": syllogism,
    "bits": lambda results: bits.corners(results.entries),
    "real model": lambda results: real_model.horizons(results.of_real_models),
}


def main() -> int:
    """Write or check the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, required=True, help="the document")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table would change")
    parser.add_argument("--root", type=Path, default=ROOT, help="the leaderboard's folder")
    chosen = parser.parse_args()
    results = Results(chosen.root)
    trials = answers.trials(results.entries)
    picture = chosen.markdown.parent / "images" / "answers.png"
    told = {name: make(results) for name, make in SECTIONS.items()}
    told |= {name: tell(trials) for name, tell in answers.SECTIONS.items()}
    told |= published.sections(published.tuned(results.entries)) | published_minis.sections(results.entries)
    document = filled(chosen.markdown, told)
    if not chosen.check:
        write_atomically(chosen.markdown, document)
        answers_picture.draw(trials, picture)
    elif document != chosen.markdown.read_bytes():
        print(f"The tables of {chosen.markdown} do not follow from the entries.", file=sys.stderr)
        return 1
    elif not answers_picture.drawn_from(trials, picture):
        print(f"{picture} was not drawn from the entries.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
