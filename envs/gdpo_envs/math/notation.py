r"""An answer in the one notation that is parsed: the many ways to write a minus, a thousand or a root made one.

Everything is a replacement on the text, made before Math-Verify's parser sees it; nothing is worked out but the value
of a repeating decimal. Bases of numbers are taken off; units are read by `gdpo_envs.math.units`.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

_MINUS = "‐‑‒–—―−⁻﹘﹣－"
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_CHARACTERS = str.maketrans(
    dict.fromkeys(_MINUS, "-")
    | dict.fromkeys("\u200b\u2060\ufeff\u00ad", "")
    | {
        "×": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "∙": r"\cdot ",
        "÷": r"\div ",
        "±": r"\pm ",
        "≤": r"\le ",
        "⩽": r"\le ",
        "≥": r"\ge ",
        "⩾": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "∞": r"\infty ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∖": r"\setminus ",
        "∅": r"\emptyset ",
        "ø": r"\emptyset ",
        "Ø": r"\emptyset ",
        "ℝ": r"\mathbb{R}",
        "°": r"^\circ ",
        "º": r"^\circ ",
        "⁄": "/",
        "∕": "/",
        "½": r"\frac{1}{2}",
        "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "⅕": r"\frac{1}{5}",
        "⅙": r"\frac{1}{6}",
        "⅛": r"\frac{1}{8}",
        "⅜": r"\frac{3}{8}",
        "⅝": r"\frac{5}{8}",
        "⅞": r"\frac{7}{8}",
    }
)
_COMMANDS = (
    (re.compile(r"\\(?:text)?(?:minus|[ne][nm]dash|endash|emdash)(?![a-zA-Z])|\\text\{\s*-+\s*\}|\{-\}"), "-"),
    (re.compile(r"\\(?:varnothing|O)(?![a-zA-Z])"), r"\\emptyset "),
    (re.compile(r"\\(?:approxeq|thickapprox|simeq|doteq)(?![a-zA-Z])"), r"\\approx "),
    (re.compile(r"\\(?:leqslant|leqq)(?![a-zA-Z])"), r"\\le "),
    (re.compile(r"\\(?:geqslant|geqq)(?![a-zA-Z])"), r"\\ge "),
    (re.compile(r"\\(?:text|mathrm)\{\s*per\s?cent\s*\}|(?<![a-zA-Z])per\s?cent(?![a-zA-Z])"), r"\\%"),
    (re.compile(r"\\text\{\s*,\s*(and|or)\s*\}"), r"\\text{ \1 }"),
    (re.compile(r"\\text\{\s*all (?:the )?real(?: number)?s\s*\}|^\s*all real(?: number)?s\s*$"), r"\\mathbb{R}"),
    (re.compile(r"(?<=\\ne)q?\s*\\pm\s*(.+)$"), r" \1,-\1"),
    (re.compile(r"\\(?:degree|textdegree)(?![a-zA-Z])"), r"^\\circ "),
)
_SPACES = re.compile(r"\s+")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]*[⁰¹²³⁴⁵⁶⁷⁸⁹][⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]*")
_SUBSCRIPTS = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_BARE_ROOT = re.compile(r"([√∛])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9]+(?:\.[0-9]+)?|[a-zA-Z]))")
_ROOT = re.compile(r"\\sqrt\s*\(([^()]*)\)")
_SCIENTIFIC = re.compile(r"^\s*([-+]?[0-9]+(?:\.[0-9]+)?)[eE]([-+]?[0-9]{1,3})(?![0-9A-Za-z.])")

_WRAPPINGS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\$\$(.*)\$\$",
        r"\$([^$]*)(?<!\\)\$",
        r"\\\((.*)\\\)",
        r"\\\[(.*)\\\]",
        r"\*\*(.*)\*\*",
        r"\*([^*]*)\*",
        r"__(.*)__",
        r"`([^`]*)`",
        r"\{([^{},]*)\}",
        r"\\(?:boldsymbol|bm|pmb|mathbf|textbf|underline|displaystyle|ensuremath|fbox)\s*\{([^{}]*)\}",
        r"\{\\(?:bf|rm|bfseries|large|Large)\s+([^{}]*)\}",
        r"\\(?:textcolor|color)\s*\{[^{}]*\}\s*\{?([^{}]*)\}?",
        r"\\text\s*\{\s*([A-Z](?:\s*,\s*[A-Z])+)\s*\}",
        r"\\text\s*\{\s*(-?[0-9][0-9.,/]*)\s*\}",
    )
)
_DOLLARS = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")
_LEADING = re.compile(r"^(?:\s|=|\\approx(?![a-zA-Z])|\\therefore(?![a-zA-Z])|~)+")
_TRAILING = re.compile(r"(?:\s|\\(?:[,;:! ]|$)|[.,;](?![0-9]))+$")

_GAP = r"(?:\s|~|\\[,;:! ]|\{\\,\}|\\(?:thinspace|enspace|space)(?![a-zA-Z])|\\text\{\s*\}|\\hspace\*?\{[^{}]*\})"
_THOUSANDS = re.compile(rf"(?<![0-9.,])[0-9]{{1,3}}(?:{_GAP}+[0-9]{{3}})+(?![0-9])")
_COMMAS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:(?:,\\!\s*|\{,\})[0-9]{3})+(?![0-9])")
_COMMAS_ASSIGNED = re.compile(r"(?<==)(\s*-?\s*)([0-9]{1,3}(?:,[0-9]{3})+)(?=(?:\.[0-9]+)?\s*$)")
_NO_DIGIT = re.compile(r"[^0-9]+")
_HSPACE = re.compile(r"\\hspace\*?\{[^{}]*\}")
_MIXED = re.compile(
    rf"(?<![0-9A-Za-z.}}/])([0-9]+)(?:{_GAP})+(?:([0-9]+)\s?/\s?([0-9]+)(?![0-9A-Za-z.^!])|(?=\\[dtc]?frac\s?[0-9{{]))"
)
_MARK = r"\\(?:overline|bar|dot|overbar)"
_REPEATED = rf"(?:{_MARK}\s*(?:\{{\s*[0-9]+\s*\}}|[0-9])|[0-9])"
_REPEATING = re.compile(
    rf"(?<![0-9.])([0-9]*)\s?(?:\{{\.\}}|\.)\s?((?:{_REPEATED})*{_MARK}\s*(?:\{{\s*[0-9]+\s*\}}|[0-9]))"
)
_COMBINING = re.compile("([0-9])[\u0304\u0305\u0307]")
_REPEATED_PART = re.compile(rf"({_MARK})\s*(?:\{{\s*([0-9]+)\s*\}}|([0-9]))|([0-9])")
MAX_REPEATED = 30
"""Digits of a repeating decimal behind its point; one with more is left as it stands."""

_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BASES |= {"eleven": 11, "twelve": 12, "sixteen": 16}
_WRAP = r"\\(?:text|mathrm|mbox|textbf|mathbf)\s*"
_DIGITS = (
    rf"(?:{_WRAP}\{{\s*([0-9A-Za-z]+)\s*\}}|\(\s*([0-9A-Z]+)\s*\)|(?<![0-9A-Za-z.\\])([0-9][0-9A-Z]*|[A-Z][0-9A-Z]+))"
)
_BASE = rf"(?:\{{?\s*(?:{_WRAP})?[{{(]*\s*(?:base\s*)?({'|'.join(_BASES)}|[0-9]{{1,2}})(?![0-9A-Za-z])\s*[)}}]*)"
_NAMED_BASE = (
    rf"{_WRAP}\{{\s*\(?\s*(?:in\s+)?base[ -]*\}}?\s*({'|'.join(_BASES)}|[0-9]{{1,2}})(?![0-9A-Za-z])\s*\)?\s*\}}?"
)
_BASED = re.compile(rf"{_DIGITS}\s*(?:_\s*{_BASE}|(?:{_GAP})*{_NAMED_BASE})")

Numeral = tuple[str, int]
"""Digits and base of a number such as `2516_8`."""


def rewritten(answer: str) -> str:
    """An answer in the notation that is parsed.

    Args:
        answer: As it was given, without its box.

    Returns:
        LaTeX of the same meaning.
    """
    text = _SPACES.sub(" ", answer)
    text = _SUPERSCRIPTS.sub(lambda m: f"^{{{m[0].translate(_SUPERSCRIPT)}}}", text)
    text = _SUBSCRIPTS.sub(lambda m: f"_{{{m[0].translate(_SUBSCRIPT)}}}", text)
    text = _BARE_ROOT.sub(_root, text).translate(_CHARACTERS)
    for pattern, replacement in _COMMANDS:
        text = pattern.sub(replacement, text)
    text = _DOLLARS.sub(r"\1", _unwrapped(text))
    text = _COMBINING.sub(r"\\overline{\1}", text)
    text = _REPEATING.sub(_fraction, text)
    text = _THOUSANDS.sub(_joined, text)
    text = _COMMAS.sub(_joined, text)
    text = _COMMAS_ASSIGNED.sub(lambda m: m[1] + m[2].replace(",", ""), text)
    text = _MIXED.sub(lambda m: rf"{m[1]}\frac{{{m[2]}}}{{{m[3]}}}" if m[2] else m[1], text)
    return _SCIENTIFIC.sub(r"\1\\times 10^{\2}", _ROOT.sub(r"\\sqrt{\1}", text))


def without_bases(text: str) -> tuple[str, Counter[Numeral]]:
    """A text whose numbers have lost their bases, and these numbers."""
    numerals: Counter[Numeral] = Counter()

    def bare(match: re.Match[str]) -> str:
        digits = match[1] or match[2] or match[3]
        name = match[4] or match[5]
        base = _BASES.get(name) or int(name)
        if not digits.isdigit() and any(int(digit, 36) >= base for digit in digits):  # 2A_2 is twice A_2
            return match[0]
        numerals[digits.upper().lstrip("0") or "0", base] += 1
        return f"{digits} "  # so that 11_2,101_2 does not become 11,101

    return _BASED.sub(bare, text).strip(), numerals


def _unwrapped(text: str) -> str:
    """Without bold type, dollar signs and the like around all of it, and without a sign of equality before it."""
    while True:
        bare = _TRAILING.sub("", _LEADING.sub("", text))
        bare = next((match[1] for pattern in _WRAPPINGS if (match := pattern.fullmatch(bare))), bare)
        if bare == text:
            return text
        text = bare


def _root(match: re.Match[str]) -> str:
    inside = next(part for part in match.groups()[1:] if part is not None)
    return rf"\sqrt{'[3]' if match[1] == '∛' else ''}{{{inside}}}"


def _joined(match: re.Match[str]) -> str:
    return _NO_DIGIT.sub("", _HSPACE.sub("", match[0]))


def _fraction(match: re.Match[str]) -> str:
    r"""0.1\overline{6} as \frac{1}{6}; with two dots the digits from the first to the last one repeat."""
    plain, repeated = "", ""
    for mark, group, single, digit in _REPEATED_PART.findall(match[2]):
        if mark:
            repeated += group or single
        elif repeated and r"\dot" in match[2]:
            repeated += digit
        elif repeated:
            return match[0]  # something behind the repeating digits
        else:
            plain += digit
    if len(plain) + len(repeated) > MAX_REPEATED:
        return match[0]
    first = int((match[1] or "0") + plain)
    value = (first + Fraction(int(repeated), 10 ** len(repeated) - 1)) / 10 ** len(plain)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
