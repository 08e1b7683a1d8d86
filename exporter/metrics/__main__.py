"""`python -m exporter.metrics` prints `docs/metrics.md`, made from the catalogue."""

import sys
from collections.abc import Iterator
from typing import Final

from .catalogue import FAMILIES, UNUSED, Family, Kind, Part

_HEADINGS: Final = {
    Part.JOBS: (
        "Per job",
        "A job has these from age `metrics.per_job.after` until `linger` (failed jobs:"
        " `linger_failed`) after its end; at most `metrics.per_job.max_jobs` jobs have them."
        " `removit_job_info` also carries the registration labels that"
        " `registration.allowed_labels` admits.",
    ),
    Part.TOTALS: (
        "Over all jobs, and the upstream",
        "G stands for the labels in `metrics.group_labels`."
        " Counters and histograms of jobs are stored with the change that caused them, so a restart"
        " does not reset them; those of requests to the upstream start at 0.",
    ),
    Part.EXPORTER: (
        "About the exporter",
        "Ordinary in-process metrics; they start at 0 with each start."
        " `removit-exporter run` adds `process_*`, `python_info` and `python_gc_*`.",
    ),
}

_PROBE: Final = (
    ("probe_success", "none", "1 if the answer contains the job's state, else 0."),
    ("probe_duration_seconds", "none", "Duration of the probe."),
    ("removit_probe_http_status_code", "none", "HTTP status of the answer."),
    ("removit_probe_job_state", "state", "1 for the job's state."),
    ("removit_probe_job_progress_ratio", "none", "Progress from 0 to 1."),
    ("removit_probe_warnings", "none", "Warnings in the answer."),
    ("removit_probe_ignored_variations", "none", "Ignored variations in the answer."),
)
"""What `web/probe.py` shows; a test holds the two against each other."""


def _document() -> Iterator[str]:
    yield "# Metrics\n"
    yield "Generated from `exporter/metrics/catalogue.py` by `make docs`; a test checks that.\n"
    yield "Every series carries `upstream` (the config's `upstream.name`) and"
    yield "`metrics.const_labels`. Timestamps are in seconds since 1970, durations in seconds.\n"
    for part, (heading, text) in _HEADINGS.items():
        yield f"## {heading}\n"
        yield f"{text}\n"
        yield "| name | type | labels | meaning | aggregate over replicas by |"
        yield "| --- | --- | --- | --- | --- |"
        for family in FAMILIES.values():
            if family.part is part:
                yield _row(family)
        yield ""
    yield "## Metrics of a probe\n"
    yield "`/probe?job_id=` answers with these only, all gauges, without `upstream`.\n"
    yield "| name | labels | meaning |"
    yield "| --- | --- | --- |"
    yield from (f"| `{name}` | {labels} | {meaning} |" for name, labels, meaning in _PROBE)
    yield ""
    yield "## Not used by any dashboard or rule\n"
    yield "| name | what it is for |"
    yield "| --- | --- |"
    yield from (f"| `{name}` | {purpose} |" for name, purpose in UNUSED.items())
    yield ""
    yield "## Buckets\n"
    yield "| histogram | upper bounds in seconds |"
    yield "| --- | --- |"
    for family in FAMILIES.values():
        if family.kind is Kind.HISTOGRAM:
            bounds = ", ".join(f"{bound:g}" for bound in family.buckets)
            yield f"| `{family.name}` | {bounds} |"


def _row(family: Family) -> str:
    labels = ", ".join([*family.labels, *(["G"] if family.grouped else [])]) or "none"
    exemplar = " Exemplar: `job_id`." if family.exemplars else ""
    return (
        f"| `{family.name}` | {family.kind} | {labels} | {family.help}{exemplar}"
        f" | {family.adds_up} |"
    )


if __name__ == "__main__":
    sys.stdout.write("\n".join(_document()) + "\n")
