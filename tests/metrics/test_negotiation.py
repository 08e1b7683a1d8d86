"""Which format of metrics an `Accept` header gets."""

import pytest

from exporter.metrics.exposition import negotiate

OPENMETRICS = "application/openmetrics-text"
TEXT = "text/plain"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        (OPENMETRICS, OPENMETRICS),
        (f"{OPENMETRICS};version=1.0.0", OPENMETRICS),
        (
            f"{OPENMETRICS};version=1.0.0;q=0.5,{OPENMETRICS};version=0.0.1;q=0.4,*/*;q=0.1",
            OPENMETRICS,
        ),
        (f"{OPENMETRICS};version=2.0.0", TEXT),
        (f"{OPENMETRICS};version=99.0.0, {TEXT};version=0.0.4", TEXT),
        (f"{OPENMETRICS};version=abc", TEXT),
        (f"{OPENMETRICS};q=0", TEXT),
        (f"{OPENMETRICS};q=0.2, {TEXT};q=0.8", TEXT),
        (f"{OPENMETRICS};q=0.8, {TEXT};q=0.2", OPENMETRICS),
        (f"{OPENMETRICS};version=1.0.0;q=0.9, {OPENMETRICS};version=2.0.0;q=1", OPENMETRICS),
        (f"{OPENMETRICS};q=nonsense", OPENMETRICS),
        (",;,", TEXT),
    ],
)
def test_a_format_is_one_that_is_written_and_preferred(accept: str, media_type: str) -> None:
    _, content_type = negotiate(accept)
    assert content_type.split(";")[0] == media_type
    if media_type == OPENMETRICS:
        assert "version=1.0.0" in content_type
