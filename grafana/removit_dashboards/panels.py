"""One function for each kind of panel, so that like things look alike.

Each panel has a title, a description, a unit, and a text for when it has nothing to show. A tile
shows what it does not know as a grey "no data". Counts are whole numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from grafana_foundation_sdk.builders import heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    ScaleDistributionConfig,
    StackingConfig,
    TableSortByFieldState,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from .looks import (
    BLUE,
    CODE_CLASSES,
    GREY,
    NO_DATA,
    NO_EXPORTER,
    RED,
    Steps,
    Words,
    fixed,
    mappings,
    shades,
    thresholds,
)
from .queries import DATASOURCE, SEEN, Query

COUNT = "locale"
"""The unit of counts: 1,170 and never 1.17 K."""
AGE = "dtdhms"
"""The unit of durations of seconds and more: 00:01:40 and never 1.67 mins."""
LAG = "clocks"
"""The unit of durations from milliseconds to minutes: 005ms, 01m:40s and never 1.67 mins."""
SHARE = "percentunit"
SOFT_MAX = {SHARE: 0.1, "s": 0.01, "reqps": 0.1, AGE: 10.0}
"""Up to where an axis goes at least, by its unit, in place of 1."""

Panel = TypeVar(
    "Panel", heatmap.Panel, stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel
)


@dataclass(frozen=True)
class Quiet:
    """The text of a graph whose queries have no value although an exporter reports.

    `text` names a line at the bottom (only a place in the legend if the axis is logarithmic) where
    `unless` has no value. Without it no trouble, no traffic and no data would look the same.
    `among` is a query of the traffic that the values are a part of, and the text where even that
    has no value.
    """

    text: str
    unless: str
    colour: str = GREY
    among: tuple[str, str] | None = None

    def query(self, height: float) -> Query:
        """Ask for the line, at a height, or NaN for the legend only."""
        traffic, idle = self.among or (SEEN, "")
        found = _said(self.text, traffic, height)
        if idle:
            found = f"({found} or on () {_said(idle, SEEN, height)})"
        return Query(f"{found} unless on () ({self.unless})", "{{text}}")

    @property
    def colours(self) -> Mapping[str, str]:
        """The colour of each text."""
        return {self.text: self.colour} | ({self.among[1]: GREY} if self.among else {})


def _said(text: str, where: str, height: float) -> str:
    return f'label_replace({height:g} + 0 * max({where}), "text", "{text}", "", "")'


def _apart(colour: str) -> list[DynamicConfigValue]:
    """Return what sets the line of a `Quiet` apart from the bars or areas of the same graph."""
    return [
        fixed(colour),
        DynamicConfigValue("custom.drawStyle", "line"),
        DynamicConfigValue("custom.lineWidth", 2),
        DynamicConfigValue("custom.fillOpacity", 0),
        DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"}),
    ]


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
    by_code: bool = False,
    stacked: bool = False,
    bars: bool = False,
    log: bool = False,
    most: float | None = None,
    limit: float | None = None,
    quiet: Quiet | None = None,
    nothing: str = NO_EXPORTER,
) -> timeseries.Panel:
    """Return values over time.

    `by_code` colours series by the class of the code that their names end with. `limit` is drawn as
    a dashed line. `log` is for durations, which differ by orders of magnitude. `quiet` is for
    queries that may have no value while an exporter reports.
    """
    lowest = (1.0 if unit == AGE else 0.001) if log else 0.0
    if quiet is not None:
        # A logarithmic axis has no numbers if all that it shows is its lower end: no line then.
        queries = (*queries, quiet.query(math.nan if log else lowest))
    panel = _dress(timeseries.Panel(), title, description, nothing, queries).unit(unit)
    panel.min(lowest)
    style = common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE
    panel.draw_style(style).line_width(1).fill_opacity(60 if bars else 25 if stacked else 0)
    panel.show_points(common.VisibilityMode.AUTO).span_nulls(False)
    if stacked or bars:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if most is not None:
        panel.max(most)
    if log:
        scale = ScaleDistributionConfig().type(common.ScaleDistribution.LOG)
        panel.scale_distribution(scale.log(2 if unit == AGE else 10))
    if limit is not None or (most is None and unit != "bytes"):
        # An axis of zeros only would otherwise end at 100.
        usual = 100 * lowest if log else SOFT_MAX.get(unit, 1.0)
        panel.axis_soft_max(usual if limit is None else limit)
    if unit in (COUNT, LAG):
        panel.decimals(0 if unit == COUNT else 1)
    if limit is not None:
        dashed = GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(thresholds(((None, "transparent"), (limit, RED))))
        panel.thresholds_style(dashed)
    tooltip = VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    panel.tooltip(tooltip.sort(common.SortOrder.DESCENDING)).legend(_legend())
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [fixed(colour)])
    if by_code:
        # The last override that matches holds, so the most special pattern comes last.
        for code, colour in reversed(list(CODE_CLASSES.items())):
            panel.override_by_regexp(f"/(^| )({code})( |$)/", [shades(colour)])
    for name, colour in (quiet.colours if quiet else {}).items():
        panel.override_by_name(name, _apart(colour))
    return panel


def fact(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    steps: Steps = ((None, BLUE),),
    words: Words | None = None,
    nothing: str = NO_DATA,
) -> stat.Panel:
    """Return one number, large; `words` are the texts and colours of some values."""
    panel = _dress(stat.Panel(), title, description, nothing, [query]).unit(unit)
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel.text_mode(common.BigValueTextMode.VALUE).thresholds(thresholds(steps))
    panel.mappings(mappings(words, nothing))
    if unit == COUNT:
        panel.decimals(0)
    return panel


def word(
    title: str,
    description: str,
    query: Query,
    label: str,
    *,
    colours: Mapping[str, str] | None = None,
    nothing: str = NO_DATA,
) -> stat.Panel:
    """Return a label's value, large. The query gives a table of one row (`queries.rows`)."""
    words: Words = {value: (value, colour) for value, colour in (colours or {}).items()}
    panel = fact(title, description, "none", query, words=words, nothing=nothing)
    fields = ReduceDataOptions().calcs(["lastNotNull"]).fields(f"/^{label}$/").values(False)
    return panel.reduce_options(fields)


def heat(title: str, description: str, unit: str, query: Query) -> heatmap.Panel:
    """Return a histogram over time."""
    panel = _dress(heatmap.Panel(), title, description, "No job was done, or no data", [query])
    colour = heatmap.HeatmapColorOptions().scheme("Oranges").steps(64)
    panel.calculate(False).color(
        colour.mode(HeatmapColorMode.SCHEME).exponent(0.5).fill("dark-orange")
    )
    panel.y_axis(heatmap.YAxisConfig().unit(unit)).cell_gap(1).show_legend().show_y_histogram()
    return panel.mode(common.TooltipDisplayMode.SINGLE).exemplars_color("rgba(255,0,255,0.7)")


def timeline(
    title: str,
    description: str,
    *queries: Query,
    words: Words | None = None,
    colours: Mapping[str, str] | None = None,
    nothing: str,
) -> statetimeline.Panel:
    """Return one row for each series. `words` name its values; or `colours` its series, by name."""
    panel = _dress(statetimeline.Panel(), title, description, nothing, queries).unit("none")
    shown = common.VisibilityMode.AUTO if words else common.VisibilityMode.NEVER
    panel.show_value(shown).row_height(0.8).merge_values(True)
    panel.fill_opacity(80).line_width(0).legend(_legend(shown=False))
    panel.thresholds(thresholds(((None, BLUE),)))
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    if words:
        panel.mappings(mappings(words))
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [fixed(colour)])
    return panel


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and how its cells look.

    `link` is a title and a URL, `width` in pixels. `coloured` is what takes the colour that `words`
    give the value: the text, or the cell's background.
    """

    heading: str
    unit: str | None = None
    words: Words | None = None
    nothing: str = NO_DATA
    link: tuple[str, str] | None = None
    width: int | None = None
    coloured: Literal["text", "background"] | None = None

    def overrides(self) -> list[DynamicConfigValue]:
        """Return what sets this column apart."""
        found = [DynamicConfigValue("mappings", mappings(self.words, self.nothing))]
        if self.unit is not None:
            found.append(DynamicConfigValue("unit", self.unit))
        if self.unit in (COUNT, SHARE):
            found.append(DynamicConfigValue("decimals", 0))
        if self.link is not None:
            title, url = self.link
            found.append(DynamicConfigValue("links", [{"title": title, "url": url}]))
        if self.width is not None:
            found.append(DynamicConfigValue("custom.width", self.width))
        if self.coloured is not None:
            cell = {"type": f"color-{self.coloured}", "mode": "basic"}
            found.append(DynamicConfigValue("custom.cellOptions", cell))
        return found


MIN_WIDTH = 60
"""The least width in pixels of a column that has none of its own.

Grafana's 150 would move the last column out of sight.
"""


def rows_of(
    title: str,
    description: str,
    *queries: Query,
    columns: Mapping[str, Column],
    hidden: Sequence[str] = (),
    sorted_by: str,
    ascending: bool = False,
    nothing: str = NO_EXPORTER,
) -> table.Panel:
    """Return a table; `columns` go by the names of labels and values, in order.

    Labels that are neither in `columns` nor `hidden`, such as those of a group, follow.
    `sorted_by` is a heading.
    """
    panel = _dress(table.Panel(), title, description, nothing, queries).unit("none")
    panel.cell_height(common.TableCellHeight.SM).thresholds(thresholds(((None, GREY),)))
    panel.mappings(mappings(nothing=""))  # of the columns that follow
    panel.min_width(MIN_WIDTH)
    if len(queries) > 1:
        panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    organize = {
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
        "indexByName": {name: at for at, name in enumerate(columns)},
        "renameByName": {name: column.heading for name, column in columns.items()},
    }
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=organize))
    for column in columns.values():
        panel.override_by_name(column.heading, column.overrides())
    order = TableSortByFieldState().display_name(sorted_by).desc(not ascending)
    return panel.sort_by([order])


def _legend(*, shown: bool = True) -> VizLegendOptions:
    legend = VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(shown)
    return legend.placement(common.LegendPlacement.BOTTOM).calcs([])
