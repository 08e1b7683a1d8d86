"""One alert: its entry in the table, and its rule in the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .promql import Promql
from .thresholds import Alert as Values

UPSTREAM_TROUBLE: Final = ("RemovitUpstreamDown", "RemovitKeyRejected", "RemovitUpstreamBlocked")
"""While one of these fires, the alerts that follow from it are silenced."""

OVERVIEW: Final = "removit-overview"
EXPORTER: Final = "removit-exporter"
"""Dashboards, by their uid."""


class Block(str):
    """A text that the file shows unchanged, line by line."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of the table: its expression, and its texts for the reader who is paged."""

    name: str
    key: str
    expr: str
    summary: str
    description: str
    dashboard: str = OVERVIEW
    silenced_by: tuple[str, ...] = ()
    """Alerts of the same upstream that explain this one: while they fire, it is silenced."""
    outlasts: bool = False
    """Whether its expression still holds for some time after those alerts have ended. Alertmanager
    silences it only while they fire, so the rule itself holds it back afterwards, as long as its
    window or its `for`."""
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
        """Return it as a rule of Prometheus's rule file."""
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
