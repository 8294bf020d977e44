"""The table of the job `bits`: each corner's normalizers, and what one has over the other."""

import pytest

from gdpo_bench import RewardSpec
from gdpo_bench.leaderboard import Curve, Environment, Seed, make_entry

SPECS = [RewardSpec("large", 0, 6), RewardSpec("small1", 0, 1)]
KEPT = ("track", "normalizer", "policy", "training", "provenance")


@pytest.fixture
def bits(benchmark):
    return benchmark("bits")


@pytest.fixture
def measured(entry):
    def make(name, share, options):
        seeds = [Seed(warm_start=i, rl=i) for i in range(10)]
        found = entry(name, [share + i / 100 for i in range(10)], specs=SPECS, seeds=seeds)
        results = [one.model_copy(update={"all_right": Curve.of([share, share, share])}) for one in found.results]
        made = make_entry(
            **{part: getattr(found, part) for part in KEPT},
            environment=Environment.describe(
                "gdpo/Bits-v0", options=options, specs=SPECS, split="eval", task_ids=["a", "b", "c"]
            ),
            results=found.results,
        )
        return made.model_copy(update={"results": results})

    return make


def test_a_corner_tells_who_has_what_over_whom(bits, measured):
    board = [measured("grpo", 0.2, {}), measured("gdpo", 0.6, {}), measured("grpo_scaled", 0.6, {})]
    lines = bits.corners([*board, measured("gdpo", 0.1, {"conflict": 0.05})]).splitlines()
    assert len(lines) == 2 + 3 * 4
    assert lines[3].startswith("| scale 6: `gdpo` − `grpo` | 10 | **+0.40 ±0.00** | **+2.40 ±0.00** |")
    assert lines[5] == "| scale 6: `gdpo` − `grpo_scaled` | 10 | +0.00 ±0.00 | +0.00 ±0.00 | +0.00 ±0.00 |"
    assert lines[11] == "| scale 6, conflict 0.05: `gdpo` − `grpo` |  | – | – | – |"


def test_two_entries_of_one_corner_are_not_mixed(bits, measured):
    with pytest.raises(LookupError, match="2 entries of grpo"):
        bits.corners([measured("grpo", 0.2, {}), measured("grpo", 0.3, {})])
    assert bits.corners([]).startswith("No entries yet")
