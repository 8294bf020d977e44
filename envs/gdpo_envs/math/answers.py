"""The final answer of a worked solution, read as an exact number.

Nothing is evaluated, and a megabyte of digits costs no more than reading it.
"""

from __future__ import annotations

import re
from collections import deque
from fractions import Fraction

_MARKER = re.compile(
    r"""
    <answer>
    | ^ [ \t#*_>]{0,12} (?i: (?:the[ ])? (?:final[ ])? answer ) [ \t*_]{0,4} (?: : | (?=\r?$) )  # or a heading
    | \#\#\#\# (?! [ \t*]{0,4} [A-Za-z]{3} )                # and not the heading of a step
    | ^ [ \t*_]{0,4} A:                                    # and not the one of "Plan A:"
    | (?i: the[ ] (?:final[ ])? answer[ ]is ) :?
    | \\boxed\s?\{
    """,
    re.VERBOSE | re.MULTILINE,
)
"""What announces the final answer. The last one in a reply counts."""
_DASH = "-‐‑‒–—―−﹘﹣－"
_LEADING_DASH = re.compile(rf"^([\s*_:]*)[{_DASH}]\s*(?=\\?\$?[0-9.\\])")
"""A minus before what is announced, perhaps with a space behind it."""
_BULLET = re.compile(r"\A[ \t*_:]{0,8}\r?\n\s{0,8}[-*+•][ \t]")
"""What begins an item of a list below the announcement."""

_NUMBER = re.compile(
    r"""
    (?P<sign> (?<![0-9A-Za-z)}\].]) [-‐‑‒–—―−﹘﹣－] )?        # a minus after an operand is a subtraction
    (?: \\?\$ )? (?P<late_sign> (?<=\$) [-‐‑‒–—―−﹘﹣－] )?     # $-5
    (?: \\[dt]?frac \{ \s? (?P<top> [0-9]{1,100} ) \s? \} \{ \s? (?P<bottom> [0-9]{1,100} ) \s? \}
      | (?P<whole> [0-9]{1,3} (?: (?:,|\{,\}|\\,|[\u00a0\u2009\u202f]) [0-9]{3} )+ (?![0-9]) | [0-9]+ )
        (?: (?P<decimals> \.[0-9]+ ) | / (?P<over> [0-9]{1,100} ) (?![0-9]) )?
      | (?P<bare> (?<![0-9]) \.[0-9]+ )
    )
    (?: (?: [eE] | \s? (?: \\times | \\cdot | [×x*] ) \s? 10 \s? (?: \^ | \*\* ) \{? )
        (?P<exponent> [-+−–]? [0-9]{1,3} ) (?! [0-9A-Za-z.][0-9A-Za-z] | [A-Za-z] ) )?
    """,
    re.VERBOSE,
)
_MAX_DIGITS = 300


def final_answer(reply: str) -> Fraction | None:
    r"""The number that a reply ends up with.

    It is announced by the last of `<answer>`, `####`, `The answer is`, `\boxed{`, and, where a line begins with
    them, `A:`, `Answer:` and a heading such as `### Final answer`; where none occurs it is the last number of the
    reply. What is announced reaches to `</answer>`, to the closing brace or to the end of the line. The first
    number in it counts, or, if it is an equation, the first one right of the last `=`.

    Args:
        reply: A worked solution.

    Returns:
        The number, or None where there is none.
    """
    marker = _last(_MARKER, reply)
    if marker is None:
        number = _last(_NUMBER, reply)
    else:
        announced = _announced(reply, marker)
        parts = (_LEADING_DASH.sub(r"\1-", part) for part in (announced.rpartition("=")[2], announced))
        number = next(filter(None, map(_NUMBER.search, parts)), None)
    return None if number is None else _value(number)


def read_number(text: str) -> Fraction | None:
    """The first number in a text: digits, commas between thousands, a decimal part or a fraction.

    Signs of money and per cent are left out: `$1,234.50` is 1234.5 and `50%` is 50.

    Args:
        text: The text.

    Returns:
        The exact value; None where there is no number, it has more than 300 digits, or its
        denominator is 0.
    """
    number = _NUMBER.search(text)
    return None if number is None else _value(number)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = deque(pattern.finditer(text), maxlen=1)
    return found[0] if found else None


def _announced(reply: str, marker: re.Match[str]) -> str:
    rest = reply[marker.end() :]
    if marker[0] == "<answer>":
        return rest.partition("</answer>")[0]
    if marker[0].endswith("{"):
        return rest[: _closing_brace(rest)]
    return _BULLET.sub("", rest, count=1).lstrip(" \t\r\n*_:").partition("\n")[0]


def _closing_brace(text: str) -> int:
    """Index of the brace that closes one opened before the text; its length where none does."""
    depth = 1
    for brace in re.finditer(r"[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return len(text)


def _value(number: re.Match[str]) -> Fraction | None:
    top, bottom = number["top"], number["bottom"] or number["over"]
    digits = top or re.sub("[^0-9]", "", number["whole"] or "") + (number["decimals"] or number["bare"] or "")
    if len(digits) > _MAX_DIGITS or (bottom is not None and int(bottom) == 0):
        return None
    value = Fraction(digits) / int(bottom or 1)
    if number["exponent"]:
        exponent = int(number["exponent"].replace("−", "-").replace("–", "-"))
        if abs(exponent) > _MAX_DIGITS:
            return None
        value *= Fraction(10) ** exponent
    return -value if number["sign"] or number["late_sign"] else value
