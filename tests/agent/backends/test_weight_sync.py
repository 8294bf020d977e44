import pytest
import torch

from gdpo_bench.agent.backends.weight_sync import WeightSyncError, check_sync, probe_sequences, trainer_log_probs
from gdpo_bench.agent.policy import Policy


def test_probes_are_always_the_same_and_cover_the_vocabulary() -> None:
    sequences = probe_sequences(300)
    assert sequences == probe_sequences(300)
    tokens = [token for sequence in sequences for token in sequence]
    assert 0 <= min(tokens) < 30
    assert 270 < max(tokens) < 300


def test_probing_leaves_the_model_in_its_mode_and_makes_no_gradients(small_policy: Policy) -> None:
    sequences = probe_sequences(250, count=2, length=5)
    for training in (True, False):
        small_policy.model.train(training)
        log_probs = trainer_log_probs(small_policy, sequences)
        assert small_policy.model.training is training
        assert log_probs.shape == (2, 4)
        assert not log_probs.requires_grad


def test_a_mean_difference_above_the_tolerance_stops() -> None:
    trainer = torch.full((2, 5), -3.0)
    sampler = trainer.clone()
    sampler[0, 0] += 0.1
    check_sync(sampler, trainer, tolerance=0.011)
    with pytest.raises(WeightSyncError, match=r"differ by 0\.01 on average \(0\.1 at most\)"):
        check_sync(sampler, trainer, tolerance=0.009)


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_what_is_not_a_number_stops(value: float) -> None:
    trainer = torch.full((2, 5), -3.0)
    sampler = trainer.clone()
    sampler[1, 2] = value
    with pytest.raises(WeightSyncError):
        check_sync(sampler, trainer, tolerance=1e9)
