"""How panels look: one function a kind, so that like things look alike.

Each has a title, a description for whoever hovers over it, a unit, and a text for when there is
nothing to show.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.common import TableSortByFieldState as _Sort
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from .queries import DATASOURCE, Query

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "text"

STATE_COLOURS: Mapping[str, str] = {
    "pending": BLUE,
    "done": GREEN,
    "failed": RED,
    "expired": ORANGE,
    "not_found": "purple",
    "invalid": "dark-purple",
}
"""Of a job's states, everywhere the same."""

UPSTREAM_COLOURS: Mapping[str, str] = {
    "well": GREEN,
    "unknown": GREY,
    "suspect": YELLOW,
    "throttled": ORANGE,
    "blocked": RED,
    "down": RED,
    "key_rejected": "dark-red",
}

Panel = TypeVar(
    "Panel",
    bargauge.Panel,
    heatmap.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    timeseries.Panel,
)
Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first has no value."""


def _dress(
    panel: Panel, title: str, description: str, nothing: str, queries: Sequence[Query]
) -> Panel:
    panel.title(title).description(description).no_value(nothing).datasource(DATASOURCE)
    for at, query in enumerate(queries):
        panel.with_target(query.ref_id("ABCDEFGH"[at]))
    return panel


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    colours: Mapping[str, str] | None = None,
    stacked: bool = False,
    bars: bool = False,
    most: float | None = None,
    nothing: str = "Nothing in this time",
) -> timeseries.Panel:
    """Values over time."""
    panel = _dress(timeseries.Panel(), title, description, nothing, queries).unit(unit).min(0)
    style = common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE
    panel.draw_style(style).line_width(1).fill_opacity(60 if bars else 25 if stacked else 8)
    panel.show_points(common.VisibilityMode.AUTO).span_nulls(False)
    if stacked or bars:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if most is not None:
        panel.max(most)
    tooltip = VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    panel.tooltip(tooltip.sort(common.SortOrder.DESCENDING)).legend(_legend())
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [_fixed(colour)])
    return panel


def fact(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    steps: Steps = ((None, BLUE),),
    words: Mapping[int, tuple[str, str]] | None = None,
    nothing: str = "none",
) -> stat.Panel:
    """One number, large; `words` are what some numbers mean, and in which colour."""
    panel = _dress(stat.Panel(), title, description, nothing, [query]).unit(unit)
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel.text_mode(common.BigValueTextMode.VALUE).thresholds(_thresholds(steps))
    if words:
        options = {
            str(value): ValueMappingResult(text=text, color=colour, index=at)
            for at, (value, (text, colour)) in enumerate(words.items())
        }
        panel.mappings([ValueMap(options)])
    return panel


def name_of(
    title: str, description: str, query: Query, colours: Mapping[str, str], nothing: str
) -> stat.Panel:
    """The name of what is so now: the legend of a series that is 1."""
    panel = fact(title, description, "none", query, nothing=nothing)
    panel.text_mode(common.BigValueTextMode.NAME)
    for name, colour in colours.items():
        panel.override_by_name(name, [_fixed(colour)])
    return panel


def counts(
    title: str,
    description: str,
    query: Query,
    *,
    colours: Mapping[str, str] | None = None,
    nothing: str = "none so far",
) -> bargauge.Panel:
    """Numbers side by side, as bars with their names."""
    panel = _dress(bargauge.Panel(), title, description, nothing, [query]).unit("short").min(0)
    panel.orientation(common.VizOrientation.HORIZONTAL).thresholds(_thresholds(((None, BLUE),)))
    panel.display_mode(common.BarGaugeDisplayMode.BASIC).decimals(0)
    panel.value_mode(common.BarGaugeValueMode.TEXT)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [_fixed(colour)])
    return panel


def heat(title: str, description: str, unit: str, query: Query) -> heatmap.Panel:
    """A histogram over time."""
    panel = _dress(heatmap.Panel(), title, description, "Nothing in this time", [query])
    colour = heatmap.HeatmapColorOptions().scheme("Oranges").steps(64)
    panel.calculate(False).color(
        colour.mode(HeatmapColorMode.SCHEME).exponent(0.5).fill("dark-orange")
    )
    panel.y_axis(heatmap.YAxisConfig().unit(unit)).cell_gap(1).show_legend().show_y_histogram()
    return panel.mode(common.TooltipDisplayMode.SINGLE).exemplars_color("rgba(255,0,255,0.7)")


def timeline(
    title: str, description: str, *queries: Query, colours: Mapping[str, str], nothing: str
) -> statetimeline.Panel:
    """When what was so: one row for each series, coloured while it is 1."""
    panel = _dress(statetimeline.Panel(), title, description, nothing, queries).unit("none")
    panel.show_value(common.VisibilityMode.NEVER).row_height(0.8).merge_values(True)
    panel.fill_opacity(80).line_width(0).legend(_legend(shown=False))
    panel.thresholds(_thresholds(((None, "transparent"), (1.0, BLUE))))
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    for name, colour in colours.items():
        steps = [{"color": "transparent", "value": None}, {"color": colour, "value": 1}]
        thresholds = {"mode": "absolute", "steps": steps}
        panel.override_by_name(name, [DynamicConfigValue("thresholds", thresholds)])
    return panel


def rows_of(
    title: str,
    description: str,
    *queries: Query,
    names: Mapping[str, str],
    hidden: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    links: Mapping[str, tuple[str, str]] | None = None,
    sorted_by: str | None = None,
    nothing: str,
) -> table.Panel:
    """A table: `names` gives the columns, in order, and what they are called.

    `units` and `links` (a title and a URL) go by the name that is shown.
    """
    panel = _dress(table.Panel(), title, description, nothing, queries).unit("none")
    panel.filterable(True).cell_height(common.TableCellHeight.SM)
    if len(queries) > 1:
        panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    organize = {
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
        "indexByName": {name: at for at, name in enumerate(names)},
        "renameByName": dict(names),
    }
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=organize))
    for name, unit in (units or {}).items():
        panel.override_by_name(name, [DynamicConfigValue("unit", unit)])
    for name, (text, url) in (links or {}).items():
        link = [{"title": text, "url": url}]
        panel.override_by_name(name, [DynamicConfigValue("links", link)])
    if sorted_by is not None:
        panel.sort_by([table_sort(sorted_by)])
    return panel


def table_sort(name: str) -> "_Sort":
    """The greatest first, by the name that is shown."""
    return _Sort().display_name(name).desc(True)


def _legend(*, shown: bool = True) -> VizLegendOptions:
    legend = VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(shown)
    return legend.placement(common.LegendPlacement.BOTTOM).calcs([])


def _thresholds(steps: Steps) -> ThresholdsConfig:
    made = [Threshold(value=value, color=colour) for value, colour in steps]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _fixed(colour: str) -> DynamicConfigValue:
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
