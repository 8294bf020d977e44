"""Our environments as a resources server of NeMo Gym, with `reward_components` for multi-reward training.

    python -m gdpo_bench.integrations.nemo_gym gdpo/ToolCallingMini-v1 --out resources_servers/gdpo_bench

`contract` needs no nemo-gym; `server` is the resources server. Written for nemo-gym 0.7.0, and for NeMo-RL as
of August 2026, which reads what the server returns.
"""

from gdpo_bench.integrations.nemo_gym.contract import reply_text, reward_weights, verification, write_server

__all__ = ["reply_text", "reward_weights", "verification", "write_server"]
