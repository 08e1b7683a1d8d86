"""Durations are read and written as Prometheus does it."""

import pytest

from exporter.config.durations import parse_duration, write_duration

SECONDS = {
    "0s": 0.0,
    "1ms": 0.001,
    "250ms": 0.25,
    "30s": 30.0,
    "1m30s": 90.0,
    "5m": 300.0,
    "1h30m": 5400.0,
    "1d": 86400.0,
    "7d2h": 612_000.0,
    "1d2h3m4s5ms": 93_784.005,
}


@pytest.mark.parametrize(("text", "seconds"), SECONDS.items())
def test_a_duration_is_written_as_it_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert write_duration(seconds) == text


def test_weeks_and_years_are_read_and_written_as_days() -> None:
    assert parse_duration("1w") == 7 * 86400
    assert parse_duration("1y1w") == 372 * 86400
    assert write_duration(parse_duration("2w")) == "14d"


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "1m1h", "-1s", "1.5s", "1d1w"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match='expected a duration such as "2s"'):
        parse_duration(text)
