"""Literals of Java and JavaScript, as the Berkeley Function-Calling Leaderboard reads them.

Source: the rules of `eval_checker/ast_eval/type_convertor/` in github.com/ShishirPatil/gorilla at
cd9429cc (BFCL v3). Its reading is rough: a collection ends at its first closing bracket and is cut at every
comma, and in `new String[]{"a"}` the quotes belong to the texts. It has to be read so, or accuracies would not
compare with published ones. A text that is not of the declared type stays a text.

No literal in BFCL's answers is longer than 200 characters; what is longer than `LONGEST` is not
read, which bounds the time.
"""

from __future__ import annotations

import re
from typing import Any

TYPES: dict[str, dict[str | None, type]] = {
    "python": {
        "string": str,
        "integer": int,
        "float": float,
        "boolean": bool,
        "array": list,
        "tuple": list,
        "dict": dict,
        "any": str,
    },
    "java": {
        **dict.fromkeys(("byte", "short", "integer", "long"), int),
        **dict.fromkeys(("float", "double"), float),
        **dict.fromkeys(("Array", "ArrayList", "Queue", "Stack"), list),
        **dict.fromkeys(("HashMap", "Hashtable"), dict),
        **dict.fromkeys(("char", "String", "any"), str),
        "boolean": bool,
    },
    "javascript": {
        "String": str,
        "integer": int,
        "Bigint": int,
        "float": float,
        "Boolean": bool,
        "dict": dict,
        "array": list,
        "any": str,
    },
}
"""Language → declared type → the Python type of its values."""
LONGEST = 1000
"""Characters of the longest literal that is read."""

_BOOLEANS = {"true": True, "false": False}
_WHOLE, _FRACTION, _EXPONENT = r"-?\d+", r"(\.\d+)?", r"([eE][+-]?\d+)?"
_NUMBERS = {
    ("java", "byte"): (_WHOLE, int),
    ("java", "short"): (_WHOLE, int),
    ("java", "integer"): (_WHOLE, int),
    ("java", "long"): (_WHOLE + "[lL]", int),
    ("java", "float"): (_WHOLE + _FRACTION + _EXPONENT + "[fF]", float),
    ("java", "double"): (_WHOLE + _FRACTION + _EXPONENT, float),
    ("javascript", "integer"): (_WHOLE, int),
    ("javascript", "Bigint"): (_WHOLE + "n", int),
    ("javascript", "float"): (_WHOLE + _FRACTION, float),
}
"""Language and type → what its numbers look like, and what they become."""


def read_literal(text: str, kind: str, inner: str | None, language: str) -> Any:
    """The value that a literal stands for.

    Args:
        text: The literal, such as `new ArrayList<Integer>(Arrays.asList(1, 2))`.
        kind: The declared type, a key of `TYPES`.
        inner: The declared type of a collection's items.
        language: `"java"` or `"javascript"`.

    Returns:
        A value of the declared type, or the text itself.
    """
    if len(text) > LONGEST:
        return text
    if kind in ("boolean", "Boolean"):
        return _BOOLEANS.get(text, text)
    if (number := _NUMBERS.get((language, kind))) is not None:
        pattern, make = number
        return make(text.rstrip("lLfFn")) if re.fullmatch(pattern, text) else text
    if language == "javascript":
        return _read_javascript(text, kind, inner)
    if kind in ("Array", "ArrayList"):
        return _read_list(text, kind, inner or "any")
    return _read_hash_map(text) if kind == "HashMap" else text


def write_literal(value: Any, kind: str, inner: str | None, language: str) -> str:
    """A literal that `read_literal` reads as the value, where there is one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        suffix = {("java", "long"): "L", ("java", "float"): "f", ("javascript", "Bigint"): "n"}
        return f"{value}{suffix.get((language, kind), '')}"
    if isinstance(value, list):
        quoted = kind != "Array" and inner in ("String", "char")
        items = ", ".join(
            f'"{item}"' if quoted else write_literal(item, inner or "any", None, language) for item in value
        )
        java = {"Array": f"new {inner}[]{{{items}}}", "ArrayList": f"new ArrayList<>(Arrays.asList({items}))"}
        return f"[{items}]" if language == "javascript" else java[kind]
    if isinstance(value, dict) and language == "java":
        puts = " ".join(f'put("{key}", {_quoted(item)});' for key, item in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_quoted(item)}' for key, item in value.items()) + "}"
    return str(value)


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    return f'"{value}"' if isinstance(value, str) else write_literal(value, "any", None, "javascript")


def _read_list(text: str, kind: str, inner: str) -> Any:
    if kind == "Array":
        found = re.search(r"new\s+\w+\[\]\s*\{(.*?)\}", text)
        items = [stripped for item in found[1].split(",") if (stripped := item.strip())] if found else []
    elif found := re.search(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)", text):
        items = [item.strip() for item in found[1].split(",")]
    elif found := re.search(r"new\s+ArrayList<\w*>\(\)", text):
        body = _between(text[found.end() :], "{{", "}}")
        items = [item.strip() for item in re.findall(r"add\((.+?)\)", body)]
    if not found:
        return text
    if kind == "ArrayList" and inner in ("char", "String"):
        return [item[1:-1] for item in items]
    return [read_literal(item, inner, None, "java") for item in items]


def _read_hash_map(text: str) -> Any:
    found = re.search(r"new\s+HashMap<.*?>\s*\(\)", text, re.DOTALL)
    if not found:
        return text
    body = _between(text[found.end() :], "{", "}")
    return {key: _guess(value.strip(), "java") for key, value in re.findall(r'put\("(.*?)",\s*(.*?)\)', body)}


def _between(text: str, opening: str, closing: str) -> str:
    """What stands in the brackets that the text begins with; nothing if it does not."""
    _, opened, rest = text.partition(opening)
    return rest.partition(closing)[0] if text.lstrip().startswith(opening) and opened and closing in rest else ""


def _read_javascript(text: str, kind: str, inner: str | None) -> Any:
    if kind == "String":
        return _unquoted(text)
    text = text.strip() if kind in ("array", "dict") else text
    if kind == "array" and (found := re.match(r"\[(.*?)\]|new\s+Array\((.*?)\)", text)):
        items = (found[1] or found[2] or "").strip()
        read = (item.strip() for item in items.split(",")) if items else ()
        language = "javascript"
        return [read_literal(item, inner, None, language) if inner else _guess(item, language) for item in read]
    if kind == "dict" and (found := re.match(r"\{(.*?)\}", text)):
        pairs = re.findall(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)", found[1])
        return {key.strip().strip("'\""): _entry(value.strip()) for key, value in pairs}
    return text


def _entry(value: str) -> Any:
    if value.startswith("[") and value.endswith("]"):
        return _read_javascript(value, "array", None)
    return _guess(value.strip("'\"").strip(), "javascript")


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ('"', "'") and text.endswith(text[:1]) else text


def _guess(text: str, language: str) -> Any:
    """A value whose type is not declared."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if (unquoted := _unquoted(text)) != text and (language == "javascript" or text[0] == '"'):
        return unquoted
    if language == "java" and re.fullmatch(rf"({_WHOLE}[lL]|{_WHOLE}{_FRACTION}{_EXPONENT}[fF])", text):
        return int(text[:-1]) if text[-1] in "lL" else float(text[:-1])
    for make in (int, float):
        try:
            return make(text)
        except ValueError:
            continue
    return text
