"""What training with several rewards will learn, told from a few hundred recorded rollouts before any training."""

from gdpo_bench.advice.advise import Advice, Outlook, RewardAdvice, advise
from gdpo_bench.advice.logs import read_log
from gdpo_bench.advice.recorded import RecordedRewards

__all__ = ["Advice", "Outlook", "RecordedRewards", "RewardAdvice", "advise", "read_log"]
