import re

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


@pytest.mark.parametrize("code", ["mark = '</think>'\n", 't = "<think>a</think>"\n', "# </think>\nx = 1\n"])
@pytest.mark.parametrize("before", ["", "I strip tags.\n", "<think>hm</think>\n", "hm</think>\n"])
def test_end_of_a_thought_within_code_is_code(code: str, before: str) -> None:
    assert extract_code(f"{before}```python\n{code}```") == code


def test_end_of_a_thought_on_a_line_of_a_text_in_code_is_code() -> None:
    code = 'text = """\n</think>\n"""\n'
    assert extract_code(f"```python\n{code}```") == code


def test_quoted_end_of_a_thought_is_no_end() -> None:
    assert extract_code(f"<think>x</think>\n```python\n{CODE}```\nI wrote `</think>` first.") == CODE


@pytest.mark.parametrize("opening", ["<think>", ""])
def test_draft_that_breaks_off_ends_with_its_thought(opening: str) -> None:
    assert extract_code(f"{opening}so\n```python\ndraft\n</think>\n```python\n{CODE}```") == CODE


@pytest.mark.parametrize("lead", ["  ", "   ", "    ", "\t", "1. ", "10. ", "- ", "* ", "  - ", "> ", "> > ", "> 1. "])
def test_fence_in_a_list_or_a_quote_is_read_without_its_indentation(lead: str) -> None:
    code = "if x:\n    print(1)\n\nprint(2)\n"
    inner = "".join(" " if mark not in ">\t " else mark for mark in lead)
    body = "".join(f"{inner}{line}\n" for line in code.splitlines())
    assert extract_code(f"So:\n\n{lead}```python\n{body}{inner}```\n") == code


@pytest.mark.parametrize("indent", ["  ", "    ", "\t"])
def test_code_that_does_not_follow_its_fences_indentation_stays_as_it_is(indent: str) -> None:
    code = "if x:\n    print(1)\n"
    assert extract_code(f"- So:\n{indent}```python\n{code}{indent}```\n") == code


def test_code_that_is_indented_more_than_its_fence_stays_so() -> None:
    assert extract_code("```python\n  x = 1\n```") == "  x = 1\n"


@pytest.mark.parametrize(
    "reply",
    [
        f"```python\n\ufeff{CODE}```",
        f"\ufeff```python\n{CODE}```",
        f"~~~python\n{CODE}~~~",
        f"~~~\n{CODE}~~~",
        f"~~~~ python\n{CODE}~~~~",
        f"The program: ```python\n{CODE}```",
        f"**Answer** ```py\n{CODE}```",
        f"So ```\n{CODE}```",
        f"Use ```print``` here.\n```python\n{CODE}```",
        f"Use ``` for code.\n```python\n{CODE}```",
        f"<answer>```python\n{CODE}```</answer>",
        f"<think>x</think><answer> ```python\n{CODE}``` </answer>",
        f"<answer>\n```python\n{CODE}```\n</answer>",
        f"<answer>\n```python\n{CODE}</answer>",
        f"```python\n{CODE}```<|im_end|>",
        f"```python\n{CODE}<|eot_id|>",
        f"```markdown\n```python\n{CODE}```\n```",
        f"```python\nbroken off\n\nAgain:\n```python\n{CODE}```",
        f"```language-python\n{CODE}```",
        f"```pypy3\n{CODE}```",
        f"```python\n{CODE}```\n```python\n>>> f(1)\n2\n```",
    ],
)
def test_forms_that_models_write_are_read(reply: str) -> None:
    assert extract_code(reply) == CODE


def test_docstring_may_hold_a_fence() -> None:
    code = 'def f():\n    """Doc.\n\n    ```\n    f()\n    ```\n    """\n'
    assert extract_code(f"```python\n{code}```") == code
    assert extract_code(f"~~~python\n{code}~~~") == code


DEFINED = [
    "def f(x): return x\n",
    "class Solution:\n    def f(self, x): return x\n",
    "f = lambda x: x\n",
    "async def f(): 0\n",
]


@pytest.mark.parametrize("code", DEFINED)
@pytest.mark.parametrize("tag", ["python", ""])
def test_function_that_is_asked_for_comes_before_an_example_of_its_use(code: str, tag: str) -> None:
    reply = f"```{tag}\n{code}```\nExample:\n```python\nprint(f(2) == 2)\n```"
    assert extract_code(reply, "f") == code
    assert extract_code(reply, "g") == "print(f(2) == 2)\n"


def test_last_definition_counts() -> None:
    assert extract_code("```python\ndef f(): 1\n```\nBetter:\n```python\ndef f(): 2\n```", "f") == "def f(): 2\n"


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
    if "</think>" not in code and not re.match(r"\s*(?:>>> |In \[|\$ )", code):
        code = code.removeprefix("\ufeff")
        expected = "\n".join(line.removesuffix("\r") for line in code.split("\n")) + "\n"
        assert found == (expected if code.strip() else None)


@pytest.mark.timeout(20)  # a second is plenty in linear time; quadratic time would take minutes
@pytest.mark.parametrize(
    "hostile", ["`", "```\n", "```python\n", "</think>", "`\n", "``` ` ```", " ", "\n", "<think>", "~~~\n"]
)
def test_megabytes_are_read_at_once(hostile: str) -> None:
    extract_code(hostile * (4_000_000 // len(hostile)))
