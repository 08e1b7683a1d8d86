"""The dashboards' JSON: it is what the code makes, and lacks the faults of earlier versions."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import program
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
    "ALERTS",
    "ALERTS_FOR_STATE",
}
"""Not in the catalogue: Prometheus's own series, and those of prometheus-client about a process."""
OF_ALERTS = {"alertname", "alertstate", "severity"}
OF_TEXTS = {"text", "why", "cause", "which", "do"}
"""Labels that a query makes, for texts."""
EVERY_GROUP = 'upstream!=""'
GROUP_DOES_NOT_APPLY = "Group does not apply"


def everything(name: str) -> Iterator[dict[str, Any]]:
    """Yield rows and panels in reading order; those of a collapsed row follow it."""
    for panel in DOCUMENTS[name]["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def panels(name: str) -> Iterator[dict[str, Any]]:
    yield from (panel for panel in everything(name) if panel["type"] != "row")


def every_panel() -> Iterator[dict[str, Any]]:
    for name in NAMES:
        yield from panels(name)


def quiet(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the queries of the lines that say why a graph has no other (`panels.Quiet`)."""
    return [one for one in panel["targets"] if one["legendFormat"] == "{{text}}"]


def texts_of(panel: dict[str, Any]) -> list[str]:
    """Return the names of those lines."""
    return [text for one in quiet(panel) for text in re.findall(r'"text", "(.+?)"', one["expr"])]


def talking(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a panel's other queries."""
    return [one for one in panel["targets"] if one not in quiet(panel)]


def expressions(name: str) -> Iterator[str]:
    for panel in panels(name):
        yield from (target["expr"] for target in panel["targets"])
    yield from (annotation["expr"] for annotation in DOCUMENTS[name]["annotations"]["list"])


def readable(expression: str) -> str:
    """Return an expression as `promql.read` knows it: without Grafana's group and subqueries."""
    return re.sub(r":[$\w]+\]", "]", expression.replace("${group:raw}", EVERY_GROUP))


def test_the_committed_dashboards_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GRAFANA))
    from removit_dashboards.__main__ import documents, text

    assert "removit_dashboards" in sys.modules
    made = documents()
    assert sorted(made) == NAMES
    for name, document in made.items():
        written = (GRAFANA / "dashboards" / name).read_text()
        assert written == text(document), "run: make dashboards"


def covered(placed: list[dict[str, Any]]) -> dict[tuple[int, int], str]:
    """Return the title on each cell of the grid; no cell has two."""
    taken: dict[tuple[int, int], str] = {}
    for panel in placed:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
    return taken


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_24_columns_without_overlap_or_hole(name: str) -> None:
    rows = [panel for panel in DOCUMENTS[name]["panels"] if panel.get("panels")]
    for placed in (DOCUMENTS[name]["panels"], *(row["panels"] for row in rows)):
        taken = covered(placed)
        first, last = min(y for _, y in taken), max(y for _, y in taken)
        assert set(taken) == {(x, y) for x in range(24) for y in range(first, last + 1)}
        order = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in placed]
        assert order == sorted(order)
    for row in rows:
        assert row["collapsed"]
        assert row["panels"][0]["gridPos"]["y"] == row["gridPos"]["y"] + 1


def test_the_first_screen_of_the_overview_fits_1080_pixels() -> None:
    """A grid unit takes 38 pixels; Grafana's header and variables take about 140."""
    [_, second, *_] = [one for one in everything("overview.json") if one["type"] == "row"]
    assert 140 + 38 * second["gridPos"]["y"] <= 1080


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_is_and_what_it_shows_when_empty(name: str) -> None:
    numbers = [panel["id"] for panel in everything(name)]
    assert numbers == list(range(1, len(numbers) + 1))
    titles = [panel["title"] for panel in everything(name)]
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
        labels = prometheus_labels | OF_ALERTS | OF_TEXTS
        unknown = strangers(readable(expression), known, labels)
        assert unknown == set(), expression


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
        job = document["uid"] == "removit-job"
        assert annotations == {"Outages"} | (set() if job else {"Firing alerts", "Config reloads"})


def variable(name: str, of: str) -> dict[str, Any]:
    [found] = [one for one in DOCUMENTS[of]["templating"]["list"] if one["name"] == name]
    return dict(found)


def test_the_job_is_a_text_box_and_reached_from_table_and_exemplars() -> None:
    assert variable("job_id", "job.json")["type"] == "textbox"
    assert any("removit-job" in url for url in links("overview.json"))
    [destination] = data_source()["exemplarTraceIdDestinations"]
    assert destination["name"] == "job_id"
    # `$$`: Grafana would otherwise read these as variables of the provisioning file.
    assert destination["url"] == (
        "/d/removit-job/removit-job?var-job_id=$${__value.raw}&$${__url_time_range}"
    )


def data_source() -> dict[str, Any]:
    text = (GRAFANA / "provisioning/datasources/prometheus.yaml").read_text()
    [source] = yaml.safe_load(text)["datasources"]
    return dict(source["jsonData"])


def properties(name: str, wanted: str) -> Iterator[Any]:
    """Yield the values of one property in all overrides."""
    for panel in panels(name):
        for override in panel["fieldConfig"]["overrides"]:
            for one in override["properties"]:
                if one["id"] == wanted:
                    yield one["value"]


def links(name: str) -> list[str]:
    return [link["url"] for found in properties(name, "links") for link in found]


def test_links_carry_the_time_range_the_data_source_and_the_upstream() -> None:
    assert links("overview.json")
    for name in NAMES:
        for url in links(name):
            assert "${__url_time_range}" in url
            assert "${datasource:queryparam}" in url
            assert "var-upstream=" in url
            if OVERVIEW in url:
                # It leads to where it is, so what else was chosen must stay.
                for one in ("job", "instance", "group"):
                    assert f"${{{one}:queryparam}}" in url


def test_what_is_not_known_is_grey_and_says_no_data() -> None:
    """Every tile, every column and every timeline with words maps null; null is never a colour."""
    greys = set()
    for panel in every_panel():
        config = panel["fieldConfig"]
        own = panel["type"] in {"stat", "table"}
        found = [config["defaults"].get("mappings")] if own else []
        found += [
            one["value"]
            for override in config["overrides"]
            for one in override["properties"]
            if one["id"] == "mappings"
        ]
        for mappings in found:
            assert mappings, panel["title"]
            empty, null = mappings[-2:]
            assert null["type"] == empty["type"] == "special", panel["title"]
            assert null["options"]["match"] == "null+nan"
            # A label that a series lacks: in a table, Grafana makes it empty.
            assert empty["options"]["match"] == "empty"
            assert empty["options"]["result"]["text"] == null["options"]["result"]["text"]
            greys.add(null["options"]["result"]["color"])
    [grey] = greys
    assert grey == "#8e8e8e"


def test_a_tile_shows_a_value_and_never_the_name_of_a_series() -> None:
    for panel in every_panel():
        if panel["type"] == "stat":
            assert panel["options"]["textMode"] == "value", panel["title"]


@pytest.mark.parametrize("text", ["none", "never", "well", "0"])
def test_no_tile_claims_to_know_when_it_has_no_data(text: str) -> None:
    for panel in every_panel():
        if panel["type"] == "stat":
            [null] = panel["fieldConfig"]["defaults"]["mappings"][-1:]
            assert null["options"]["result"]["text"] != text, panel["title"]


def test_an_empty_panel_claims_nothing_that_a_lost_exporter_would_disprove() -> None:
    for panel in every_panel():
        text = panel["fieldConfig"]["defaults"]["noValue"]
        if re.match("(no|none|nobody)\\b", text, re.IGNORECASE) and panel["type"] != "stat":
            assert "no data" in text.lower(), panel["title"]


def test_no_trouble_no_traffic_and_no_data_are_told_apart() -> None:
    """Each graph that may have no line while an exporter reports then has one that says why.

    The system test of the queries puts this to a Prometheus, without a job and without an exporter.
    """
    for panel in every_panel():
        if panel["type"] != "timeseries":
            continue
        overrides = columns_of(panel)
        for text in texts_of(panel):
            looks = overrides[text]
            assert looks["custom.drawStyle"] == "line", "a bar of height 0 is not seen"
            assert looks["custom.stacking"]["mode"] == "none"
            assert looks["color"]["fixedColor"] in {"green", "#8e8e8e"}
        for target in talking(panel):
            may_be_empty = re.search(r"(> 0|>= 0)\)?$", target["expr"])
            assert not may_be_empty or quiet(panel), panel["title"]


def test_what_ends_badly_is_compared_with_what_ended() -> None:
    for title in (
        "Ended badly per minute, by state",
        "Ignored variations, by variation",
        "Warnings, by variation",
        "Done without result, by mode",
    ):
        panel = overview_panel(title)
        well, idle = texts_of(panel)
        # What is good is said only where there was something to be good.
        [target] = quiet(panel)
        good, nothing = target["expr"].split(" or on () ")
        assert "removit_jobs_finished_total" in good
        assert "removit_upstream_state" in nothing
        colours = {name: looks["color"]["fixedColor"] for name, looks in columns_of(panel).items()}
        assert idle == "no job ended"
        assert (colours[well], colours[idle]) == ("green", "#8e8e8e")


def test_a_table_without_rows_says_why() -> None:
    for panel in panels("overview.json"):
        if panel["type"] == "table":
            for target in panel["targets"]:
                # The row is there whenever an exporter reports, or the rules are evaluated.
                always = ("max(removit_upstream_state", "max(upstream:removit_exporters:count")
                by_upstream = "by (upstream)" in target["expr"]
                assert by_upstream or any(one in target["expr"] for one in always), panel["title"]


def test_what_must_be_sent_again_is_one_number_and_the_table_that_adds_up_to_it() -> None:
    tile, table = (
        overview_panel("To send again"),
        overview_panel("To send again, by cause"),
    )
    [total], [parts] = tile["targets"], table["targets"]
    assert total["expr"] == f"sum({parts['expr']})"
    for metric in (
        "removit_unresolved_failures",
        "removit_jobs_done_without_result_total",
        "removit_upstream_requests_total",
    ):
        assert metric in parts["expr"]
    assert parts["expr"].count('"cause"') == 3
    assert GROUP_DOES_NOT_APPLY not in tile["description"]


def test_the_reason_of_a_state_is_next_to_it() -> None:
    headings = list(columns_of(overview_panel("Upstreams, the worst first")))
    assert headings[1:4] == ["State", "For", "Why"]
    [meaning] = [one for one in panels("job.json") if one["title"] == "Why it is in this state"]
    for column in ("Why", "What to do"):
        known, *_ = columns_of(meaning)[column]["mappings"]
        texts = {state: shown["text"] for state, shown in known["options"].items()}
        assert set(texts) == {"pending", "done", "failed", "expired", "not_found", "invalid"}
        assert all(text.endswith(".") for text in texts.values())


def test_an_alert_fires_since_the_line_in_the_graphs() -> None:
    """Both begin at the first step at which it fires, not when its condition began to hold."""
    table = overview_panel("Firing alerts")
    assert "Firing for" in columns_of(table)
    [target] = table["targets"]
    [line] = [
        one
        for one in DOCUMENTS["overview.json"]["annotations"]["list"]
        if one["name"] == "Firing alerts"
    ]
    step = int(line["step"].removesuffix("s"))
    assert f'alertstate="pending"}} == 1)[$__range:{step}s]) + {step}' in target["expr"]


def overview_panel(title: str) -> dict[str, Any]:
    [found] = [panel for panel in panels("overview.json") if panel["title"] == title]
    return found


def columns_of(panel: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the properties of each column by its heading."""
    return {
        override["matcher"]["options"]: {one["id"]: one["value"] for one in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    }


def test_upstreams_have_a_row_each_and_the_worst_comes_first() -> None:
    table = overview_panel("Upstreams, the worst first")
    assert table["options"]["sortBy"] == [{"displayName": "State", "desc": True}]
    for target in table["targets"]:
        assert "by (upstream)" in target["expr"]
    words = columns_of(table)["State"]["mappings"][0]["options"]
    texts = [words[str(code)]["text"] for code in range(len(words))]
    assert texts == [
        *("well", "unknown", "suspect", "throttled"),
        *("BLOCKED", "DOWN", "KEY REJECTED", "NO EXPORTER"),
    ]
    over_time = overview_panel("Upstream over time")
    [target] = over_time["targets"]
    assert target["legendFormat"] == "{{upstream}}"
    assert target["expr"].startswith("max by (upstream)")
    for name in NAMES:
        assert variable("upstream", name)["current"]["value"] == "$__all"


def test_an_upstream_without_exporter_is_not_said_to_have_nothing_pending() -> None:
    table = overview_panel("Upstreams, the worst first")
    [oldest] = [one for one in table["targets"] if "removit_oldest_pending" in one["expr"]]
    assert "or on (upstream) (0 * max by (upstream) (removit_upstream_state" in oldest["expr"]
    known, _, null = columns_of(table)["Oldest"]["mappings"]
    assert known["options"]["-1"]["text"] == "none"
    assert null["options"]["result"]["text"] == "no data"


def test_an_upstream_is_said_to_have_the_error_that_came_last(tmp_path: Path) -> None:
    """503 until the scrape at 60 s, and 429 at 75 s."""
    table = overview_panel("Upstreams, the worst first")
    [why] = [one["expr"] for one in table["targets"] if '"why"' in one["expr"]]
    values = {"__interval": "15s", "__rate_interval": "1m", "__range": "1h"}
    for name, value in values.items():
        why = re.sub(rf"\${name}\b", value, why)
    why = re.sub(r"\$(job|instance|upstream)\b", ".+", why)
    labels = 'job="removit",instance="a",upstream="studio"'
    status = f'{labels},endpoint="status",code='
    series = {
        f'removit_upstream_state{{{labels},state="well"}}': "1 1 0x19",
        f'removit_upstream_requests_total{{{status}"503"}}': "0 0 3 6 9x17",
        f'removit_upstream_requests_total{{{status}"429"}}': "0 0 0 0 0 1x16",
    }
    for code, error in (("503", "server_error"), ("429", "rate_limited")):
        [numbers] = [one for name, one in series.items() if f'"{code}"' in name]
        name = f'removit_upstream_errors_total{{{status}"{code}",error="{error}"}}'
        series[name] = numbers
    said = {15: "it answers", 60: "503 server_error"}
    said |= dict.fromkeys((75, 80, 90, 120, 300), "429 rate_limited")
    checks = [
        {
            "expr": f"count by (why) ({why})",
            "eval_time": f"{second}s",
            "exp_samples": [{"labels": f'{{why="{text}"}}', "value": 1}],
        }
        for second, text in said.items()
    ]
    given = [{"series": name, "values": numbers} for name, numbers in series.items()]
    tests = [{"interval": "15s", "input_series": given, "promql_expr_test": checks}]
    path = tmp_path / "why.yml"
    path.write_text(yaml.safe_dump({"tests": tests}))
    command = [program("promtool", "prometheus"), "test", "rules", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_age_is_negative() -> None:
    for name in NAMES:
        for expression in expressions(name):
            ages = expression.count("time() - ")
            assert ages == expression.count("clamp_min(time() - "), expression
    for panel in every_panel():
        for target in talking(panel):
            if "oldest_due" in target["expr"] and panel["title"] != "Own faults":
                assert "clamp_min(" in target["expr"], panel["title"]


def test_long_durations_are_not_decimal_minutes() -> None:
    """Grafana's unit `s` would show 100 seconds as 1.67 mins."""
    longest = {
        f"{family.name}_bucket": family.buckets[-1]
        for family in FAMILIES.values()
        if family.buckets
    }
    seen = 0
    for panel in every_panel():
        if panel["fieldConfig"]["defaults"].get("unit") == "s":
            for target in panel["targets"]:
                for metric in read(readable(target["expr"])).metrics & longest.keys():
                    assert longest[metric] <= 60, panel["title"]
                    seen += 1
    assert seen > 3


def test_series_without_values_leave_the_legend() -> None:
    """Those of labels of which there may be many; exporters, upstreams and groups always stay."""
    for panel in every_panel():
        if panel["type"] == "timeseries":
            for target in talking(panel):
                labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                if (
                    labels - {"instance", "upstream"}
                    or "quantile(0.95, sum without" in target["expr"]
                ):
                    present = re.search(r"> 0$|>= 0$|> 0\)$", target["expr"])
                    assert present, (panel["title"], target["legendFormat"])


def test_only_what_is_stacked_is_filled() -> None:
    for panel in every_panel():
        if panel["type"] == "timeseries":
            custom = panel["fieldConfig"]["defaults"]["custom"]
            assert (custom["fillOpacity"] > 0) is ("stacking" in custom), panel["title"]


def test_ids_are_not_cut() -> None:
    widths = [
        columns["Job id"].get("custom.width")
        for columns in map(columns_of, every_panel())
        if "Job id" in columns
    ]
    assert widths == [330, 330]


def test_names_say_which_job_and_which_page() -> None:
    for name in NAMES:
        assert variable("job", name)["label"] == "Scrape job"
        for panel in everything(name):
            assert "page" not in panel["title"].lower()


def test_the_heading_says_what_to_do_when_no_job_is_chosen() -> None:
    first, *_ = everything("job.json")
    assert "Type an id above" in first["title"]
    for panel in every_panel():
        if panel["type"] == "stat":
            # A longer text would be tiny in a tile.
            assert len(panel["fieldConfig"]["defaults"]["noValue"]) <= 12, panel["title"]


def inner_width(panel: dict[str, Any]) -> float:
    """Return a panel's width inside, in pixels, in a browser that is 1280 wide."""
    return float(panel["gridPos"]["w"] * 1256 / 24 - 8 - 16)


def test_no_title_is_cut_at_1280_pixels() -> None:
    """About: the mark behind it takes 38 pixels, and a letter 8 or, if it is narrow, 4.5."""
    for panel in every_panel():
        narrow = sum(letter in " ,.:fijlrtI" for letter in panel["title"])
        taken = 8 * len(panel["title"]) - 3.5 * narrow
        assert 38 + taken <= inner_width(panel), panel["title"]


def test_every_column_of_a_table_is_in_sight_at_1280_pixels() -> None:
    for panel in every_panel():
        if panel["type"] == "table":
            least = panel["fieldConfig"]["defaults"]["custom"]["minWidth"]
            widths = [one.get("custom.width", least) for one in columns_of(panel).values()]
            assert sum(widths) <= inner_width(panel), panel["title"]


def test_the_job_dashboard_has_how_long_it_took_and_what_is_usual() -> None:
    titles = {panel["title"] for panel in panels("job.json") if panel["type"] == "stat"}
    assert {"Took", "Usual at most", "Took, of usual"} <= titles


def test_details_are_collapsed_and_stuck_jobs_are_on_the_second_screen() -> None:
    rows = [one for one in DOCUMENTS["overview.json"]["panels"] if one["type"] == "row"]
    shown = [row["title"] for row in rows if not row["collapsed"]]
    assert shown == ["At a glance", "Stuck jobs", "What goes wrong"]
    assert max(row["gridPos"]["y"] for row in rows) * 38 < 2160
    assert {panel["type"] for panel in rows[-1]["panels"]} == {"table"}, "not bars of all sizes"


def test_the_first_screen_has_alerts_credits_and_uploads() -> None:
    first, second = [
        at for at, one in enumerate(everything("overview.json")) if one["type"] == "row"
    ][:2]
    titles = [one["title"] for one in list(everything("overview.json"))[first + 1 : second]]
    assert {"Firing alerts", "Alerts", "Credits", "Uploads failed"} <= set(titles)
    assert titles[:2] == ["Upstreams, the worst first", "Firing alerts"]


def test_each_panel_of_the_overview_uses_group_or_says_that_it_does_not() -> None:
    using = 0
    for panel in panels("overview.json"):
        applies = all("${group:raw}" in target["expr"] for target in panel["targets"])
        assert applies is (GROUP_DOES_NOT_APPLY not in panel["description"]), panel["title"]
        using += applies
    assert using > 25
    for name in ("job.json", "exporter.json"):
        assert GROUP_DOES_NOT_APPLY not in json.dumps(DOCUMENTS[name])


def test_codes_have_the_colour_of_their_class_in_every_panel() -> None:
    seen = 0
    for panel in every_panel():
        by_code = any("{{code}}" in (one.get("legendFormat") or "") for one in panel["targets"])
        patterns = {
            override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
            for override in panel["fieldConfig"]["overrides"]
            if override["matcher"]["id"] == "byRegexp"
        }
        assert bool(patterns) is by_code, panel["title"]
        for code, colour in (
            ("200", "green"),
            ("404", "orange"),
            ("429", "yellow"),
            ("503", "red"),
            ("timeout", "purple"),
        ):
            for legend in (f"status {code}", f"{code} some_error"):
                # The last override that matches holds.
                matching = [
                    value
                    for pattern, value in patterns.items()
                    if re.search(pattern.strip("/"), legend)
                ]
                assert not by_code or matching[-1] == colour, (panel["title"], legend)
        seen += by_code
    assert seen >= 3


def test_counts_have_no_decimals_and_no_thousands_as_letters() -> None:
    for panel in every_panel():
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] != "short" if "unit" in defaults else True, panel["title"]
        if defaults.get("unit") == "locale":
            assert defaults["decimals"] == 0, panel["title"]


def test_an_axis_of_zeros_does_not_end_at_100() -> None:
    for panel in every_panel():
        if panel["type"] == "timeseries":
            defaults = panel["fieldConfig"]["defaults"]
            custom = defaults["custom"]
            bounded = "axisSoftMax" in custom or "max" in defaults
            assert bounded or defaults["unit"] == "bytes", panel["title"]


def test_limits_are_those_of_the_alerts() -> None:
    thresholds = load_thresholds()
    limits = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]
        for panel in every_panel()
        if "thresholdsStyle" in panel["fieldConfig"]["defaults"].get("custom", {})
    }
    assert limits == {
        "Share that ends badly": pytest.approx(1 - thresholds.failure_budget.objective),
        "Latency": thresholds.alerts.status_latency.seconds,
        "Use of the rate limit": 1.0,
        "Most overdue poll over time": thresholds.alerts.exporter_lagging.seconds,
        "Demand, of the limit": 1.0,
    }


def test_states_of_jobs_have_the_same_colours_everywhere() -> None:
    colours: dict[str, set[str]] = {}
    for panel in every_panel():
        legends = {target.get("legendFormat") for target in panel["targets"]}
        if legends & {"{{state}}"}:
            texts = texts_of(panel)
            for override in panel["fieldConfig"]["overrides"]:
                if override["matcher"]["options"] in texts:
                    continue
                colour = override["properties"][0]["value"]["fixedColor"]
                colours.setdefault(override["matcher"]["options"], set()).add(colour)
    assert colours.keys() == {"pending", "done", "failed", "expired", "not_found", "invalid"}
    assert all(len(found) == 1 for found in colours.values())


def test_exemplars_show_durations_and_trouble_only() -> None:
    asking = {
        panel["title"]
        for panel in every_panel()
        if any(target.get("exemplar") for target in panel["targets"])
    }
    assert asking == {
        "Ended badly per minute, by state",
        "Time to done",
        "Time to done, every job",
        "Ignored variations, by variation",
        "Warnings, by variation",
        "Done without result, by mode",
    }


def test_the_job_dashboard_works_after_the_series_ended() -> None:
    """Every tile and table looks back over the time range, and no job id is aggregated away."""
    for panel in panels("job.json"):
        if panel["type"] in {"stat", "table"}:
            for target in panel["targets"]:
                assert "_over_time(" in target["expr"], panel["title"]
                assert "[$__range" in target["expr"], panel["title"]


def test_annotations_look_at_each_scrape() -> None:
    interval = data_source()["timeInterval"]
    for document in DOCUMENTS.values():
        found = {one["name"]: one for one in document["annotations"]["list"]}
        for name in found.keys() - {"Config reloads"}:
            assert found[name]["step"] == interval
            assert found[name]["target"]["interval"] == interval
    [outages] = DOCUMENTS["job.json"]["annotations"]["list"]
    assert 'job_id="$job_id"' in outages["expr"]
    for document in DOCUMENTS.values():
        # Grafana may choose a longer step than the scrape interval.
        [outages] = [one for one in document["annotations"]["list"] if one["name"] == "Outages"]
        assert "max_over_time(" in outages["expr"]
        assert "[$__interval]" in outages["expr"]


def test_the_default_time_range_is_an_hour() -> None:
    for document in DOCUMENTS.values():
        assert document["time"] == {"from": "now-1h", "to": "now"}


def test_one_query_of_several_with_the_same_exemplars_asks_for_them() -> None:
    for panel in panels("overview.json"):
        assert sum(bool(target.get("exemplar")) for target in panel["targets"]) <= 1, panel["title"]


def test_bars_and_heatmaps_show_rates_so_that_overlapping_windows_add_up() -> None:
    for name in NAMES:
        for panel in panels(name):
            style = panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle")
            if style == "bars" or panel["type"] == "heatmap":
                for target in talking(panel):
                    assert "increase(" not in target["expr"]
                    assert "* 60" in target["expr"]
                assert (
                    panel["type"] == "heatmap" or panel["fieldConfig"]["defaults"]["unit"] == "cpm"
                )


def test_links_lead_only_to_addresses_that_a_browser_can_reach() -> None:
    for document in DOCUMENTS.values():
        assert "http://" not in json.dumps(document)


def test_the_examples_scrape_as_often_as_grafana_believes_and_keep_the_exporters_labels() -> None:
    interval = data_source()["timeInterval"]
    for page in ("README.md", "docs/monitoring.md"):
        [text] = re.findall(
            r"<!-- file: prometheus\.yml -->\n```yaml\n(.*?)```",
            (ROOT / page).read_text(),
            re.DOTALL,
        )
        example = yaml.safe_load(text)
        assert example["global"]["scrape_interval"] == interval
        assert all(scrape["honor_labels"] for scrape in example["scrape_configs"])
    compose = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())
    assert compose["global"]["scrape_interval"] == interval
    assert all(scrape["honor_labels"] for scrape in compose["scrape_configs"])


def test_a_metric_that_no_dashboard_or_rule_asks_for_is_listed_as_such() -> None:
    ql = Promql(load_thresholds())
    asked = [rule.expr for rule in recordings(ql)] + [alert.expr for alert in alerts(ql)]
    for name in NAMES:
        asked += [readable(text) for text in expressions(name)]
    families = [family_of(metric) for text in asked for metric in read(text).metrics]
    used = {family.name for family in families if family is not None}
    assert set(UNUSED) == set(FAMILIES) - used


def test_alerts_link_to_a_dashboard_that_exists() -> None:
    uids = {document["uid"] for document in DOCUMENTS.values()}
    for alert in alerts(Promql(load_thresholds())):
        assert alert.dashboard in uids
