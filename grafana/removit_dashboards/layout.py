"""Where panels stand: bands across all columns, under headings; and what all dashboards share."""

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

from .queries import DATASOURCE, ONE

COLUMNS = 24
TAG = "removit"


class Band:
    """Panels side by side, as high and as wide as each other; together they take all columns."""

    def __init__(self, height: int, *panels: Builder[Panel]) -> None:
        self.height = height
        self.panels = panels
        self.width, rest = divmod(COLUMNS, len(panels))
        if rest:
            raise ValueError(f"{len(panels)} panels do not share {COLUMNS} columns evenly")


class Section:
    """Bands under a heading."""

    def __init__(self, heading: str, *bands: Band) -> None:
        self.heading = heading
        self.bands = bands


def place(dashboard: Dashboard, sections: Sequence[Section]) -> None:
    """Put the sections one under another, and number the panels in reading order."""
    number, y = 1, 0
    for section in sections:
        heading = GridPos(h=1, w=COLUMNS, x=0, y=y)
        dashboard.with_row(Row(section.heading).id(number).grid_pos(heading))
        number, y = number + 1, y + 1
        for band in section.bands:
            for at, panel in enumerate(band.panels):
                position = GridPos(h=band.height, w=band.width, x=at * band.width, y=y)
                dashboard.with_panel(_Placed(panel, number, position))
                number += 1
            y += band.height


class _Placed(Builder[Panel]):
    """A panel with its number and its place."""

    def __init__(self, panel: Builder[Panel], number: int, position: GridPos) -> None:
        self._panel, self._number, self._position = panel, number, position

    def build(self) -> Panel:
        """Build the panel."""
        panel = self._panel.build()
        panel.id_val, panel.grid_pos = self._number, self._position
        return panel


def make(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Builder[VariableModel]],
    sections: Sequence[Section],
    *,
    span: str = "now-3h",
) -> Dashboard:
    """Return a dashboard with what all of them share: links, annotations, times."""
    dashboard = Dashboard(title).uid(uid).description(description).tags([TAG]).timezone("browser")
    dashboard.time(span, "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR).editable()
    dashboard.timepicker(TimePicker().refresh_intervals(["10s", "30s", "1m", "5m"]))
    dashboard.variables(list(variables)).links([_others()])
    dashboard.annotations([AnnotationQuery().name(name) for name in ANNOTATIONS])
    place(dashboard, sections)
    return dashboard


def _others() -> DashboardLink:
    """The other dashboards of this set, with what is chosen here."""
    link = DashboardLink("Removit").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return (
        link.as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
        .icon("dashboard")
        .target_blank(False)
    )


_TROUBLE = 'state=~"down|blocked|key_rejected|throttled"'

ANNOTATIONS: Mapping[str, Mapping[str, Any]] = {
    "Outages": {
        "expr": f"max by (upstream, state) (removit_upstream_state{{{ONE},{_TROUBLE}}}) == 1",
        "iconColor": "red",
        "titleFormat": "{{upstream}}: {{state}}",
        "textFormat": "what the upstream's answers add up to",
        "step": "30s",
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
"""Grafana's Prometheus keeps these beside the query; the SDK's builder does not know them all."""


def finished(document: dict[str, Any]) -> dict[str, Any]:
    """Return a built dashboard as it is written: with the annotations' fields, without an id."""
    document["annotations"]["list"] = [
        {
            "name": name,
            "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
            "enable": True,
            "hide": False,
            **fields,
            "target": {"refId": "Anno", "expr": fields["expr"], "interval": fields["step"]},
        }
        for name, fields in ANNOTATIONS.items()
    ]
    return {"id": None, **document}
