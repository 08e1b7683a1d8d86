"""Draws the table of `benchmarks/pacing.py` as an SVG: a row for each law, a dot for each kind."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple


class Cell(NamedTuple):
    """Calls as shares of a fixed interval's."""

    law: str
    kind: str
    share: float
    known: float
    """The best policy that knows the law, without progress."""
    mark: float | None

    @property
    def is_missed(self) -> bool:
        return self.mark is not None and self.share > self.mark


LEFT, TOP, WIDTH, ROW = 130, 40, 560, 44
FULL = 1.2
"""The share at the right edge."""
SPREAD = 2.8
"""The dots of a row lie this far below one another, so that none hides another."""
COLOURS = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951"),
    *("#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"),
)


def plot(cells: Sequence[Cell]) -> str:
    """Return the table as an SVG."""
    laws = list(dict.fromkeys(cell.law for cell in cells))
    kinds = list(dict.fromkeys(cell.kind for cell in cells))
    colour = {kind: COLOURS[at % len(COLOURS)] for at, kind in enumerate(kinds)}
    bottom = TOP + ROW * len(laws)
    right = LEFT + WIDTH + 140
    height = max(bottom, TOP + 20 * len(kinds) + 20) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{right}" height="{height}" fill="#fff"/>',
        _text(LEFT, 20, "calls at equal mean delay, as a share of a fixed interval's"),
        *_scale(bottom),
    ]
    for at, law in enumerate(laws):
        y = TOP + ROW * (at + 0.5)
        parts.append(_text(LEFT - 10, y + 4, law, "end"))
        own = [cell for cell in cells if cell.law == law]
        parts.append(_line(_x(own[0].known), y, 16))
        parts += [
            _dot(
                _x(cell.share),
                y + SPREAD * _from_middle(place, own),
                colour[cell.kind],
                _title(cell),
            )
            for place, cell in enumerate(own)
        ]
    return "\n".join([*parts, *_legend(LEFT + WIDTH + 20, colour), "</svg>", ""])


def _scale(bottom: int) -> list[str]:
    parts = []
    for step in range(7):
        x = _x(step / 5)
        is_fixed = step == 5
        parts.append(
            f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{"#888" if is_fixed else "#ddd"}"/>'
        )
        parts += [_text(x, TOP - 6, "fixed interval", "middle")] if is_fixed else []
        parts.append(_text(x, bottom + 16, f"{step / 5:.1f}", "middle"))
    return parts


def _legend(x: float, colour: dict[str, str]) -> list[str]:
    parts = []
    for at, (kind, own) in enumerate(colour.items()):
        y = TOP + 20 * at + 10
        parts += [_dot(x, y, own, kind), _text(x + 12, y + 4, kind)]
    y = TOP + 20 * len(colour) + 10
    return [*parts, _line(x, y, 7), _text(x + 12, y + 4, "known law")]


def _from_middle(place: int, cells: Sequence[Cell]) -> float:
    return place - (len(cells) - 1) / 2


def _title(cell: Cell) -> str:
    return f"{cell.kind}: {cell.share:.2f}"


def _dot(x: float, y: float, colour: str, title: str) -> str:
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" fill-opacity=".8"'
    return f"<circle {place}><title>{escape(title)}</title></circle>"


def _line(x: float, y: float, half: float) -> str:
    return f'<path d="M{x:.1f} {y - half:.1f}v{2 * half:.1f}" stroke="#000" stroke-width="2"/>'


def _x(share: float) -> float:
    return LEFT + WIDTH * min(round(share, 2), FULL) / FULL


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
