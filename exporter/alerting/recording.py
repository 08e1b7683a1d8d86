"""Recording rules: expressions that dashboards and alerts use often, by upstream.

Names are Prometheus's `level:metric:operation`. A name has its window as shipped.
"""

from dataclasses import dataclass
from typing import Final

from .promql import SEEN, Promql

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
WEEK: Final = 7 * DAY

WINDOWS: Final = {
    "5m": 5 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "6h": 6 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
}
"""The windows over which failures are counted (Google's SRE workbook, "Alerting on SLOs")."""

EXPORTERS: Final = "upstream:removit_exporters:count"
"""How many exporters watch an upstream. It needs no job, so it shows that rules are evaluated."""

LONG: Final = 6 * HOUR

ENDED: Final = 'removit_jobs_finished_total{state=~"done|failed|expired"}'
"""Jobs whose end says something about the service. Ids that it never knew do not."""
FAILED: Final = 'removit_jobs_finished_total{state=~"failed|expired"}'
DONE: Final = 'removit_jobs_finished_total{state="done"}'
WITHOUT_RESULT: Final = "removit_jobs_done_without_result_total"
DONE_RECORDED: Final = "upstream:removit_jobs_done:increase6h"
SUSPECTED: Final = "upstream_mode:removit_jobs_suspected:sum"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule."""

    record: str
    expr: str
    long: bool = False
    """Whether its window is `LONG` or longer."""


def recordings(ql: Promql) -> list[Recording]:
    """Return all recording rules, each after those that it reads."""
    pending = Recording("upstream:removit_jobs_pending:sum", ql.total("removit_jobs_pending"))
    exporters = Recording(EXPORTERS, ql.over("count", SEEN))
    suspected = Recording(SUSPECTED, ql.total("removit_jobs_suspected", "mode"))
    return [exporters, pending, suspected, *_failure_budget(ql), *_variations(ql)]


def _failure_budget(ql: Promql) -> list[Recording]:
    rules = []
    for name, seconds in WINDOWS.items():
        long = seconds >= LONG
        ended, bad = f"upstream:removit_jobs_ended:increase{name}", bad_jobs(name)
        failed, without = ql.grown(FAILED, seconds), ql.grown(WITHOUT_RESULT, seconds)
        rules += [
            Recording(ended, ql.grown(ENDED, seconds), long),
            Recording(bad, f"{failed}\n+\n{without}", long),
            Recording(bad_ratio(name), f"{bad}\n/\n({ended} > 0)", long),
        ]
    return rules


def bad_jobs(window: str) -> str:
    """Return the rule's name for the jobs that failed, expired or were done without a result."""
    return f"upstream:removit_jobs_bad:increase{window}"


def bad_ratio(window: str) -> str:
    """Return the rule's name for their share of the jobs that ended."""
    return f"upstream:removit_jobs_bad:ratio{window}"


def of_variation(name: str, operation: str) -> str:
    """Return the name of what was noted about a variation: `ignored_variations` or `warnings`."""
    return f"upstream_variation:removit_job_{name}:{operation}"


def _variations(ql: Promql) -> list[Recording]:
    rules = [Recording(DONE_RECORDED, ql.grown(DONE, LONG), long=True)]
    of_done = f"on ({ql.identity}) group_left ()"
    for name in ("ignored_variations", "warnings"):
        count = of_variation(name, "increase6h")
        share = f"{count}\n/ {of_done}\n({DONE_RECORDED} > 0)"
        rules += [
            Recording(count, ql.grown(f"removit_job_{name}_total", LONG, "variation"), long=True),
            Recording(of_variation(name, "ratio6h"), share, long=True),
        ]
    return rules
