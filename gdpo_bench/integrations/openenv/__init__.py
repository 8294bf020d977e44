"""Our environments as servers of OpenEnv: the reward vector in an observation's metadata, a declared sum as its reward.

    gdpo-bench export gdpo/ToolDialog-v0 --to openenv dialog

`writing` needs no openenv; `server` is what a written folder serves. Written for openenv 0.10.0.
"""

from gdpo_bench.integrations.openenv.writing import write_server

__all__ = ["write_server"]
