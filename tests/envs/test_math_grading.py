import pytest
from gdpo_envs.math.grading import same
from gdpo_envs.math.latex import MAX_BARS, MAX_BOXES, MAX_CHARACTERS, MAX_NESTING, boxed_answer, boxes, plain, too_large
from gdpo_envs.tags import after_thought
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"3\frac{1}{2}", "3.5"),
        ("1/2004!", r"\frac{1}{2004!}"),
        ("2^{-99}", r"\frac{1}{2^{99}}"),
        ("387420489", "9^9"),
        ("10,000", "10000"),
        (r"\frac{3}{2000}", r"\dfrac{3}{2,\!000}"),
        (r"50\%", "0.5"),
        (r"50\%", "50"),
        (r"90^\circ", "90"),
        ("1/3", "0.333333"),
        (r"6.63\times 10^{-34}", "6.63e-34"),
        ("0", r"\sqrt{2}+\sqrt{3}-\sqrt{5+2\sqrt{6}}"),
        (r"4\sqrt{2}", r"4\sqrt(2)"),
        (r"\sqrt{1/n}", r"1/\sqrt{n}"),
        (r"\sqrt{x^2}", "|x|"),
        ("x^2+2x+1", "(x+1)^2"),
        ("a + b + c", "c+b+a"),
        ("x=5", "5"),
        ("5", "x=5"),
        (r"\{1,2\}", "2,1"),
        ("1,2", r"\{2,1\}"),
        ("1,2", "(1,2)"),
        ("(1,2)", "1,2"),
        (r"\{(1,2),(3,4)\}", "(3,4),(1,2)"),
        (r"1\pm\sqrt{19}", r"1-\sqrt{19},1+\sqrt{19}"),
        (r"(-\infty,2)\cup(3,\infty)", r"(-\infty, 2) \cup (3, \infty)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
        (r"\text{Evelyn}", "Evelyn"),
    ],
)
def test_answers_that_mean_the_same_are_right(truth: str, answer: str) -> None:
    assert same(truth, answer)


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("1/2004!", "1/2006!"),
        ("2^{-99}", "2^{-98}"),
        ("(2^{-99},1)", "(2^{-98},1)"),
        ("0", "2^{-60}"),
        (r"6.63\times 10^{-34}", "10^{-30}"),
        ("0.0000001", "0.0000002"),
        ("1/3", "0.333"),
        (r"3\frac{1}{2}", r"\frac{3}{2}"),
        ("2016^{2017}", "2016^{2018}"),
        ("4", r"4\sqrt(2)"),
        ("x", r"\sqrt{x^2}"),
        ("|x|", "x"),
        ("x", "y"),
        ("x<5", "x>5"),
        ("(1,2)", r"\{1,2\}"),
        (r"\{1,2\}", "(1,2)"),
        ("1,2", "(2,1)"),
        ("(1,2)", "2,1"),
        ("[1,2]", "(1,2)"),
        ("5", "5, 6"),
        ("12", "1 2"),
        ("x=1,y=2", "x=2,y=1"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}"),
        (r"\text{even}", r"\text{odd}"),
        ("5", ""),
    ],
)
def test_answers_that_mean_something_else_are_wrong(truth: str, answer: str) -> None:
    assert not same(truth, answer)


@pytest.mark.parametrize(
    "unfinished", [r"\sum_{k=1}^{9} 1", r"\int_0^9 1 dx", r"\lim_{x \to 9} x", r"\prod_{k=9}^{9} k"]
)
def test_what_is_left_to_be_worked_out_is_no_answer(unfinished: str) -> None:
    assert not same("9", unfinished)


@pytest.mark.parametrize(
    "huge", ["9^{9^{9}}", "10^{-10^9}", "((10!)!)!", r"\binom{10^6}{5*10^5}", "(x+1)^{1000}", "(x+y+z)^{50}"]
)
@pytest.mark.parametrize("truth", ["42", "x^2+1"])
def test_numbers_and_expansions_without_end_are_not_begun(truth: str, huge: str) -> None:
    assert not same(truth, huge)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (r"so $\boxed{5}$.", "5"),
        (r"\boxed{4} no, \boxed{ \frac{1}{2} }", r"\boxed{4}\boxed{\frac{1}{2}}"),
        (r"\boxed{4}, then \boxed{5}, that is \boxed{4}", r"\boxed{5}\boxed{4}"),
        (r"\boxed{5}, once more \boxed{5}", "5"),
        (r"\boxed 5.", "5"),
        (r"$\boxed 5$", "5"),
        (r"\boxed {-5} it is", "-5"),
        (r"\boxed\frac{1}{2}", r"\frac{1}{2}"),
        (r"\boxed(5)", "(5)"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\ 5\ }", "\\ 5\\"),
        (r"\boxed{x=\boxed{5}}", "5"),
        (r"\boxed{5}} and more", "5"),
        (r"\boxed{5}. One may also write \boxed{", "5"),
        (r"\boxed{5}, in the form \boxed{}", "5"),
        (r"\boxed{5}, as \boxed wants", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{1\right.}", r"\left\{1\right."),
        (r"<think>\boxed{4}</think> \boxed{5}", "5"),
        (r"\boxed{4}</think> \boxed{5}", "5"),
        (r"<think>\boxed{4}</think> none", None),
        (r"<think>\boxed{4}", None),
        (r"\boxed{4} \boxed{5", None),
        (r"\boxed{}", None),
        ("<answer>4</answer><answer> 5 </answer>", "5"),
        (r"<answer>\boxed{5}</answer>", "5"),
        ("<answer>5", None),
        ("5", None),
        ("", None),
    ],
)
def test_the_answer_is_what_the_last_boxes_after_the_thought_hold(reply: str, answer: str | None) -> None:
    assert boxed_answer(after_thought(reply) or "") == answer


@given(st.text(st.sampled_from("\\{}boxed<>/answer think"), max_size=60))
def test_any_text_has_an_answer_or_none(reply: str) -> None:
    answer = boxed_answer(after_thought(reply) or "")
    assert answer is None or all(box and box in reply for box in boxes(answer))


def test_of_many_boxes_the_last_ones_are_kept() -> None:
    numbered = [rf"\boxed{{{n}}}" for n in range(100)]
    assert boxed_answer(" ".join(numbered)) == "".join(numbered[-MAX_BOXES:])
    long = [rf"\boxed{{{letter * 300}}}" for letter in "xyz"]
    assert boxed_answer(" ".join(long)) == "z" * 300


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [r"\boxed{", r"\boxed 5 ", "{", "}", r"\boxed{5}", r"\boxed", r"\boxed(", r"\boxed{{}", r"\boxed\a{", "<answer>"],
)
def test_long_hostile_reply_is_searched_in_linear_time(piece: str) -> None:
    answer = boxed_answer(piece * (1_000_000 // len(piece)))
    assert answer is None or too_large(answer) is None


@pytest.mark.parametrize(
    ("truth", "reply", "right"),
    [
        ("1,4", r"x=\boxed{1} or x=\boxed{4}", True),
        ("1,4", r"x=\boxed{4} or x=\boxed{1}", True),
        (r"\{1,4\}", r"\boxed{1} and \boxed{4}", True),
        ("(2,2),(6,2)", r"\boxed{(6,2)} and \boxed{(2,2)}", True),
        ("5", r"\boxed{\ 5\ }", True),
        ("x=1,x=4", r"\boxed{1} and \boxed{4}", True),
        ("1,4", r"first \boxed{2}, then \boxed{1} and \boxed{4}", True),
        ("1,4", r"\boxed{3}, \boxed{1,4}", True),
        ("4", r"\boxed{1} or \boxed{4}", True),
        ("1", r"\boxed{1} or \boxed{4}", False),
        ("1,4", r"\boxed{1}, \boxed{4}, \boxed{5}", False),
        ("1,4", r"only \boxed{1}", False),
        ("1,4", r"\boxed{1} and \boxed{5}", False),
        ("14", r"\boxed{1} and \boxed{4}", False),
    ],
)
def test_several_boxes_are_the_list_that_the_truth_is_and_else_the_last_one_counts(
    truth: str, reply: str, right: bool
) -> None:
    answer = boxed_answer(reply)
    assert answer is not None
    assert same(truth, answer) == right


@pytest.mark.parametrize(
    ("answer", "bare"),
    [
        (r"$\dfrac{1}{2}$.", r"\frac{1}{2}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"10,\!000", "10000"),
        ("10{,}000", "10000"),
        ("10,000", "10,000"),
        (r"\$5", "5"),
        (r"1 \\ 2", r"1\\2"),
        ("1 2", "1 2"),
        (r"\leftarrow", r"\leftarrow"),
    ],
)
def test_what_does_not_change_the_meaning_is_left_out(answer: str, bare: str) -> None:
    assert plain(answer) == bare


def test_limits_of_what_is_read_are_on_the_text_alone() -> None:
    for fits, beyond in (
        ("1" * MAX_CHARACTERS, "1" * (MAX_CHARACTERS + 1)),
        ("(" * MAX_NESTING, "(" * (MAX_NESTING + 1)),
        ("|" * MAX_BARS, "|" * (MAX_BARS + 1)),
    ):
        assert too_large(fits) is None
        assert too_large(beyond) is not None
