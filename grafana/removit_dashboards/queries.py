"""The queries of the panels, and the variables that narrow them."""

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.builders.dashboard import (
    DatasourceVariable,
    QueryVariable,
    TextBoxVariable,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from exporter.alerting.thresholds import load_thresholds

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

ONE = 'job=~"$job",instance=~"$instance",upstream=~"$upstream"'
"""The chosen exporters."""
GROUP = ONE + ",${group:raw}"
"""The chosen exporters and group; for metrics with group labels (G in docs/metrics.md)."""
RECORDED = 'job=~"$job",upstream=~"$upstream"'
"""For recording rules and alerts, which have added up over instances and groups."""
SINGLE = ONE + ',job_id="$job_id"'
"""The chosen job."""

R = "$__rate_interval"
SCRAPE_INTERVAL = "15s"
"""Of provisioning, compose and the docs' example: `timeInterval` of the data source."""
FINE = "5s"
"""The resolution of subqueries about single jobs: the shortest scrape interval that is usual."""

KNOWN_LABELS = (
    *load_thresholds().identity_labels,
    "instance",
    *("pod", "container", "endpoint", "service", "node", "prometheus"),
    *("mode", "state", "source"),
)
"""Labels that do not come from `metrics.group_labels`; what remains without them is the group."""

BY_GROUP = f"sum without ({', '.join(KNOWN_LABELS)})"

FINISHED = "removit_jobs_finished_total"
WITHOUT = "removit_jobs_done_without_result_total"
REQUESTS = "removit_upstream_requests_total"

SEEN = f'removit_upstream_state{{{ONE},state="well"}}'
"""A series that every exporter always has."""


REPORTING = f"on (job, instance, upstream) {SEEN}"
"""After `and`: only series of exporters that report now."""


def or_none(expr: str, by: str = "") -> str:
    """Return -1 (`looks.NONE`) where an exporter reports, but `expr` has no value.

    Without it "nothing is pending" and "the exporter is gone" would look the same.
    """
    return f"({expr}) or on ({by}) (0 * max by ({by}) ({SEEN}) - 1)"


def or_empty(expr: str, rows: str, by: str = "upstream") -> str:
    """Return NaN, which is shown as an empty cell is, for those of `rows` that `expr` lacks.

    A table has no column for a query without any value, and the columns after it would move.
    """
    return f"({expr}) or on ({by}) (nan * {rows})"


def or_row(expr: str, label: str, *cases: tuple[str, str]) -> str:
    """Return the first of `cases` as a row where `expr` has none: a text and when it is true.

    The text is the value of `label`, and the row's number is -2 (`looks.NO_ROW`). Without it, a
    table is empty for three reasons: nothing went wrong, nothing happened, nothing is known.
    """
    rows = (
        f'label_replace(0 * max({where}) - 2, "{label}", "{text}", "", "")' for text, where in cases
    )
    return "\n or on () ".join((f"({expr})", *rows))


def some(metric: str, matchers: str = ONE) -> str:
    """Return the pace of a counter where it grows, and nothing where it does not."""
    return f"(sum(rate({metric}{{{matchers}}}[{R}])) > 0)"


def age(time: str) -> str:
    """Return how long ago a time was; not less than 0, also if the clocks of two hosts differ."""
    return f"clamp_min(time() - {time}, 0)"


def or_zero(expr: str, by: str = "") -> str:
    """Return 0 where an exporter reports, but `expr` has no value: there was no such job yet."""
    return f"{expr} or on ({by}) (0 * max by ({by}) ({SEEN}))"


def while_seen(expr: str) -> str:
    """Return `expr` while an exporter reports: afterwards it would only say what was known."""
    return f"({expr}) and on () max({SEEN})"


def grown(metric: str, matchers: str = ONE, window: str = "$__range") -> str:
    """Return by how much counters grew within a window, as the rules do (`exporter.alerting`).

    `increase` alone misses a series that is born at 1, such as the first error of its kind. A
    newborn series counts in full, unless its exporter is a newborn itself.
    """
    series = f"{metric}{{{matchers}}}"
    newborn = f"{SEEN} unless {SEEN} offset {window}"
    return (
        f"(({series} unless {series} offset {window}"
        f" unless on (job, instance, upstream) ({newborn})) or increase({series}[{window}]))"
    )


def newest(series: str) -> str:
    """Return which of a job's series was scraped last, also after all of them have ended.

    A job's former state, and its former step, are series that ended earlier.
    """
    return f"topk(1, max_over_time(timestamp({series})[$__range:{FINE}]))"


def last(series: str) -> str:
    """Return a job's last value in the time range, also after its series ended."""
    return f"max(last_over_time({series}[$__range]))"


def own(name: str) -> str:
    """Return the series of a metric about the exporter itself."""
    return f"removit_exporter_{name}{{{ONE}}}"


def quantile(share: float, name: str, by: str = "le") -> str:
    """Return a quantile of a histogram about the exporter itself, in seconds."""
    rate = f"rate(removit_exporter_{name}_seconds_bucket{{{ONE}}}[{R}])"
    return f"histogram_quantile({share}, sum by ({by}) ({rate}))"


def answered(quantile: str) -> str:
    """Return quantiles without those of nothing: NaN has no line, but a place in the legend."""
    return f"{quantile} >= 0"


class Query(prometheus.Dataquery):
    """A query over the time range."""

    def __init__(self, expr: str, legend: str = "__auto") -> None:
        super().__init__()
        self.expr(expr).legend_format(legend).datasource(DATASOURCE).range()


def now(expr: str, legend: str = "__auto") -> Query:
    """Ask for the newest values only."""
    query = Query(expr, legend)
    query.instant()
    return query


def rows(expr: str) -> Query:
    """Ask for the newest values, as rows of a table."""
    query = now(expr, "")
    query.format(PromQueryFormat.TABLE)
    return query


def buckets(expr: str) -> Query:
    """Ask for a histogram's buckets, with exemplars."""
    query = Query(expr, "{{le}}")
    query.format(PromQueryFormat.HEATMAP).exemplar(True)
    return query


def with_exemplars(expr: str, legend: str = "__auto") -> Query:
    """Ask for series, with exemplars, each of which leads to a job.

    Only for durations and for trouble: among jobs that are done, the few that matter would not
    be seen.
    """
    query = Query(expr, legend)
    query.exemplar(True)
    return query


def _all() -> VariableOption:
    return VariableOption(selected=True, text="All", value="$__all")


def datasource() -> DatasourceVariable:
    """Return the variable of the data source."""
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def _values(name: str, label: str, metric: str, text: str) -> QueryVariable:
    variable = QueryVariable(name).label(text).datasource(DATASOURCE)
    query: dict[str, object] = {
        "qryType": 1,  # label values
        "query": f"label_values({metric}, {label})",
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    variable.query(query).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable.sort(VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".+")
    return variable.current(_all())


def exporters() -> list[QueryVariable]:
    """Return the variables of the exporters: Prometheus's `job` and `instance`, the upstream."""
    state = "removit_upstream_state"
    chosen = f'{state}{{job=~"$job"}}'
    narrower = f'{state}{{job=~"$job",instance=~"$instance"}}'
    return [
        _values("job", "job", state, "Scrape job"),
        _values("instance", "instance", chosen, "Instance"),
        _values("upstream", "upstream", narrower, "Upstream"),
    ]


def group() -> QueryVariable:
    """Return the variable of the group, whatever the config's `metrics.group_labels` are.

    Its value is a matcher such as `shop="eu"`; All is a matcher that always holds. Without group
    labels there is only All.
    """
    expr = (
        f"query_result(count without ({', '.join(KNOWN_LABELS)}) (removit_jobs_pending{{{ONE}}}))"
    )
    query: dict[str, object] = {
        "qryType": 3,  # a query's result
        "query": expr,
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    variable = QueryVariable("group").label("Group").datasource(DATASOURCE).query(query)
    variable.regex("/{(.+)}/").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable.sort(VariableSort.ALPHABETICAL_ASC).include_all(True).all_value('upstream!=""')
    return variable.current(_all())


def job_id() -> TextBoxVariable:
    """Return the variable of the job: a text box, because 10,000 ids would hang the browser."""
    return TextBoxVariable("job_id").label("Job id").default_value("")
