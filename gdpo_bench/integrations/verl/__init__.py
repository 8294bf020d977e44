"""verl trains on our environments, with any of our normalizers. Written for verl 0.9.1.

    python -m gdpo_bench.integrations.verl gdpo/ToolCallingMini-v1 --out data
    python -m verl.trainer.main_ppo --config-dir "$(python -m gdpo_bench.integrations.verl --config-dir)" \
        --config-name gdpo_bench algorithm.adv_estimator=gdpo_bench/gd2po …

Three parts, each of use without the others: `data` writes an environment's tasks as verl reads them,
`compute_score` is the reward function (`compute_score_async` the same, awaited), and importing `estimators`
registers the normalizers.
"""

from gdpo_bench.integrations.verl.data import write_data, write_mixed_data
from gdpo_bench.integrations.verl.rewards import compute_score, compute_score_async, compute_scores

__all__ = ["compute_score", "compute_score_async", "compute_scores", "write_data", "write_mixed_data"]
