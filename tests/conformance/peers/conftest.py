"""Comparing a preset with the framework that it reproduces."""

from __future__ import annotations

import pytest

from gdpo_bench.advantages import compute_advantages
from gdpo_bench.conformance.peers.batches import condition, draw_batches, tolerance


@pytest.fixture
def assert_equal_to_peer():
    """Compare a normalizer with a peer's function on random batches."""

    def check(normalizer, peer, *, count: int, even: bool) -> None:
        well_conditioned = 0
        for batch in draw_batches(count, even=even):
            theirs = peer(batch)
            ours = compute_advantages(
                normalizer, batch.rewards, batch.groups, weights=batch.weights, lengths=batch.lengths
            )
            size = max(1.0, theirs.abs().max().item())
            assert (ours - theirs).abs().max() <= tolerance(batch) * size, f"condition {condition(batch)}: {batch}"
            well_conditioned += condition(batch) <= 4
        assert well_conditioned >= count / 10

    return check
