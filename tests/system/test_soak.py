"""A week of jobs under simulated time: what is held stays bounded, no job is forgotten."""

import logging

import pytest
from soaking import soak


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.timeout(1200)
def test_a_week_of_100_000_jobs_leaves_nothing_behind_and_tells_every_end_truly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "removit_exporter")  # pytest keeps every line
    found = soak(100_000, 7, real_seconds=1100)
    assert found.wrong == []
    assert found.astray == []
    assert found.left == []
    assert found.grown(share=0.1, slack=50) == []
