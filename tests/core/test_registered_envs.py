"""Every registered environment works in MO-Gymnasium's wrappers. What else it must hold, the public checker tests."""

import mo_gymnasium
import numpy as np
import pytest
from mo_gymnasium.wrappers import MORecordEpisodeStatistics
from mo_gymnasium.wrappers.vector import MOSyncVectorEnv

import gdpo_bench
from gdpo_bench.core import DataError, make_env
from gdpo_bench.core.authored import tasks_of


@pytest.fixture(params=gdpo_bench.list_envs())
def env_id(request: pytest.FixtureRequest) -> str:
    id: str = request.param
    env = make_env(id)
    if type(env).__module__.startswith("gdpo_envs.coding."):
        request.getfixturevalue("engine")
    try:
        tasks_of(env, env.splits[-1])
        return id
    except DataError:
        request.getfixturevalue("data_dir")
        pytest.skip("its data are not in the folder that GDPO_BENCH_DATA names")


def test_mo_gymnasium_records_episodes(env_id: str) -> None:
    env = MORecordEpisodeStatistics(mo_gymnasium.make(env_id, split="eval"), gamma=1.0)
    env.reset(seed=0)
    total, over = np.zeros(env.unwrapped.reward_dim), False
    while not over:
        _, rewards, terminated, truncated, info = env.step("hello")
        total, over = total + rewards, terminated or truncated
    np.testing.assert_allclose(info["episode"]["r"], total)


def test_mo_gymnasium_steps_copies_side_by_side(env_id: str) -> None:
    venv = MOSyncVectorEnv([lambda: mo_gymnasium.make(env_id, split="eval") for _ in range(3)])
    observations, _ = venv.reset(seed=0)
    assert len(observations) == 3
    _, rewards, _, _, _ = venv.step(("", "a", "\ud800"))
    alone = []
    for seed, reply in enumerate(("", "a", "\ud800")):
        env = mo_gymnasium.make(env_id, split="eval")
        env.reset(seed=seed)
        alone.append(env.step(reply)[1])
    np.testing.assert_allclose(rewards, alone)
