r"""Units behind an answer: `5\text{ cm}`, `60 km/h`, `\$4`, `8\text{ square feet}`.

A unit may be left out, and be written in several ways; two different ones contradict each other. Nothing is converted:
an hour is another answer than 60 minutes. Words that are no units of measure, such as `apples`, contradict nothing.
"""

from __future__ import annotations

import re
from collections import Counter

Unit = frozenset[tuple[str, int]]
"""Names of units of measure, each with its exponent; empty for words that are none."""

_SPELLINGS = {
    "inch": "in inch inches",
    "foot": "ft foot feet",
    "yard": "yd yard",
    "mile": "mi mile",
    "lightyear": "ly lightyear",
    "tonne": "t ton tonne",
    "pound": "lb lbs pound",
    "ounce": "oz ounce",
    "minute": "min minute",
    "hour": "h hr hour",
    "day": "d day",
    "week": "wk week",
    "month": "mo month",
    "year": "yr year",
    "decade": "decade",
    "century": "century centuries",
    "gallon": "gal gallon",
    "quart": "qt quart",
    "pint": "pt pint",
    "cup": "cup",
    "tablespoon": "tbsp tablespoon",
    "teaspoon": "tsp teaspoon",
    "acre": "ac acre",
    "hectare": "ha hectare",
    "knot": "kn knot",
    "dollar": "usd dollar",
    "cent": "cent ¢ cents",
    "euro": "eur euro",
    "pound sterling": "gbp £",
    "rupee": "rs rupee inr",
    "yen": "yen jpy",
    "yuan": "yuan rmb cny",
    "degree": "deg degree",
    "radian": "rad radian",
    "kelvin": "k kelvin",
    "celsius": "celsius c centigrade",
    "fahrenheit": "fahrenheit f",
    "dozen": "dozen",
    "bit": "bit",
    "byte": "byte",
    "am": "am",
    "pm": "pm",
    "unit": "unit",
}
_METRIC = {
    "meter": "m meter metre",
    "gram": "g gram gramme",
    "liter": "l liter litre",
    "second": "s sec second",
    "newton": "n newton",
    "joule": "j joule",
    "watt": "w watt",
    "volt": "v volt",
    "ampere": "a ampere amp",
    "ohm": "ohm",
    "hertz": "hz hertz",
    "pascal": "pa pascal",
    "mole": "mol mole",
    "calorie": "cal calorie",
    "electronvolt": "ev electronvolt",
}
_PREFIXES = {"kilo": "k", "centi": "c", "milli": "m", "deci": "d", "micro": "μ", "nano": "n", "hecto": "h", "mega": ""}
_COMPOUND: dict[str, dict[str, int]] = {
    "mph": {"mile": 1, "hour": -1},
    "kmh": {"kilometer": 1, "hour": -1},
    "kph": {"kilometer": 1, "hour": -1},
    "kmph": {"kilometer": 1, "hour": -1},
    "fps": {"foot": 1, "second": -1},
    "cc": {"centimeter": 3},
    "kwh": {"kilowatt": 1, "hour": 1},
}


def _table() -> dict[str, dict[str, int]]:
    """Spelling → names and exponents, with plurals and decimal prefixes."""
    table = dict(_COMPOUND)
    for names in (_METRIC, _SPELLINGS):
        for name, spellings in names.items():
            for spelling in spellings.split():
                table |= {form: {name: 1} for form in (spelling, f"{spelling}s")}
                if names is _METRIC:
                    short = len(spelling) < 3
                    for prefix, letter in _PREFIXES.items():
                        if start := letter if short else prefix:
                            table |= {f"{start}{spelling}{end}": {f"{prefix}{name}": 1} for end in ("", "s")}
    for spelling in ("ms", "cs", "hs", "ds", "ns", "ts", "as", "js", "ins"):  # m, c, h, … have no plural
        table.pop(spelling, None)
    return table | {"ms": {"millisecond": 1}, "ns": {"nanosecond": 1}, "rs": {"rupee": 1}}


_TABLE = _table()
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_TOKEN = re.compile(r"[a-zμΩ¢£€]+|/|\^?\s*\{?\s*(-?[0-9]+)\s*\}?")

_TYPES = "text|mbox|hbox|textrm|textnormal|textit|textbf|textsf|mathrm|mathit|mathsf|operatorname|unit"
_MARKED = rf"\\(?:{_TYPES})\*?\s*\{{[^{{}}]*\}}"
_OLD_STYLE = r"\{\s*\\rm\s[^{}]*\}"
_DEGREE = r"(?:\^\s*\{?\s*\\circ\s*\}?)"
_EXPONENT = r"\s*\^\s*(?:\{\s*-?[0-9]\s*\}|-?[0-9])"
_SPACE = r"(?:\s|~|\\[,;:! ]|\\(?:quad|thinspace)(?![a-zA-Z]))"
_BETWEEN = rf"(?:{_SPACE}|/|\\cdot(?![a-zA-Z])|\.)"
_MARKED_TAIL = re.compile(
    rf"(?:{_SPACE}*(?:{_DEGREE}|{_MARKED}(?:{_EXPONENT})?|{_OLD_STYLE}(?:{_EXPONENT})?)"
    rf"(?:{_BETWEEN}*(?:{_MARKED}|{_OLD_STYLE})(?:{_EXPONENT})?)*(?:{_DEGREE}?{_SPACE}*[CF])?)[\s.]*$"
)
_BARE_TAIL = re.compile(
    rf"(?<=[0-9)}}i])(?P<gap>{_SPACE}*)"
    r"(?P<unit>[A-Za-zμΩ¢€£.]+(?:(?:\s|/|\^?\{?-?[0-9]\}?)+[A-Za-zμΩ.]+)*(?:\s*\^\s*\{?\s*-?[0-9]\s*\}?|[23])?)[\s.]*$"
)
_MONEY = re.compile(r"^(\s*-?\s*)(?:(?:US)?\s*\\\$|(?:US)?\$|\\text\{\s*(?:US)?\\?\$\s*\}|(€|\\euro)|(£|\\pounds))\s*")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|arc[a-z]+|angle)(?![a-zA-Z])")
_WORD = re.compile("[A-Za-zμΩ]+")
_LETTER = re.compile("[A-Za-z]")
_OPEN_END = re.compile(
    r"(?:[-+*/=<>,:(\[{^_]|\\(?:cdot|times|div|pm|mp|le|ge|leq|geq|ne|neq|in|cup|cap|approx|text\{[^{}]*\}))\s*$"
)
_BRACES = re.compile(rf"\\?[{{}}$,;:!~]|\\(?:{_TYPES}|rm|circ)(?![a-zA-Z])|\\")


def split_unit(text: str, truth: tuple[str, Unit | None] | None = None) -> tuple[str, Unit | None]:
    r"""An answer without the unit behind it, or the sign of money before it.

    Args:
        text: The answer, in the notation of `gdpo_envs.math.notation`.
        truth: What this function says of the right answer. A word without a mark such as `\text` is only
            taken for a unit where the truth has no variable.

    Returns:
        The rest of the answer, and its unit; None where it has none.
    """
    if (money := _MONEY.match(text)) and (rest := text[money.end() :].strip()):
        name = "euro" if money[2] else "pound sterling" if money[3] else "dollar"
        return money[1] + split_unit(rest, truth)[0], frozenset({(name, 1)})
    if (tail := _MARKED_TAIL.search(text)) and _is_value(text[: tail.start()], tail[0]):
        return text[: tail.start()].rstrip(), read_unit(tail[0])
    if (bare := _BARE_TAIL.search(text)) and _is_bare_unit(text[: bare.start()], bare, truth):
        return text[: bare.start()].rstrip(), read_unit(bare["unit"])
    return text, None


def read_unit(text: str) -> Unit:
    """The unit that some words name; empty where they name none."""
    words = _BRACES.sub(lambda m: " degree " if m[0] == r"\circ" else " ", text).lower()
    words = re.sub(r"\b([ap])\.?\s?m\b\.?", r"\1m", words).replace(".", " ")
    unit: Counter[str] = Counter()
    sign, power = 1, 1
    last: dict[str, int] = {}
    for token in _TOKEN.finditer(words):
        word = token[0]
        if token[1]:
            unit.update({name: exponent * (int(token[1]) - 1) for name, exponent in last.items()})
            last = {}
        elif word in ("/", "per", "an", "a") and (word not in ("a", "an") or last):
            sign = -1
        elif word in ("squared", "cubed", "square", "sq") and last and sign == 1 and not _follows(words, token.end()):
            unit.update({name: exponent * (_POWERS[word] - 1) for name, exponent in last.items()})
        elif word in _POWERS:
            power = _POWERS[word]
        elif (known := _TABLE.get(word)) is not None:
            last = {name: exponent * sign * power for name, exponent in known.items()}
            unit.update(last)
            power = 1
        else:
            break
    if {"celsius", "fahrenheit"} & set(unit):
        unit.pop("degree", None)
    return frozenset((name, exponent) for name, exponent in unit.items() if exponent)


def contradict(one: Unit | None, other: Unit | None) -> bool:
    """Whether two units are different units of measure."""
    if not one or not other:
        return False
    names = {name for name, _ in one}, {name for name, _ in other}
    if ({"unit"} in names) and names[0] != names[1]:  # square units may be any
        return False
    return one != other


def _follows(words: str, position: int) -> bool:
    return bool(_LETTER.search(words, position))


def _is_value(text: str, tail: str) -> bool:
    """Whether what stands before a unit can have one."""
    if not text.strip() or _OPEN_END.search(text):
        return False
    return not (r"\circ" in tail and _FUNCTION.search(text))


def _is_bare_unit(value: str, match: re.Match[str], truth: tuple[str, Unit | None] | None) -> bool:
    if not value.strip() or _variables(value) or (truth and _variables(truth[0])):
        return False
    name, spaced = match["unit"].strip(), bool(match["gap"])
    unit = read_unit(name)
    if all(len(word) == 1 for word in _WORD.findall(name)) and not (
        spaced and "/" in name
    ):  # m or m^2 may be variables
        return truth is not None and bool(unit) and unit == truth[1]
    if unit:
        return spaced or truth is not None
    return spaced and all(len(word) > 2 for word in name.split()) and len(name) > 3


def _variables(text: str) -> bool:
    """Whether letters stand in it, other than a name before `=`."""
    return bool(_LETTER.search(_COMMAND.sub("", text.rpartition("=")[2])))
