"""Units of answers: they may be left out and be written in several ways, and may not contradict each other."""

import itertools

import pytest
from gdpo_envs.math.grading import same
from gdpo_envs.math.units import contradict, read_unit

SPELLINGS = (
    ("cm", "centimeter", "centimeters", "centimetres"),
    ("m", "meter", "meters", "metres"),
    ("km", "kilometers"),
    ("in", "inch", "inches"),
    ("ft", "foot", "feet"),
    ("mi", "mile", "miles"),
    ("kg", "kilogram", "kilograms"),
    ("g", "grams"),
    ("lb", "lbs", "pounds"),
    ("oz", "ounces"),
    ("s", "sec", "second", "seconds"),
    ("min", "minute", "minutes"),
    ("h", "hr", "hrs", "hour", "hours"),
    ("day", "days"),
    ("week", "weeks"),
    ("month", "months"),
    ("year", "years", "yrs"),
    ("L", "liter", "liters", "litres"),
    ("mL", "milliliters"),
    ("gal", "gallon", "gallons"),
    ("dollar", "dollars"),
    ("cent", "cents"),
    ("euro", "euros"),
    ("degree", "degrees"),
    ("radians",),
    ("mph", "miles per hour", "mi/h"),
    ("km/h", "kph", "kilometers per hour", "km per hour"),
    ("m/s", "meters per second"),
    ("square feet", "sq ft", "sq. ft.", "ft^2", "square foot", "feet squared"),
    ("cubic centimeters", "cm^3", "cc", "cu cm"),
    ("square units", "sq units", "units^2"),
)


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda spellings: spellings[0])
def test_a_unit_is_one_in_all_its_spellings_and_may_be_left_out(spellings: tuple[str, ...]) -> None:
    marked = [rf"5\text{{ {name}}}" for name in spellings]
    for one, other in itertools.product((*marked, "5", rf"5\,\mathrm{{{spellings[0]}}}"), repeat=2):
        assert same(one, other), (one, other)
    assert not same(marked[0], r"6" + marked[0][1:])


def test_two_units_contradict_each_other() -> None:
    for (i, ours), (k, theirs) in itertools.product(enumerate(SPELLINGS[:-1]), repeat=2):
        for one, other in itertools.product(ours, theirs):
            assert contradict(read_unit(one), read_unit(other)) == (i != k), (one, other)


@pytest.mark.parametrize(
    ("truth", "answer", "right"),
    [
        ("60", "60 km/h", True),
        ("10", "10 weeks", True),
        ("14", "14 cm^2", True),
        ("14", "14cm", True),
        ("36", "36 square units", True),
        ("5", "5 apples", True),
        (r"5\text{ apples}", "5", True),
        (r"5\text{ cm}", "x=5 cm", True),
        (r"5\text{ cm}", "x=5 kg", False),
        (r"5\text{ m}", "5 m", True),
        (r"5\text{ m}", "5 s", False),
        (r"8\text{ cm}^2", r"8\text{ cm}^3", False),
        (r"8\text{ cm}^2", r"8\text{ cm}", False),
        (r"\$4", r"4\text{ dollars}", True),
        (r"\$4", r"4\text{ cents}", False),
        (r"\$4", "$4$", True),
        (r"\$12.50", "12.5", True),
        (r"\$1,250", "1250", True),
        ("€4", r"4\text{ euros}", True),
        ("€4", r"\$4", False),
        (r"30^\circ", "30°", True),
        (r"30^\circ", r"30\text{ degrees}", True),
        (r"30^\circ", r"30\text{ radians}", False),
        (r"30^\circ\text{C}", r"30^\circ\text{F}", False),
        ("45", "54°", False),
        (r"8\!:\!34 \text{ p.m.}", r"8:34\text{ pm}", True),
        (r"8\!:\!34 \text{ p.m.}", r"8:34\text{ a.m.}", False),
        (r"5\text{ units}", r"5\text{ cm}", True),
        (r"60\%", r"60\text{ percent}", True),
        (r"\tan 15^\circ", r"\tan 15^\circ", True),
    ],
)
def test_units_are_marked_or_stand_behind_a_number(truth: str, answer: str, right: bool) -> None:
    assert same(truth, answer) == right


@pytest.mark.parametrize("letter", "cdghklmst")
def test_a_single_letter_at_the_end_is_a_variable(letter: str) -> None:
    assert same(f"7+2{letter}", f"2{letter}+7")
    assert same(f"20-5{letter}", f"5(4-{letter})")
    assert same(f"3{letter}", f"{letter}+2{letter}")
    for truth, answer in ((f"7+2{letter}", "9"), (f"2{letter}", "2"), ("14", f"14{letter}"), ("4", f"4{letter}^2")):
        assert not same(truth, answer)
        assert not same(answer, truth)
    assert not same(f"3{letter}", "3x")


def test_words_behind_a_formula_with_variables_are_no_unit() -> None:
    assert same(r"2\pi rh", r"2\pi hr")
    assert not same("12ab", "12")
    assert same(r"2x\text{ cm}", "2x")
