"""Draws the table of `benchmarks/performance.py` as an SVG: shares of the marks, on one scale."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple


class Bar(NamedTuple):
    """A figure as a share of its mark: 1 is the mark, more is better. `first` came first."""

    text: str
    now: float
    first: float | None = None


LEFT, TOP, WIDTH, ROW = 360, 40, 440, 26
LOWEST, HIGHEST = 0.01, 10.0
"""The shares at both edges of the logarithmic scale."""
MET, MISSED, FIRST = "#3ca951", "#ff725c", "#9498a0"


def plot(bars: Sequence[Bar]) -> str:
    """Return the figures as an SVG."""
    bottom, right = TOP + ROW * len(bars), LEFT + WIDTH + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {bottom + 50}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{right}" height="{bottom + 50}" fill="#fff"/>',
        _text(LEFT, 16, "share of the mark that is reached; more is better"),
    ]
    for share in (0.01, 0.1, 1.0, 10.0):
        colour = "#000" if share == 1 else "#ddd"
        parts.append(f'<path d="M{_x(share):.1f} {TOP - 6}V{bottom}" stroke="{colour}"/>')
        parts.append(
            _text(_x(share), bottom + 16, "mark" if share == 1 else f"{share:g}", "middle")
        )
    for at, bar in enumerate(bars):
        y = TOP + ROW * (at + 0.5)
        parts.append(_text(LEFT - 12, y + 4, bar.text, "end"))
        if bar.first is not None:
            parts.append(f'<path d="M{_x(bar.first):.1f} {y}H{_x(bar.now):.1f}" stroke="{FIRST}"/>')
            parts.append(_dot(bar.first, y, FIRST))
        parts.append(_dot(bar.now, y, MET if bar.now >= 1 else MISSED))
    for at, (colour, text) in enumerate(
        ((FIRST, "first version"), (MISSED, "now, mark missed"), (MET, "now, mark met"))
    ):
        x = LEFT + 150 * at
        parts.append(f'<circle cx="{x}" cy="{bottom + 36}" r="5" fill="{colour}"/>')
        parts.append(_text(x + 12, bottom + 40, text))
    return "\n".join([*parts, "</svg>", ""])


def _x(share: float) -> float:
    place = math.log(min(max(share, LOWEST), HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return LEFT + WIDTH * place


def _dot(share: float, y: float, colour: str) -> str:
    title = f"<title>{share:.2f} of the mark</title>"
    return f'<circle cx="{_x(share):.1f}" cy="{y:.1f}" r="5" fill="{colour}">{title}</circle>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
