"""What an alert is, in the table and in the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .promql import Promql
from .thresholds import Alert as Values

UPSTREAM_TROUBLE: Final = ("RemovitUpstreamDown", "RemovitKeyRejected", "RemovitUpstreamBlocked")
"""While one of these holds, what follows from it wakes nobody."""

OVERVIEW: Final = "removit-overview"
EXPORTER: Final = "removit-exporter"
"""Dashboards, by their uid."""


class Block(str):
    """A text that stands in the file as it is, line by line."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of the table: what it asks, and what it says to whom it wakes."""

    name: str
    key: str
    expr: str
    summary: str
    description: str
    dashboard: str = OVERVIEW
    silenced_by: tuple[str, ...] = ()
    """Alerts of the same upstream that say why this one holds; Alertmanager then keeps quiet."""
    outlasts: bool = False
    """Whether it still sees what those alerts caused when they are over. It is then held back for
    its window, or `for`, after them: Alertmanager keeps quiet only while they fire."""
    off_by_default: bool = False

    def values(self, ql: Promql) -> Values:
        """Return its thresholds."""
        values: Values = getattr(ql.thresholds.alerts, self.key)
        return values

    def _held_back(self, ql: Promql) -> str:
        if not self.outlasts:
            return ""
        values, causes = self.values(ql), "|".join(self.silenced_by)
        fired = f'ALERTS{{alertname=~"{causes}",alertstate="firing"}}'
        span = ql.span(values.window or values.for_)
        return f"\nunless on ({ql.identity})\nmax_over_time({fired}[{span}])"

    def rule(self, ql: Promql) -> Mapping[str, Any]:
        """Return it as Prometheus's rule file has it."""
        values, thresholds = self.values(ql), ql.thresholds
        times = {"for": values.for_, "keep_firing_for": values.keep_firing_for}
        query = (
            "var-job={{ $labels.job | urlquery }}&var-upstream={{ $labels.upstream | urlquery }}"
        )
        return {
            "alert": self.name,
            "expr": Block(self.expr + self._held_back(ql)),
            **{name: ql.span(time) for name, time in times.items() if time},
            "labels": {"severity": values.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{thresholds.runbook_base_url}/{self.name}.md",
                "dashboard_url": f"{thresholds.dashboard_base_url}/d/{self.dashboard}?{query}",
            },
        }
