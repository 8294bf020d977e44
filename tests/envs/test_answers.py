import json
from fractions import Fraction
from pathlib import Path

import pytest
from gdpo_envs.math.answers import final_answer, read_number
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<think>3 * 6</think><answer>18</answer>", 18),
        ("3 * 6 = 18\n#### 18", 18),
        ("3 * 6 = 18\nA: 18 eggs", 18),
        ("A:\n18", 18),
        ("The answer is 18.", 18),
        ("so the answer is: 18, as 9 + 9 says", 18),
        (r"Thus \boxed{18}, not 19.", 18),
        (r"\boxed{\text{about } 18 \text{ eggs}} of 20", 18),
        ("Part A: 6 pears. Part B: 8 pears. So there are 18.", 18),
        ("Plan A: 40 dollars.\nPlan B: 22 dollars.\nThe difference is 18 dollars", 18),
        ("### Final answer\n18 eggs\n\n(Checked in 3 ways)", 18),
        ("**Final answer**\n\n18\n\n(See step 3.)", 18),
        ("## Answer:\n**18**\nas in step 3", 18),
        ("Answer: 18 eggs, not 19", 18),
        ("**Final Answer:** 18\n\nSee part 3.", 18),
        ("Final answer:\n- 18 eggs\n- of 20", 18),
        ("#### Step 2\n9 and 9", 9),
        ("#### Step 1: 5 + 6 = 11\nSo it is 18", 18),
        ("First 9, then 18", 18),
        ("18", 18),
    ],
)
def test_final_answer_is_found_in_every_style(reply: str, expected: int) -> None:
    assert final_answer(reply) == expected


def test_last_marker_wins_over_earlier_ones_and_over_later_numbers() -> None:
    assert final_answer("A: 5\nno, wait\nA: 6\nI am 100 % sure") == 6
    assert final_answer(r"<answer>5</answer> or \boxed{6}") == 6
    assert final_answer(r"\boxed{6} or <answer>5</answer>") == 5


def test_right_side_of_an_announced_equation_counts() -> None:
    assert final_answer("A: 2 * 9 = 18 eggs") == 18
    assert final_answer(r"\boxed{x = 18}") == 18
    assert final_answer("A: 18 = eighteen") == 18


def test_hedging_does_not_pay() -> None:
    assert final_answer("<answer>17 or 18 or 19</answer>") == 17


@pytest.mark.parametrize("reply", ["", "none", "<answer></answer> 18", "A: none\n18", "A: 1/0", "#### ", "\u0663", "½"])
def test_no_number_where_it_is_announced_is_no_answer(reply: str) -> None:
    assert final_answer(reply) is None


def test_letters_before_a_marker_make_it_none() -> None:
    assert final_answer("DNA: 5 of 6") == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,234", 1234),
        ("1,234,567.5", Fraction(12345675, 10)),
        (r"1{,}234", 1234),
        ("$1,234.50", Fraction(2469, 2)),
        (r"\$5", 5),
        ("50%", 50),
        ("7.", 7),
        ("7.0", 7),
        ("007", 7),
        (".5", Fraction(1, 2)),
        ("-5", -5),
        ("−5", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("(-5)", -5),
        ("1/2", Fraction(1, 2)),
        ("-1/2", Fraction(-1, 2)),
        (r"\frac{1}{2}", Fraction(1, 2)),
        (r"-\dfrac{1}{2}", Fraction(-1, 2)),
        ("1,2", 1),
        ("12,34", 12),
        ("18/day", 18),
        ("2.4e1", 24),
        ("7e2", 700),
        ("7E+2", 700),
        ("25e-1", Fraction(5, 2)),
        (r"2.4 \times 10^1", 24),
        (r"2.4\times 10^{3}", 2400),
        ("2.4 × 10^2", 240),
        ("7e2x", 7),
        ("7 eggs", 7),
        ("1e999", None),
        ("1\u202f234", 1234),
        ("–5", -5),
        ("﹣5", -5),
    ],
)
def test_numbers_are_read_exactly(text: str, expected: Fraction | None) -> None:
    assert read_number(text) == expected


def test_minus_between_numbers_is_a_subtraction_and_not_a_sign() -> None:
    assert final_answer("10-3") == 3
    assert final_answer("10 - 3") == 3
    assert final_answer("x-3") == 3


@pytest.mark.parametrize("dash", "-‐‑‒–—―−﹣－")
@pytest.mark.parametrize("marker", ["#### ", "The answer is ", "A: ", "Answer: ", "x = ", "A: x = ", "**Answer:** "])
def test_a_dash_before_the_announced_number_is_its_sign(dash: str, marker: str) -> None:
    assert final_answer(f"{marker}{dash}5") == -5
    if marker != "x = ":  # announces nothing
        assert final_answer(f"{marker}{dash} 5") == -5
        assert final_answer(f"{marker}{dash} $5") == -5
        assert final_answer(f"{marker}10 {dash} 5") == 10


def test_close_is_not_equal() -> None:
    assert read_number("0.333333333333333333") != Fraction(1, 3)
    assert read_number(str(10**100 + 1)) == 10**100 + 1


@given(
    st.integers()
    | st.fractions()
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9, places=3)
)
def test_written_number_is_read_back(number: object) -> None:
    assert final_answer(f"Well,\nA: {number}") == Fraction(str(number))


@given(st.integers())
def test_commas_between_thousands_change_nothing(number: int) -> None:
    assert final_answer(f"#### {number:,}") == number


@given(st.text() | st.text(alphabet="<answer>/#A:\\boxed{}0123456789,.-$= \n"))
def test_any_text_has_an_answer_or_none(reply: str) -> None:
    assert final_answer(reply) is None or isinstance(final_answer(reply), Fraction)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "9",
        "0.9",
        "1/9",
        "1,000,",
        "1,",
        "-",
        "$",
        "\\",
        "=",
        "A:",
        "\n",
        "{",
        "\\boxed{",
        "\\frac{",
        "<answer>",
        "the answer is",
        "\nAnswer",
        "# ",
        "1e",
        "1 x 10^",
        "– ",
    ],
)
def test_long_hostile_text_is_read_in_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    for reply in (text, f"A: {text}", f"\\boxed{{{text}", f"{text}A: 5"):
        assert final_answer(reply) is None or isinstance(final_answer(reply), Fraction)


def test_megabyte_of_digits_costs_no_more_than_reading_it() -> None:
    for reply in ("9" * 1_000_000, "0." + "9" * 1_000_000, "1/" + "9" * 1_000_000):
        assert final_answer(reply) in (None, 1)


def test_number_of_too_many_digits_is_none() -> None:
    assert final_answer("9" * 300) == 10**300 - 1
    assert final_answer("9" * 301) is None


def test_published_labels_of_model_solutions_are_met(data_dir: Path) -> None:
    """1,319 problems × 4 models, judged by the authors of GSM8K."""
    lines = (data_dir / "gsm8k/example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    judged = [
        (final_answer(model["solution"]) == final_answer(line["ground_truth"]), model["is_correct"])
        for line in map(json.loads, lines)
        for model in line.values()
        if isinstance(model, dict)
    ]
    assert len(judged) == 5276
    assert [ours for ours, _ in judged] == [theirs for _, theirs in judged]
