"""The table of the job `real-small`: both normalizers at its horizons, and one over the other."""

import pytest

from gdpo_bench import RewardSpec
from gdpo_bench.leaderboard import Curve
from gdpo_bench.leaderboard.files.schema import PlanReference

SPECS = [RewardSpec("format", 0, 1, "binary"), RewardSpec("correctness", -3, 3)]
PLAN = {"tuning": None, "horizons": [10, 20], "clusters": 3}


@pytest.fixture
def real_model(benchmark):
    return benchmark("real_model")


@pytest.fixture
def measured(entry):
    def make(name, final, policy="smollm2"):
        made = entry(name, [final] * 3, specs=SPECS, steps=(0, 5, 10, 20), plan=PlanReference.of(PLAN, "test"))
        results = [one.model_copy(update={"all_right": Curve.of([0, 0, final / 2, final])}) for one in made.results]
        changes = {"id": "gdpo/ToolCallingMini-v1", "options": {"format_rate": 0.04}}
        return made.model_copy(
            update={
                "environment": made.environment.model_copy(update=changes),
                "policy": made.policy.model_copy(update={"name": policy}),
                "results": results,
            }
        )

    return make


def test_both_horizons_stand_with_what_gdpo_has_over_grpo(real_model, measured):
    lines = real_model.horizons([measured("gdpo", 0.9), measured("grpo", 0.5)]).splitlines()
    assert lines[2].startswith("| 10 steps: `grpo` | 3 | 0.25 ±0.00 |")
    assert lines[5].startswith("| 20 steps: `grpo` | 3 | 0.50 ±0.00 | 0.50 ±0.00 | 0.00 ±0.00 |")
    assert lines[7].startswith("| 20 steps: `gdpo` − `grpo` | 3 | +0.40 ±0.00 | +0.40 ±0.00 | +2.40 ±0.00 |")


def test_without_both_there_is_no_table_and_two_of_one_are_not_mixed(real_model, measured):
    assert real_model.horizons([measured("grpo", 0.5)]).startswith("No entries yet")
    assert real_model.horizons([measured("grpo", 0.5), measured("gdpo", 0.9, "mini")]).startswith("No entries yet")
    with pytest.raises(LookupError, match="2 entries of gdpo"):
        real_model.horizons([measured("grpo", 0.5), measured("gdpo", 0.5), measured("gdpo", 0.6)])
