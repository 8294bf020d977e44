import pytest
from gdpo_envs.coding.extraction import extract_code
from hypothesis import given
from hypothesis import strategies as st

CODE = "print(1)\n"


@pytest.mark.parametrize("tag", ["python", "py", "python3", "Python", "PYTHON3", "py3", "python3.11", "{.python}", ""])
def test_program_is_what_stands_in_a_fence(tag: str) -> None:
    assert extract_code(f"Here:\n```{tag}\n{CODE}```\nDone.") == CODE


@pytest.mark.parametrize("tag", ["python title=a.py", "python:main.py", "python {1}", "  python  "])
def test_tag_may_be_followed_by_more(tag: str) -> None:
    assert extract_code(f"```{tag}\n{CODE}```") == CODE


@pytest.mark.parametrize("tag", ["cpp", "bash", "text", "pytorch", "python-console", "json", "output"])
def test_fence_of_another_language_is_no_program(tag: str) -> None:
    assert extract_code(f"```{tag}\n{CODE}```") is None


def test_last_fence_counts() -> None:
    assert extract_code(f"```python\nfirst\n```\ntext\n```python\n{CODE}```") == CODE


def test_tagged_fence_comes_before_an_untagged_one() -> None:
    assert extract_code(f"```py\n{CODE}```\nIt prints:\n```\n1\n```") == CODE
    assert extract_code(f"```\nfirst\n```\n```\n{CODE}```") == CODE


@pytest.mark.parametrize("stray", ["\n```", "\n```python\n```", "\n```python\n  \n```", "\n```cpp\nint x;\n```"])
def test_blank_and_foreign_fences_are_passed_over(stray: str) -> None:
    assert extract_code(f"```python\n{CODE}```{stray}") == CODE


def test_fence_that_is_not_closed_reaches_to_the_end() -> None:
    assert extract_code(f"```python\n{CODE}x = 2") == f"{CODE}x = 2\n"


def test_longer_fence_holds_a_shorter_one() -> None:
    code = 'text = """\n```\n"""\n'
    assert extract_code(f"````python\n{code}````") == code


def test_indented_fence_and_windows_line_ends_are_read() -> None:
    assert extract_code(f"1. So:\n   ```python\n{CODE}   ```") == CODE
    assert extract_code("```python\r\nprint(1)\r\nprint(2)\r\n```\r\n") == "print(1)\nprint(2)\n"


def test_thought_is_no_part_of_the_answer() -> None:
    thought = "<think>\n```python\ndraft\n```\n</think>"
    assert extract_code(thought) is None
    assert extract_code(f"{thought}\n```python\n{CODE}```") == CODE
    assert extract_code("```python\ndraft\n```\n</think>nothing") is None  # the prompt may have opened the thought


def test_unfinished_thought_is_no_answer() -> None:
    assert extract_code(f" <think>\n```python\n{CODE}```") is None


@pytest.mark.parametrize("reply", ["", "print(1)", "no code", "`print(1)`", "```", "```python", "```python\n\n```"])
def test_reply_without_a_program_has_none(reply: str) -> None:
    assert extract_code(reply) is None


@given(st.text(alphabet="`pyth on\n<>/ink", max_size=200))
def test_every_text_is_read(reply: str) -> None:
    code = extract_code(reply)
    assert code is None or code.strip()


@given(st.text(st.characters(exclude_characters="`", exclude_categories=["Cs"]), min_size=1))
def test_any_program_without_backticks_comes_back_line_by_line(code: str) -> None:
    found = extract_code(f"```python\n{code}\n```")
    if "</think>" not in code:
        expected = "\n".join(line.removesuffix("\r") for line in code.split("\n")) + "\n"
        assert found == (expected if code.strip() else None)


@pytest.mark.timeout(20)  # a second is plenty in linear time; quadratic time would take minutes
@pytest.mark.parametrize("hostile", ["`", "```\n", "```python\n", "</think>", "`\n", "``` ` ```", " ", "\n", "<think>"])
def test_megabytes_are_read_at_once(hostile: str) -> None:
    extract_code(hostile * (4_000_000 // len(hostile)))
