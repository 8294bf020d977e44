"""For authors of environments: check one, begin one, describe one, play one."""

from gdpo_bench.authoring.check import check_env
from gdpo_bench.authoring.checks import CHECKS, CheckResult

__all__ = ["CHECKS", "CheckResult", "check_env"]
