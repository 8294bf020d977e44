"""Gymnasium's own classes that hold one number a rollout, recognized when they make, reset or step an environment.

Given reward vectors they fail inside numpy, in words that name neither them nor what to take instead.
"""

from __future__ import annotations

import sys

from gdpo_bench.core.errors import DeclarationError

_MO = "mo_gymnasium.wrappers"
_WITHOUT_MODE = "gymnasium.make_vec(id, num_envs=N) without vectorization_mode, or gdpo_bench.make_vec(id, …)"
_INSTEAD = {
    "gymnasium.vector.sync_vector_env:SyncVectorEnv.__init__": f"{_WITHOUT_MODE}, or {_MO}.vector.MOSyncVectorEnv",
    "gymnasium.vector.async_vector_env:AsyncVectorEnv.__init__": (
        f"{_WITHOUT_MODE}, or {_MO}.vector.MOAsyncVectorEnv(…, shared_memory=False)"
    ),
    "gymnasium.wrappers.vector.common:RecordEpisodeStatistics.reset": f"{_MO}.vector.MORecordEpisodeStatistics",
    "gymnasium.wrappers.vector.stateful_reward:NormalizeReward.reset": f"{_MO}.MONormalizeReward on one rollout",
    "gymnasium.wrappers.stateful_reward:NormalizeReward.step": f"{_MO}.MONormalizeReward(env, number of the reward)",
}
_DEPTH = 16
"""Calls that are looked at, from the innermost."""


def refuse_scalar_callers(env_id: str) -> None:
    """Refuse to be called from what takes one number a rollout; MO-Gymnasium's subclasses, which take vectors, may.

    Args:
        env_id: The environment's id, for the message.

    Raises:
        DeclarationError: The message says what to take instead.
    """
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        if frame.f_back is None:
            return
        frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
        if not module.startswith("gymnasium."):
            continue
        instead = _INSTEAD.get(f"{module}:{frame.f_code.co_qualname}")
        caller = type(frame.f_locals["self"]) if instead else None
        if caller is not None and caller.__module__ == module:
            raise DeclarationError(
                f"{env_id} gives a vector of rewards, and gymnasium's {caller.__name__} takes one number a rollout. "
                f"Take {instead}; or weigh the rewards with {_MO}.LinearReward first."
            )
