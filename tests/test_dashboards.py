"""The dashboards: what is committed is what the code makes, laid out and labelled as it should."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql import family_of, read, strangers

from exporter.alerting.alert import EXPORTER, OVERVIEW
from exporter.alerting.promql import Promql
from exporter.alerting.recording import recordings
from exporter.alerting.rule_files import alerts
from exporter.alerting.thresholds import load_thresholds
from exporter.metrics.catalogue import FAMILIES, UNUSED

ROOT = Path(__file__).parent.parent
GRAFANA = ROOT / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DOCUMENTS: dict[str, dict[str, Any]] = {path.name: json.loads(path.read_text()) for path in FILES}
NAMES = sorted(DOCUMENTS)
RECORDED = {rule.record for rule in recordings(Promql(load_thresholds()))}
OF_PROMETHEUS = {
    "up",
    "scrape_samples_scraped",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
}
"""Not in the catalogue: what Prometheus says of a scrape, and prometheus-client of a process."""


def panels(name: str) -> Iterator[dict[str, Any]]:
    yield from (panel for panel in DOCUMENTS[name]["panels"] if panel["type"] != "row")


def expressions(name: str) -> Iterator[str]:
    for panel in panels(name):
        yield from (target["expr"] for target in panel["targets"])
    yield from (annotation["expr"] for annotation in DOCUMENTS[name]["annotations"]["list"])


def test_the_committed_dashboards_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GRAFANA))
    from removit_dashboards.__main__ import documents, text

    assert "removit_dashboards" in sys.modules
    made = documents()
    assert sorted(made) == NAMES
    for name, document in made.items():
        written = (GRAFANA / "dashboards" / name).read_text()
        assert written == text(document), "run: make dashboards"


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_24_columns_without_overlap_or_hole(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DOCUMENTS[name]["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
    rows = 1 + max(y for _, y in taken)
    assert set(taken) == {(x, y) for x in range(24) for y in range(rows)}
    order = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in DOCUMENTS[name]["panels"]]
    assert order == sorted(order)


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_is_and_what_it_shows_when_empty(name: str) -> None:
    everything = DOCUMENTS[name]["panels"]
    numbers = [panel["id"] for panel in everything]
    assert numbers == list(range(1, len(everything) + 1))
    titles = [panel["title"] for panel in everything]
    assert len(titles) == len(set(titles))
    for panel in panels(name):
        assert len(panel["description"]) >= 8, panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["noValue"], panel["title"]
        unit = panel["options"]["yAxis"]["unit"] if panel["type"] == "heatmap" else defaults["unit"]
        assert unit, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == list("ABCDEFGH"[: len(refs)])
        assert refs
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert target["instant"] is not target["range"]


@pytest.mark.parametrize("name", NAMES)
def test_a_panel_names_only_metrics_of_the_catalogue_and_fakes_no_zero(name: str) -> None:
    known = {*RECORDED, *OF_PROMETHEUS}
    prometheus_labels = {"pod", "container", "endpoint", "service", "node", "prometheus"}
    for expression in expressions(name):
        assert "vector(" not in expression
        filled = expression.replace("${group:raw}", 'upstream!=""')
        assert strangers(filled, known, prometheus_labels) == set(), expression


@pytest.mark.parametrize("name", NAMES)
def test_a_panel_queries_the_chosen_exporters_only(name: str) -> None:
    for expression in expressions(name):
        assert expression.count("{") - expression.count("${") == expression.count('job=~"$job"')


def test_the_three_link_to_each_other_and_share_what_is_chosen() -> None:
    uids = {document["uid"] for document in DOCUMENTS.values()}
    assert uids == {OVERVIEW, EXPORTER, "removit-job"}
    for document in DOCUMENTS.values():
        [link] = document["links"]
        assert (link["type"], link["tags"]) == ("dashboards", ["removit"])
        assert link["includeVars"]
        assert link["keepTime"]
        assert document["tags"] == ["removit"]
        assert document["id"] is None
        names = [variable["name"] for variable in document["templating"]["list"]]
        assert names[:4] == ["datasource", "job", "instance", "upstream"]
        annotations = {one["name"] for one in document["annotations"]["list"]}
        assert annotations == {"Outages", "Config reloads"}


def variable(name: str, of: str) -> dict[str, Any]:
    [found] = [one for one in DOCUMENTS[of]["templating"]["list"] if one["name"] == name]
    return dict(found)


def test_the_job_is_a_text_box_and_reached_from_table_and_exemplars() -> None:
    assert variable("job_id", "job.json")["type"] == "textbox"
    text = json.dumps(DOCUMENTS["overview.json"])
    assert "/d/removit-job/removit-job?var-job_id=${__value.raw}" in text
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    [destination] = source["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "job_id"
    # `$$`: Grafana reads variables in provisioning files, and this is none of them.
    assert destination["url"] == "/d/removit-job/removit-job?var-job_id=$${__value.raw}"


def test_panels_with_jobs_behind_their_counts_ask_for_exemplars() -> None:
    asking = {
        panel["title"]
        for panel in panels("overview.json")
        if any(target.get("exemplar") for target in panel["targets"])
    }
    assert asking == {
        "Ended per minute, by state",
        "Time to done",
        "Time to done, every job",
        "Ignored variations, by variation",
        "Warnings, by variation",
        "Done without result, by mode",
    }


def test_one_query_of_several_with_the_same_exemplars_asks_for_them() -> None:
    for panel in panels("overview.json"):
        assert sum(bool(target.get("exemplar")) for target in panel["targets"]) <= 1, panel["title"]


def test_bars_and_heatmaps_show_rates_so_that_overlapping_windows_add_up() -> None:
    for name in NAMES:
        for panel in panels(name):
            style = panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle")
            if style == "bars" or panel["type"] == "heatmap":
                for target in panel["targets"]:
                    assert "increase(" not in target["expr"]
                    assert "* 60" in target["expr"]
                assert (
                    panel["type"] == "heatmap" or panel["fieldConfig"]["defaults"]["unit"] == "cpm"
                )


def test_links_lead_only_to_addresses_that_a_browser_can_reach() -> None:
    for document in DOCUMENTS.values():
        assert "http://" not in json.dumps(document)


def test_the_examples_scrape_as_often_as_grafana_believes_and_keep_the_exporters_labels() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    for page in ("README.md", "docs/monitoring.md"):
        [text] = re.findall(
            r"<!-- file: prometheus\.yml -->\n```yaml\n(.*?)```",
            (ROOT / page).read_text(),
            re.DOTALL,
        )
        example = yaml.safe_load(text)
        assert example["global"]["scrape_interval"] == source["jsonData"]["timeInterval"]
        assert all(scrape["honor_labels"] for scrape in example["scrape_configs"])
    [scrape] = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert scrape["honor_labels"]


def test_a_metric_that_no_dashboard_or_rule_asks_for_is_listed_as_such() -> None:
    ql = Promql(load_thresholds())
    asked = [rule.expr for rule in recordings(ql)] + [alert.expr for alert in alerts(ql)]
    for name in NAMES:
        asked += [text.replace("${group:raw}", 'upstream!=""') for text in expressions(name)]
    families = [family_of(metric) for text in asked for metric in read(text).metrics]
    used = {family.name for family in families if family is not None}
    assert set(UNUSED) == set(FAMILIES) - used


def test_alerts_link_to_a_dashboard_that_exists() -> None:
    uids = {document["uid"] for document in DOCUMENTS.values()}
    for alert in alerts(Promql(load_thresholds())):
        assert alert.dashboard in uids
