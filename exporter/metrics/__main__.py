"""`python -m exporter.metrics` prints `docs/metrics.md`, made from the catalogue."""

import sys
from collections.abc import Iterator
from typing import Final

from .catalogue import FAMILIES, UNUSED, Family, Kind, Part

_HEADINGS: Final = {
    Part.JOBS: (
        "Per job",
        "From `metrics.per_job.after` of age until `linger` (for failed ones `linger_failed`) after"
        " the end, for at most `metrics.per_job.max_jobs` jobs."
        " `removit_job_info` also carries the registration labels that"
        " `registration.allowed_labels` admits.",
    ),
    Part.TOTALS: (
        "Over all jobs, and the upstream",
        "G stands for the labels that `metrics.group_labels` names."
        " Counters and histograms of jobs are stored with the change that made them, so a restart"
        " does not reset them; those of requests to the upstream begin at 0.",
    ),
    Part.EXPORTER: (
        "About the exporter",
        "Ordinary metrics of the process; they begin at 0 with each start."
        " `removit-exporter run` adds `process_*` and `python_info`.",
    ),
}


def _document() -> Iterator[str]:
    yield "# Metrics\n"
    yield "Made from `exporter/metrics/catalogue.py` by `make docs`; a test keeps the two equal.\n"
    yield "Every series carries `upstream` (the config's `upstream.name`) and"
    yield "`metrics.const_labels`. Times are in seconds since 1970, durations in seconds.\n"
    for part, (heading, text) in _HEADINGS.items():
        yield f"## {heading}\n"
        yield f"{text}\n"
        yield "| name | type | labels | meaning | adds up over replicas by |"
        yield "| --- | --- | --- | --- | --- |"
        for family in FAMILIES.values():
            if family.part is part:
                yield _row(family)
        yield ""
    yield "## On no dashboard and in no rule\n"
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
