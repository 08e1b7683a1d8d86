"""Colours, value mappings and thresholds, so that equal things look equal on every dashboard."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    DynamicConfigValue,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"
GREY = "#8e8e8e"
"""The colour of what is not known. Both themes show it; it has no name in Grafana."""

NO_DATA = "no data"
"""The text of a tile that knows nothing."""

NO_EXPORTER = "No data: no exporter reports"
"""The text of an empty graph or table. It is empty for no other reason: see `panels.Quiet`."""

NONE = -1
"""The value of what an exporter reports as absent (`queries.or_none`); no metric is negative."""

STATE_COLOURS: Mapping[str, str] = {
    "pending": BLUE,
    "done": GREEN,
    "failed": RED,
    "expired": ORANGE,
    "not_found": "purple",
    "invalid": "dark-purple",
}
"""The colours of a job's states."""

UPSTREAM_STATES: Mapping[str, tuple[str, str]] = {
    "well": ("well", GREEN),
    "unknown": ("unknown", GREY),
    "suspect": ("suspect", YELLOW),
    "throttled": ("throttled", ORANGE),
    "blocked": ("BLOCKED", RED),
    "down": ("DOWN", RED),
    "key_rejected": ("KEY REJECTED", "dark-red"),
}
"""The text and the colour of each state of an upstream. The better comes first."""

GONE = ("NO EXPORTER", GREY)
"""The text and the colour of an upstream that no exporter watches any more."""

SEVERITIES: Mapping[str, tuple[str, str]] = {
    "critical": ("critical", RED),
    "warning": ("warning", ORANGE),
    "info": ("info", BLUE),
}

CODE_CLASSES: Mapping[str, str] = {
    "2..": GREEN,
    "3..": BLUE,
    "402": "dark-purple",
    "429": YELLOW,
    "4..": ORANGE,
    "5..": RED,
    "timeout|connection|invalid_body|internal": "purple",
}
"""The colour of each class of answers, by a pattern of the code; the first that matches holds."""

Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first has no value."""

Words = Mapping[int, tuple[str, str]] | Mapping[str, tuple[str, str]]
"""The text and the colour that some values are shown as."""

ALL_THIS_TIME: Mapping[int, tuple[str, str]] = {NONE: ("all this time", GREY)}
"""The text of a duration that is longer than the time range."""

NO_ROW: Mapping[int, tuple[str, str]] = {-2: ("", GREY)}
"""The number in a row that only says why a table has no other (`queries.or_row`)."""


def mappings(words: Words | None = None, nothing: str = NO_DATA) -> list[ValueMapping]:
    """Return the mappings of some values, and always those of nothing to a grey text.

    Nothing is null, or empty: in a table, Grafana makes a label that a series lacks empty, and
    would show it as the text of an empty table.
    """
    grey = [
        SpecialValueMap(
            DashboardSpecialValueMapOptions(
                match, ValueMappingResult(text=nothing, color=GREY, index=len(words or {}) + at)
            )
        )
        for at, match in enumerate((SpecialValueMatch.EMPTY, SpecialValueMatch.NULL_AND_NAN))
    ]
    named = {
        str(value): ValueMappingResult(text=text, color=colour, index=at)
        for at, (value, (text, colour)) in enumerate((words or {}).items())
    }
    return [*([ValueMap(named)] if named else []), *grey]


def thresholds(steps: Steps) -> ThresholdsConfig:
    """Return absolute thresholds."""
    made = [Threshold(value=value, color=colour) for value, colour in steps]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def fixed(colour: str) -> DynamicConfigValue:
    """Return an override's value: one colour, whatever the value is."""
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def shades(colour: str) -> DynamicConfigValue:
    """Return an override's value: shades of one colour, a different one for each series."""
    return DynamicConfigValue("color", {"mode": "shades", "fixedColor": colour})
