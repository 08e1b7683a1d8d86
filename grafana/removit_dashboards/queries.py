"""What a panel asks Prometheus, and the variables by which its questions are narrowed."""

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

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

ONE = 'job=~"$job",instance=~"$instance",upstream=~"$upstream"'
"""The chosen exporters."""
GROUP = ONE + ",${group:raw}"
"""The chosen exporters and group; for metrics with group labels (G in docs/metrics.md)."""
RECORDED = 'job=~"$job",upstream=~"$upstream"'
"""For recording rules, which have added up over instances and groups."""
SINGLE = 'job_id="$job_id"'
"""The chosen job."""

KNOWN_LABELS = (
    *("cluster", "namespace", "job", "instance", "upstream", "drill", "drill_page"),
    *("pod", "container", "endpoint", "service", "node", "prometheus"),
    *("mode", "state", "source"),
)
"""Labels that are no group: what remains without them is the config's `metrics.group_labels`."""

BY_GROUP = f"sum without ({', '.join(KNOWN_LABELS)})"


class Query(prometheus.Dataquery):
    """A question over the shown time."""

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
    """Ask for a histogram's buckets, with the exemplars that lead to single jobs."""
    query = Query(expr, "{{le}}")
    query.format(PromQueryFormat.HEATMAP).exemplar(True)
    return query


def with_exemplars(expr: str, legend: str = "__auto") -> Query:
    """Ask for series, with the exemplars that lead to single jobs."""
    query = Query(expr, legend)
    query.exemplar(True)
    return query


def _all() -> VariableOption:
    return VariableOption(selected=True, text="All", value="$__all")


def datasource() -> DatasourceVariable:
    """The Prometheus that is asked."""
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
    """Which exporters: by Prometheus's `job` and `instance`, and by the upstream's name."""
    state = "removit_upstream_state"
    chosen = f'{state}{{job=~"$job"}}'
    narrower = f'{state}{{job=~"$job",instance=~"$instance"}}'
    return [
        _values("job", "job", state, "Job"),
        _values("instance", "instance", chosen, "Instance"),
        _values("upstream", "upstream", narrower, "Upstream"),
    ]


def group() -> QueryVariable:
    """Which group, whatever the config's `metrics.group_labels` are: a matcher such as `shop="eu"`.

    Without group labels there is nothing to choose and All, a matcher that always holds.
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
    """The job: typed or brought by a link, for a list of 10,000 ids would hang the browser."""
    return TextBoxVariable("job_id").label("Job id").default_value("")
