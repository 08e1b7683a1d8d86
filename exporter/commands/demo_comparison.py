"""Compares the exporter's page of metrics with the simulator's ledger."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Row:
    """The exporter's value of a number, and the true one."""

    name: str
    exporter: float
    simulator: float

    @property
    def equal(self) -> bool:
        """Whether the two are equal."""
        return self.exporter == self.simulator


_LABEL: Final = {
    "removit_jobs_pending": "mode",
    "removit_jobs_registered_total": "source",
    "removit_jobs_finished_total": "state",
    "removit_jobs_done_without_result_total": "mode",
    "removit_verdicts_overturned_total": "from",
    "removit_job_warnings_total": "variation",
    "removit_job_ignored_variations_total": "variation",
    "removit_upstream_requests_total": "code",
}


def read_totals(page: str) -> dict[str, Counter[str]]:
    """Read a page of metrics; return the sums of each compared sample by one label."""
    totals: dict[str, Counter[str]] = {name: Counter() for name in _LABEL}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in totals:
                label = sample.labels.get(_LABEL[sample.name], "")
                totals[sample.name][label] += sample.value  # type: ignore[assignment]
    return totals


def compare(truth: Mapping[str, Any], totals: Mapping[str, Counter[str]]) -> list[Row]:
    """Compare the exporter's totals with the simulator's ledger, number by number."""
    registered = totals["removit_jobs_registered_total"].total()
    without_result = totals["removit_jobs_done_without_result_total"].total()
    rows = [Row("registered", registered, truth["registered"])]
    for title, name, true in (
        ("finished", "removit_jobs_finished_total", truth["finished"]),
        ("warnings", "removit_job_warnings_total", truth["warnings"]),
        ("ignored", "removit_job_ignored_variations_total", truth["ignored_variations"]),
    ):
        counted = {key: value for key, value in totals[name].items() if value}
        rows += [
            Row(f"{title} {key}", counted.get(key, 0), true.get(key, 0))
            for key in sorted(counted.keys() | true.keys())
        ]
    rows.append(Row("done without result", without_result, truth["done_without_result"]))
    overturned = totals["removit_verdicts_overturned_total"].total()
    rows.append(Row("verdicts overturned", overturned, 0))
    rows.append(Row("still pending", totals["removit_jobs_pending"].total(), 0))
    return rows
