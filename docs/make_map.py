"""Draw images/map.png, the way of a reward vector as map.md tells it.

python docs/make_map.py
"""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

DOCS = Path(__file__).parent
_STEP = re.compile(r"^  (?P<form>@reward|[A-Z]\w+)[^\n]*?  (?P<file>(?:gdpo_bench|envs)/\S+)", re.MULTILINE)


def main() -> None:
    """Boxes from left to right, each with the file that holds it."""
    text = (DOCS / "map.md").read_text(encoding="utf-8").partition("## The way of a reward vector")[2]
    steps = [(found["form"], found["file"].rstrip(",/…")) for found in _STEP.finditer(text)]
    figure = Figure(figsize=(1.55 * len(steps), 1.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.5, len(steps) - 0.5), ylim=(-0.6, 0.6))
    axes.set_axis_off()
    for i, (form, file) in enumerate(steps):
        box = {"boxstyle": "round,pad=0.4", "fc": "#E8F1F8"}
        axes.text(i, 0.15, form, ha="center", va="center", fontsize=9, bbox=box)
        axes.text(i, -0.35, file.replace("gdpo_bench/", "").replace("/", "/\n"), ha="center", va="center", fontsize=7)
        if i:
            arrow = {"arrowstyle": "->", "color": "#555555"}
            axes.annotate("", xy=(i - 0.42, 0.15), xytext=(i - 0.58, 0.15), arrowprops=arrow)
    figure.savefig(DOCS / "images" / "map.png", dpi=150)


if __name__ == "__main__":
    main()
