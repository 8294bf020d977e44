"""Our environments as modules for verifiers, whose traces carry the reward vector by name.

    gdpo-bench export gdpo/MathMini-v1 --to verifiers mathmini

`writing` needs no verifiers; `taskset` is what a written module imports. Written for verifiers 0.4.0. The other way, a
module for verifiers as an environment here, is `--envs verifiers:MODULE`.
"""

from gdpo_bench.integrations.verifiers.writing import write_taskset

__all__ = ["write_taskset"]
