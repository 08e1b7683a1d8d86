"""Durations as Prometheus writes them (its "Configuration", `<duration>`), and as seconds."""

import re
from typing import Final

_UNITS: Final = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
"""Each unit in milliseconds, in the order in which they follow each other."""
_DURATION: Final = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS))

JSON_SCHEMA_PATTERN: Final = "(0|" + "".join(rf"(\d+{unit})?" for unit in _UNITS) + ")"


def parse_duration(text: str) -> float:
    """Read a duration such as `1h30m` or `500ms`, in seconds; raises `ValueError`."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        units = ", ".join(_UNITS)
        raise ValueError(f'expected a duration such as "2s", got "{text[:80]}" (units: {units})')
    numbers = zip(match.groups("0"), _UNITS.values(), strict=True)
    return sum(int(number) * unit for number, unit in numbers) / 1000


def write_duration(seconds: float) -> str:
    """Write seconds, to the millisecond, as days and smaller units."""
    rest, text = round(seconds * 1000), ""
    for unit, length in _UNITS.items():
        count = 0 if unit in "yw" else rest // length
        if count:
            text += f"{count}{unit}"
            rest -= count * length
    return text or "0s"
