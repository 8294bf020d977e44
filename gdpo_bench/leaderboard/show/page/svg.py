"""What all charts are made of: elements with escaped text, scales, ticks and a frame with axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

NOTHING = Markup("")


def tag(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element; text and attributes are escaped, unless they are `Markup` already.

    Args:
        name: The element's name.
        children: Its content, in order.
        attributes: `class_` stands for `class`, other underscores for hyphens; `None` leaves one out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>")


def number(value: float) -> str:
    """A coordinate with one digit after the point, or none."""
    text = f"{value:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")


def path(points: Sequence[tuple[float, float]], close: bool = False) -> str:
    """The `d` of a path along points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + ("Z" if close else "")


def marker(shape: str, x: float, y: float, title: str = "", class_: str = "marker") -> Markup:
    """A symbol of `templates/markers.html` around a point, with a tooltip."""
    return tag("use", tag("title", title) if title else NOTHING, href=f"#m-{shape}", x=x, y=y, class_=class_)


@dataclass(frozen=True)
class Scale:
    """A linear map from values, low to high, to coordinates, start to end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value; values outside lie at the border."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, least: int = 3) -> list[float]:
        """Round values, 1, 2 or 5 times a power of ten apart: as few as there can be, but `least`."""
        power = 10.0 ** math.ceil(math.log10(self.high - self.low))
        for step in (power * 10**-down * factor for down in range(3) for factor in (1, 0.5, 0.2)):
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first + 1 >= least:
                return [i * step for i in range(first, last + 1)]
        return [self.low, self.high]


def tick_label(value: float) -> str:
    """A tick's value, with a true minus sign."""
    return f"{value:.6g}".replace("-", "−") if abs(value) > 1e-12 else "0"


@dataclass(frozen=True)
class Frame:
    """A panel's size, and the area within it that data are drawn in, in pixels."""

    width: float = 320
    height: float = 210
    left: float = 40
    right: float = 12
    top: float = 8
    bottom: float = 38

    def x(self, low: float, high: float) -> Scale:
        """Scale along the area, left to right."""
        return Scale(low, high, self.left, self.width - self.right)

    def y(self, low: float, high: float) -> Scale:
        """Scale up the area, bottom to top."""
        return Scale(low, high, self.height - self.bottom, self.top)

    def x_axis(self, scale: Scale, title: str, least: int = 3, ticks: Mapping[float, str] | None = None) -> Markup:
        """At least so many ticks, or those that are given with their labels, and a title, below the area."""
        base = self.height - self.bottom
        told = {value: tick_label(value) for value in scale.ticks(least)} if ticks is None else ticks
        parts = [
            tag("path", d=f"M{number(scale(value))} {number(base)}v4", class_="tick")
            + tag("text", label, x=scale(value), y=base + 15, text_anchor="middle")
            for value, label in told.items()
        ]
        middle = (scale.start + scale.end) / 2
        parts.append(tag("text", title, x=middle, y=self.height - 5, text_anchor="middle", class_="axis"))
        parts.append(tag("path", d=f"M{number(scale.start)} {number(base)}H{number(scale.end)}", class_="frame"))
        return tag("g", *parts)

    def y_axis(self, scale: Scale, title: str = "", least: int = 4) -> Markup:
        """At least so many grid lines and ticks, and perhaps a title, left of the area."""
        parts = [
            tag(
                "path",
                d=f"M{number(self.left)} {number(scale(value))}H{number(self.width - self.right)}",
                class_="grid",
            )
            + tag("text", tick_label(value), x=self.left - 6, y=scale(value) + 3.5, text_anchor="end")
            for value in scale.ticks(least)
        ]
        if title:
            middle = number((scale.start + scale.end) / 2)
            parts.append(
                tag("text", title, transform=f"translate(11 {middle}) rotate(-90)", text_anchor="middle", class_="axis")
            )
        return tag("g", *parts)

    def drawing(self, title: str, description: str, *content: str) -> Markup:
        """The picture, whose title and description are read out in its place.

        Args:
            title: What is shown.
            description: What can be seen, in words.
            content: Elements, back to front.
        """
        return tag(
            "svg",
            *content,
            viewBox=f"0 0 {number(self.width)} {number(self.height)}",
            role="img",
            aria_label=f"{title}. {description}" if description else title,
        )


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of values and some air; never empty."""
    low, high = min(values), max(values)
    air = (high - low) * share or max(abs(high) * share, 1e-3)
    return low - air, high + air
