import matplotlib.image
import pytest

from gdpo_bench import RewardSpec
from gdpo_bench.core import DataError
from gdpo_bench.leaderboard.show.plots import PALETTE, plot_curves


def colours(path):
    """Colours that occur in an image, as hexadecimal."""
    pixels = (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    return {f"#{r:02X}{g:02X}{b:02X}" for r, g, b in set(map(tuple, pixels))}


def test_each_normalizer_has_its_colour(tmp_path, entry):
    plot_curves([entry("gdpo"), entry("grpo", (0.1, 0.2))], tmp_path / "curves.png")
    found = colours(tmp_path / "curves.png")
    assert set(PALETTE[:2]) <= found
    assert not set(PALETTE[2:6]) & found


def test_environments_are_rows_and_rewards_are_columns(tmp_path, entry):
    specs = [RewardSpec(name, 0, 1) for name in ("a", "b", "c", "d")]
    plot_curves([entry()], tmp_path / "small.png")
    plot_curves([entry(), entry(environment="gdpo/Other-v0", specs=specs)], tmp_path / "large.png")
    small, large = (matplotlib.image.imread(tmp_path / name).shape for name in ("small.png", "large.png"))
    assert large[1] == pytest.approx(2 * small[1], abs=2)
    assert 1.5 * small[0] < large[0] < 2 * small[0]


def test_a_single_evaluation_and_runs_of_different_length_can_be_drawn(tmp_path, entry):
    plot_curves([entry(steps=(0,)), entry("grpo", steps=(0, 10))], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_without_training_there_is_nothing_to_draw(tmp_path, replay):
    with pytest.raises(DataError, match="none of the entries is of the training track"):
        plot_curves([replay()], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
