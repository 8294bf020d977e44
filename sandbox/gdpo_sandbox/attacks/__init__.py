"""Hostile programs, and whether the sandbox contains them: `gdpo-bench sandbox attack`."""

from gdpo_sandbox.attacks import cheating, escape, exhaustion, forging, parsing, persistence
from gdpo_sandbox.attacks.attack import Attack
from gdpo_sandbox.attacks.judging import Verdict, judge, judge_all

CATALOGUE: tuple[Attack, ...] = (
    *exhaustion.ATTACKS,
    *escape.ATTACKS,
    *persistence.ATTACKS,
    *forging.ATTACKS,
    *cheating.ATTACKS,
    *parsing.ATTACKS,
)

__all__ = ["CATALOGUE", "Attack", "Verdict", "judge", "judge_all"]
