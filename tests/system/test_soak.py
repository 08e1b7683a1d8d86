"""Days of jobs under simulated time: what memory holds stays bounded, and no job is forgotten.

`make soak` shows the same for a week and a million jobs.
"""

import logging

import pytest
from soaking import soak


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.timeout(1200)
def test_three_days_of_40_000_jobs_leave_nothing_behind_and_every_end_is_true(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "removit_exporter")  # pytest keeps every line
    found = soak(40_000, 3, real_seconds=1100)
    assert found.wrong == []
    assert found.astray == []
    assert found.left == []
    assert found.grown(share=0.1, slack=50) == []
