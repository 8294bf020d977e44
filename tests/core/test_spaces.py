import pickle

import pytest
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from gdpo_bench.core import Unicode


@given(st.text() | st.just("\ud800"))
def test_every_text_is_contained(text: str) -> None:
    assert Unicode().contains(text)
    assert text in Unicode()


@pytest.mark.parametrize("value", [None, 1, b"bytes", ["a"]])
def test_nothing_else_is_contained(value: object) -> None:
    assert not Unicode().contains(value)


def test_samples_are_contained_and_fixed_by_the_seed() -> None:
    one, other = Unicode(seed=1), Unicode(seed=1)
    samples = [one.sample() for _ in range(50)]
    assert samples == [other.sample() for _ in range(50)]
    assert all(sample in one for sample in samples)
    assert len(set(samples)) > 25


def test_texts_have_no_mask() -> None:
    with pytest.raises(ValueError, match="neither mask nor probability"):
        Unicode().sample(mask=[1])


def test_spaces_are_equal_hashable_picklable_and_can_be_batched() -> None:
    assert Unicode() == Unicode(seed=3)
    assert Unicode() != "Unicode()"
    assert len({Unicode(), Unicode()}) == 1
    assert pickle.loads(pickle.dumps(Unicode())) == Unicode()
    assert ("a", "") in batch_space(Unicode(), 2)
    assert Unicode().from_jsonable(Unicode().to_jsonable(["a", ""])) == ["a", ""]
