"""The lines of one job."""

from dataclasses import replace

import pytest
from support import START, answered, job

from exporter.core.job import Job, JobState
from exporter.metrics.job_series import JobLines, mark


def text(lines: JobLines, of: Job) -> str:
    return b"".join(lines.write(family, of) for family in lines.families).decode()


def test_label_values_are_escaped_and_families_left_out_by_name() -> None:
    awkward = job("a", labels={"shop": 'x"\\\ny'}, key="k")
    page = text(JobLines(("removit_job_state",), ("shop",), {"upstream": "u"}), awkward)
    assert 'shop="x\\"\\\\\\ny"' in page
    assert "removit_job_state" not in page
    assert 'removit_job_registered_timestamp_seconds{job_id="a",upstream="u"} 1800000000.0' in page


def test_a_label_that_looks_like_another_jobs_line_does_not_contain_its_mark() -> None:
    awkward = job("a", key='removit_job_info{job_id="b"} 1.0', labels={"other_job_id": "b"})
    assert mark("b") not in text(JobLines((), ("other_job_id",), {}), awkward).encode()


@pytest.mark.parametrize(
    ("change", "families"),
    [
        ({"last_polled_at": START + 9}, []),
        ({"mode": "other"}, ["info"]),
        ({"labels": {"shop": "eu"}}, ["info"]),
        ({"step": "x"}, ["step"]),
        ({"progress": 51.0}, ["progress_ratio"]),
        ({"warnings": {"shadow": ("a",)}}, ["warnings_current"]),
        ({"ignored_variations": ("a",)}, ["ignored_variations_current"]),
        ({"registered_at": START - 1}, ["registered_timestamp_seconds"]),
        ({"last_progress_at": START + 1}, ["last_progress_timestamp_seconds"]),
        (
            {"state": JobState.DONE, "finished_at": START + 2},
            ["state", "finished_timestamp_seconds"],
        ),
    ],
)
def test_a_change_concerns_the_families_that_show_it(
    change: dict[str, object], families: list[str]
) -> None:
    lines = JobLines((), ("shop",), {})
    before = answered("a", progress=50.0)
    after = replace(before, **change)  # type: ignore[arg-type]
    names = [lines.families[at].name for at in lines.changed(before, after)]
    assert names == [f"removit_job_{name}" for name in families]
    differ = [
        family.name
        for family in lines.families
        if lines.write(family, before) != lines.write(family, after)
    ]
    assert differ == names
