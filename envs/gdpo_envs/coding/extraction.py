"""The program in a reply: what stands in one of its Markdown fences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_PYTHON = re.compile(
    r"\{?\.?(?:lang(?:uage)?[-:])?(?:[cim]?python|pypy|py)[0-9.]*(?![\w+-])",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(r"(?:markdown|md)$", re.IGNORECASE)
_RUN = re.compile(r"`{3,}|~{3,}")
_LEAD = re.compile(r"(?:[ \t\ufeff]|>|[-*+][ \t]|[0-9]{1,9}[.)][ \t])*+")
"""What may stand before a fence as Markdown has it: space, marks of quotes and of list items."""
_QUOTED = re.compile(r"[ \t]*>[ ]?")
_TAGS = re.compile(r"(?:\s*<[^<>\s]{1,40}>)*+\s*")
"""Tags such as `</answer>` and `<|im_end|>`, which may follow a closing fence on its line."""
_SESSION = re.compile(r"\s*(?:>>> |In \[[0-9]*\]:|\$ )")
_THOUGHT_ENDS = re.compile(r"(?<![`'\"])</think>")
_DEEPER = 4
"""Spaces by which a marker has to be indented to belong to the code, as in a docstring."""


@dataclass(slots=True)
class _Fence:
    marker: str
    tag: str
    indent: str
    """What stands before the marker, as white space."""
    quotes: int
    """How many quotes it is in."""
    first: str = ""
    """The first line that is not blank."""
    lines: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def code(self) -> str:
        """The content, without the indentation of the fence."""
        lines = list(self.lines)
        while not self.closed and lines and lines[-1].strip() and _TAGS.fullmatch(lines[-1]):
            lines.pop()
        if self.indent:
            indent = self.indent[: _shared(self.indent, self.first)]
            lines = [line[_shared(indent, line) :] for line in lines]
        return ("\n".join(lines) + "\n").removeprefix("\ufeff")


def extract_code(reply: str, entry: str | None = None) -> str | None:
    """The program in a reply, or None where there is none.

    A thought up to `</think>` is no part of the answer; a reply that is nothing but an unfinished
    thought has none. The tag counts only outside of code and of quotation marks. Of what is left,
    the last fence counts that is tagged `python`, `py`, `Python3` or alike; where none is, the last
    one without a tag. Where a function is asked for, those that define it come first: an example of
    its use may follow. Blank fences and sessions (`>>>`) are passed over.

    Fences are read as Markdown has them (backticks or tildes, indented, in lists and quotes), with
    what models write beside: text before one on its line, tags behind one. A fence that is not
    closed reaches to the next that is tagged, or to the end.

    Args:
        reply: Any text. The time taken is proportional to its length.
        entry: Name of the function that is asked for.
    """
    code = _chosen(_answer(reply, drafts=True), entry)
    if code is None and "</think>" in reply and not _begins_with_thought(reply):
        code = _chosen(_answer(reply, drafts=False), entry)
    return code


def _chosen(fences: list[_Fence], entry: str | None) -> str | None:
    """The program of those that an answer offers."""
    tagged: list[str] = []
    untagged: list[str] = []
    for fence in fences:
        if fence.tag and not _PYTHON.match(fence.tag):
            continue
        code = fence.code
        if code.strip() and not _SESSION.match(code):
            (tagged if fence.tag else untagged).append(code)
    if entry is not None:
        defines = re.compile(
            rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{entry}\b|^{entry}\b[^=\n(]*=(?!=)|^(?:from|import)\b.*\b{entry}\b",
            re.MULTILINE,
        )
        for offered in (tagged, untagged):
            if found := [code for code in offered if defines.search(code)]:
                return found[-1]
    codes = tagged or untagged
    return codes[-1] if codes else None


def _answer(reply: str, drafts: bool) -> list[_Fence]:
    """The fences behind the thought.

    Args:
        reply: What the policy wrote.
        drafts: Whether a line that begins with `</think>` ends the thought also in a fence, which
            then was a draft that broke off.
    """
    found: list[_Fence] = []
    fence: _Fence | None = None
    ended = False
    for text in reply.split("\n"):
        line = text.removesuffix("\r")
        if fence is not None:
            ends = drafts and not ended and line.lstrip().startswith("</think>")
            if not ends:
                fence = _read(fence, line, found)
                continue
        if "</think>" in line:
            *before, line = _THOUGHT_ENDS.split(line)
            if before:
                found, ended = [], True
        fence = _opening(line)
        if fence is not None:
            found.append(fence)
    return found if ended or not _begins_with_thought(reply) else []


def _begins_with_thought(reply: str) -> bool:
    return reply.lstrip("\ufeff \t\r\n").startswith("<think>")


def _read(fence: _Fence, line: str, found: list[_Fence]) -> _Fence | None:
    """Take a line in a fence; the fence that the next one is in."""
    for _ in range(fence.quotes):
        line = _QUOTED.sub("", line, count=1)
    stripped = line.lstrip()
    if stripped.startswith(fence.marker) and not _is_code(fence, line):
        rest = stripped.lstrip(fence.marker[0])
        if not rest or _TAGS.fullmatch(rest):
            fence.closed = True
            return None
        if _PYTHON.match(rest.strip()) and (opened := _opening(line)) is not None:
            found.append(opened)
            return opened
    if stripped and not fence.first:
        fence.first = line
    fence.lines.append(line)
    return fence


def _is_code(fence: _Fence, line: str) -> bool:
    """Whether a marker on this line is too far in for one of the reply's own."""
    return line[0].isspace() and _width(line) >= max(_width(fence.indent), _width(fence.first)) + _DEEPER


def _shared(indent: str, line: str) -> int:
    """With how many characters of the indentation a line begins."""
    return next((i for i, (a, b) in enumerate(zip(indent, line, strict=False)) if a != b), min(len(indent), len(line)))


def _width(line: str) -> int:
    line = line.expandtabs(_DEEPER)
    return len(line) - len(line.lstrip(" "))


def _opening(line: str) -> _Fence | None:
    """The fence that begins on a line: where it ends after a marker and, perhaps, a tag."""
    if "```" not in line and "~~~" not in line:
        return None
    markers = _RUN.findall(line)
    if sum(each[0] == markers[-1][0] for each in markers) % 2 == 0:
        return None  # what stands between two of them is code within a line
    before, marker, tag = line.rpartition(markers[-1])
    tag = tag.strip()
    lead = _LEAD.match(before)
    alone = lead is not None and lead.end() == len(before)
    if marker[0] in tag or _MARKDOWN.match(tag):
        return None
    if not alone and not _PYTHON.match(tag) and (" " in tag or marker[0] == "~"):
        return None  # a marker that the text speaks of
    start = lead[0] if lead is not None else ""
    indent = "".join(mark if mark.isspace() else " " for mark in start.rpartition(">")[2])
    return _Fence(marker, tag, indent, start.count(">"))
