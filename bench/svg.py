"""A few SVG shapes and the scales of charts: enough for the bench's pictures, and no library.

No background and middle tones only, so that a picture reads on a light page and on a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

TEXT = "#767c85"
FAINT = "#8b929c"
#: told apart also by their lightness
COLOURS = ("#2f7fd1", "#e0762f", "#3f9d63", "#b05fc4", "#b8941f", "#cf4a66", "#3d9aa8", "#8a6f5a")
_FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Canvas:
    """Shapes in the order in which they are drawn; all lengths in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="{_FONT}" font-size="12" role="img">'
            f"<title>{escape(title)}</title>"
        )
        self._shapes: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        size: int = 12,
        bold: bool = False,
        colour: str = TEXT,
    ) -> None:
        """anchor: start, middle or end. y: of the base line."""
        weight = ' font-weight="600"' if bold else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
            f'{weight} fill="{colour}">{escape(text)}</text>'
        )

    def rectangle(
        self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0
    ) -> None:
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" '
            f'rx="2" fill="{colour}" fill-opacity="{opacity:g}"/>'
        )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        colour: str,
        *,
        width: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(
            f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-opacity="{opacity:g}" stroke-linejoin="round"/>'
        )

    def area(self, points: Sequence[tuple[float, float]], colour: str, opacity: float) -> None:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(
            f'<polygon points="{joined}" fill="{colour}" fill-opacity="{opacity:g}"/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 2.5) -> None:
        self._shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>')

    def legend(self, x: float, y: float, names: Sequence[str]) -> None:
        """The names with their colours, side by side."""
        for number, name in enumerate(names):
            self.rectangle(x, y - 10, 11, 11, colour_of(number))
            self.text(x + 17, y, name)
            x += 17 + 7.2 * len(name) + 20

    def __str__(self) -> str:
        return "\n".join((self._head, *self._shapes, "</svg>", ""))


def colour_of(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def number_text(value: float) -> str:
    """Three digits at least, as people read them."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"


def linear_ticks(most: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(most / step * 0.999) + 1)]


def log_ticks(least: float, most: float) -> list[float]:
    """1, 2 and 5 times powers of ten that enclose the two; least above 0."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    steps = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    low = max((step for step in steps if step <= least * 1.001), default=steps[0])
    high = min((step for step in steps if step >= most * 0.999), default=steps[-1])
    return [step for step in steps if low <= step <= high]
