"""The layout of panels in bands under headings, and what all dashboards share."""

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    Row,
    TimePicker,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Panel,
    VariableModel,
)

from .queries import DATASOURCE, ONE, RECORDED, SCRAPE_INTERVAL, SINGLE

COLUMNS = 24
TAG = "removit"
GROUP_DOES_NOT_APPLY = "Group does not apply: this is over all groups."


class Band:
    """Panels side by side, equally high; together they take all columns.

    They are equally wide, unless `widths` gives the columns of each.
    """

    def __init__(
        self, height: int, *panels: Builder[Panel], widths: Sequence[int] | None = None
    ) -> None:
        self.height = height
        self.panels = panels
        self.widths = widths or [COLUMNS // len(panels)] * len(panels)
        if sum(self.widths) != COLUMNS or len(self.widths) != len(panels):
            raise ValueError(f"{len(panels)} panels do not share {COLUMNS} columns")


class Section:
    """Bands under a heading. Details are collapsed: a click on the heading opens them."""

    def __init__(self, heading: str, *bands: Band, collapsed: bool = False) -> None:
        self.heading = heading
        self.bands = bands
        self.collapsed = collapsed


def place(dashboard: Dashboard, sections: Sequence[Section], *, grouped: bool) -> None:
    """Put the sections one under another, and number the panels in reading order.

    `grouped` says that the dashboard has the variable Group.
    """
    number, y = 1, 0
    for section in sections:
        row = Row(section.heading).id(number).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=y))
        number, y = number + 1, y + 1
        inside = y
        panels = []
        for band in section.bands:
            x = 0
            for panel, width in zip(band.panels, band.widths, strict=True):
                position = GridPos(h=band.height, w=width, x=x, y=inside)
                panels.append(_Placed(panel, number, position, grouped=grouped))
                number, x = number + 1, x + width
            inside += band.height
        if section.collapsed:
            for placed in panels:
                row.with_panel(placed)
            dashboard.with_row(row)
        else:
            dashboard.with_row(row)
            for placed in panels:
                dashboard.with_panel(placed)
            y = inside


class _Placed(Builder[Panel]):
    """A panel with its number and its place, which says so if Group does not apply to it."""

    def __init__(
        self, panel: Builder[Panel], number: int, position: GridPos, *, grouped: bool
    ) -> None:
        self._panel, self._number, self._position = panel, number, position
        self._grouped = grouped

    def build(self) -> Panel:
        """Build the panel."""
        panel = self._panel.build()
        panel.id_val, panel.grid_pos = self._number, self._position
        exprs = [getattr(query, "expr", "") for query in panel.targets or ()]
        if self._grouped and not all("${group:raw}" in expr for expr in exprs):
            panel.description = f"{panel.description} {GROUP_DOES_NOT_APPLY}"
        return panel


def make(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Builder[VariableModel]],
    sections: Sequence[Section],
    *,
    grouped: bool = False,
) -> Dashboard:
    """Return a dashboard with what all of them share: links, annotations, times."""
    dashboard = Dashboard(title).uid(uid).description(description).tags([TAG]).timezone("browser")
    dashboard.time("now-1h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR)
    dashboard.editable()
    dashboard.timepicker(TimePicker().refresh_intervals(["10s", "30s", "1m", "5m"]))
    dashboard.variables(list(variables)).links([_others()])
    dashboard.annotations([AnnotationQuery().name(name) for name in ANNOTATIONS])
    place(dashboard, sections, grouped=grouped)
    return dashboard


def _others() -> DashboardLink:
    """Return links to the other dashboards, which keep the time range and the variables."""
    link = DashboardLink("Removit").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return (
        link.as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
        .icon("dashboard")
        .target_blank(False)
    )


_STATE = f'removit_upstream_state{{{ONE},state=~"down|blocked|key_rejected|throttled"}}'
_FIRING = f'ALERTS{{{RECORDED},alertstate="firing"}}'


def _whole_step(series: str) -> str:
    """Return the highest value within each step, or the last one before it.

    A step may be longer than an outage, and shorter than the interval of the rules.
    """
    return f"(max_over_time({series}[$__interval]) or {series})"


ANNOTATIONS: Mapping[str, Mapping[str, Any]] = {
    "Outages": {
        "expr": f"max by (upstream, state) ({_whole_step(_STATE)}) == 1",
        "iconColor": "red",
        "titleFormat": "{{upstream}}: {{state}}",
        "textFormat": "the upstream's state, from its answers",
        "step": SCRAPE_INTERVAL,
    },
    "Firing alerts": {
        # Only where one begins to fire: a region for each alert would hide the graphs.
        "expr": f"max by (alertname, severity, upstream) ({_whole_step(_FIRING)}"
        f" unless {_FIRING} offset $__interval)",
        "iconColor": "orange",
        "titleFormat": "{{alertname}} ({{severity}})",
        "textFormat": "{{upstream}}",
        "step": SCRAPE_INTERVAL,
    },
    "Config reloads": {
        "expr": f"removit_exporter_config_last_reload_success_timestamp_seconds{{{ONE}}} * 1000",
        "iconColor": "blue",
        "titleFormat": "config in force at {{instance}}",
        "textFormat": "the exporter started or read its config again",
        "useValueForTime": True,
        "step": "60s",
    },
}
"""The fields that Grafana's Prometheus keeps next to the query; the SDK's builder lacks some."""

OF_THE_JOB = f" and on (job, instance, upstream) removit_job_info{{{SINGLE}}}"
"""Narrows the outages of the job dashboard to the job's own upstream, while the job is known."""


def finished(document: dict[str, Any]) -> dict[str, Any]:
    """Return what is written of a built dashboard: with the annotations' fields, without an id."""
    annotations = {name: dict(fields) for name, fields in ANNOTATIONS.items()}
    if document["uid"] == "removit-job":
        outages = annotations["Outages"]
        outages["expr"] = f"max by (upstream, state) ({_whole_step(_STATE)} == 1{OF_THE_JOB})"
        del annotations["Firing alerts"], annotations["Config reloads"]
    document["annotations"]["list"] = [
        {
            "name": name,
            "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
            "enable": True,
            "hide": False,
            **fields,
            "target": {"refId": "Anno", "expr": fields["expr"], "interval": fields["step"]},
        }
        for name, fields in annotations.items()
    ]
    return {"id": None, **document}
