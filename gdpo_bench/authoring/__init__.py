"""For authors of environments: check one, begin one, describe one, play one."""

from gdpo_bench.authoring import task_checks, reward_checks  # noqa: F401, I001 (they fill CHECKS, in this order)
from gdpo_bench.authoring.checks import CHECKS, CheckResult, check_env
from gdpo_bench.authoring.gaming import certify

__all__ = ["CHECKS", "CheckResult", "certify", "check_env"]
