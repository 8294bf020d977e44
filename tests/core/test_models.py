import pytest
from pydantic import TypeAdapter, ValidationError, field_validator

from gdpo_bench.core.models import StrictModel, problems


class Thing(StrictModel):
    size: int
    name: str = ""

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError(f"at most 3 letters; got {name!r}")
        return name


def told(type_: type, value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(type_).validate_python(value)
    return problems(caught.value)


def test_a_complaint_names_place_expectation_and_what_came() -> None:
    assert told(list[Thing], [{"size": "x"}]).startswith("0.size: Input should be a valid integer")
    assert told(list[Thing], [{"size": "x"}]).endswith("(got 'x')")


def test_what_came_is_not_told_twice_nor_where_nothing_came() -> None:
    assert told(Thing, {"size": 1, "name": "long"}) == "name: at most 3 letters; got 'long'"
    assert told(Thing, {}) == "size: Field required"


def test_a_value_without_a_place_is_left_to_who_knows_its_name() -> None:
    assert told(int, "x").startswith("Input should be a valid integer")
    assert "(got" not in told(int, "x")


def test_several_complaints_are_told_one_after_the_other() -> None:
    assert told(Thing, {"name": "long"}).split("; ", 1)[0] == "size: Field required"
    assert "at most 3 letters" in told(Thing, {"name": "long"})
