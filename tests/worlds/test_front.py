"""The Pareto front of two rewards, against shapes whose areas and distances are known."""

import numpy as np
import pytest

from gdpo_bench.core.rewards import RewardSpec
from gdpo_bench.worlds.front import (
    distance_to_front,
    front_hypervolume,
    hypervolume,
    pareto_front,
    share_of_range,
)
from gdpo_bench.worlds.world import make_world


def test_corners_are_the_upper_right_of_the_hull() -> None:
    replies = np.array([[0, 1], [1, 0], [0, 0], [0.4, 0.4], [0.8, 0.8], [0.5, 0.85], [0.8, 0.2]])
    assert pareto_front(replies).tolist() == [[0, 1], [0.8, 0.8], [1, 0]]


def test_one_reply_may_be_best_in_both() -> None:
    front = pareto_front(np.array([[0.2, 0.9], [1, 1], [0.5, 0.5]]))
    assert front.tolist() == [[1, 1]]
    assert front_hypervolume(front) == 1
    assert distance_to_front(np.array([[1.0, 0.0]]), front).tolist() == [1]


def test_hypervolume_is_the_area_of_the_staircase() -> None:
    points = np.array([[0.5, 0.5], [1.0, 0.25], [0.25, 1.0], [0.4, 0.4]])
    assert hypervolume(points) == pytest.approx(0.25 * 1 + 0.25 * 0.5 + 0.5 * 0.25)
    assert hypervolume(points[::-1]) == pytest.approx(hypervolume(points))


def test_many_mixtures_fill_the_front_and_lie_on_it() -> None:
    world = make_world("tradeoff", {"bits": 4})
    front = pareto_front(share_of_range(world.rewards, world.specs))
    places = np.linspace(0, 1, 4001)
    mixtures = np.stack([places, np.interp(places, front[:, 0], front[:, 1])], axis=1)
    assert hypervolume(mixtures) == pytest.approx(front_hypervolume(front), rel=1e-3)
    assert distance_to_front(mixtures, front).max() < 1e-12


def test_the_tradeoff_has_a_corner_for_each_bit_the_cheapest_first() -> None:
    world = make_world("tradeoff", {"bits": 3, "scale": 12})
    front = pareto_front(share_of_range(world.rewards, world.specs))
    assert front == pytest.approx(np.array([[0, 1], [1 / 2, 2 / 3], [5 / 6, 1 / 3], [1, 0]]))
    random = np.random.default_rng(0).dirichlet(np.ones(len(world.rewards)), 200)
    mixtures = share_of_range(random @ world.rewards, world.specs)
    assert (mixtures[:, 1] <= np.interp(mixtures[:, 0], front[:, 0], front[:, 1])).all()


def test_a_conflict_leaves_two_corners() -> None:
    world = make_world("bits", {"conflict": 0.1})
    assert pareto_front(share_of_range(world.rewards, world.specs)) == pytest.approx(np.array([[10 / 11, 1], [1, 0]]))


def test_distances_are_euclidean_to_the_nearest_place_of_the_line() -> None:
    front = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert distance_to_front(np.array([[0, 0], [0.5, 0.5], [1, -1]]), front) == pytest.approx([0.5**0.5, 0, 1])


def test_values_become_shares_of_their_ranges() -> None:
    specs = (RewardSpec("a", -3, 3), RewardSpec("b", 0, 2))
    assert share_of_range(np.array([[-3.0, 2.0], [0.0, 0.5]]), specs).tolist() == [[0, 1], [0.5, 0.25]]
