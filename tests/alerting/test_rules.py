"""The rules for Prometheus: as shipped, as tested by promtool, and the same for a drill."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import program
from promql import family_of, read, strangers

from exporter.alerting.alert import UPSTREAM_TROUBLE
from exporter.alerting.promql import Promql, as_shipped, for_drill
from exporter.alerting.recording import recordings
from exporter.alerting.rule_files import alerts, drill_rules, rule_files
from exporter.alerting.thresholds import SHIPPED, Alerts, load_thresholds
from exporter.config import ConfigError
from exporter.config.durations import parse_duration, write_duration
from exporter.metrics.catalogue import Part

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "prometheus" / "rules"
TESTS = sorted((ROOT / "prometheus" / "tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
QL = Promql(load_thresholds())
ALERTS = alerts(QL)
RECORDED = {rule.record: rule.expr for rule in recordings(QL)}
DURATION = re.compile(r"\b(?:\d+(?:ms|[smhd]))+\b")


def test_promql_is_read() -> None:
    named = read('sum by (a, b) (rate(x_total{c=~"d.*",e!="f"}[5m])) / on (g) (y:z offset 1h)')
    assert named.metrics == {"x_total": {"c", "e"}, "y:z": set()}
    assert named.groupings == {"a", "b", "g"}


def rules(text: str) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(text)["groups"]:
        yield from group["rules"]


def test_the_rule_files_are_what_the_thresholds_say() -> None:
    for name, text in rule_files(QL).items():
        assert (RULES / name).read_text() == text, "run: make rules"
    assert {path.name for path in RULES.rglob("*.yml")} == {
        Path(name).name for name in rule_files(QL)
    }


def test_promtool_finds_no_fault() -> None:
    promtool = program("promtool", "prometheus")
    files = [str(path) for path in RULES.rglob("*.yml")]
    checked = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem == "weeks" else [], id=path.stem)
        for path in TESTS
    ],
)
def test_alerts_fire_and_are_silent_as_promtools_tests_say(path: Path) -> None:
    promtool = program("promtool", "prometheus")
    tested = subprocess.run(
        [promtool, "test", "rules", str(path)],
        env={**os.environ, "GOGC": "400"},  # a quarter less time; four times the garbage
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_without_keep_firing_for_the_recorded_restart_breaks_the_alert(tmp_path: Path) -> None:
    promtool = program("promtool", "prometheus")
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    for path in RULES.glob("*.yml"):
        text = re.sub(r"^ +keep_firing_for: .*\n", "", path.read_text(), flags=re.MULTILINE)
        (tmp_path / "rules" / path.name).write_text(text)
    recorded = RULES.parent / "tests" / "restart.yml"
    copied = tmp_path / "tests" / recorded.name
    copied.write_text(recorded.read_text())
    tested = subprocess.run(
        [promtool, "test", "rules", str(copied)], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 1
    assert 'alertname="RemovitUpstreamDown"' in tested.stdout + tested.stderr


def all_cases() -> Iterator[dict[str, Any]]:
    for path in TESTS:
        yield from yaml.safe_load(path.read_text())["tests"]


def test_promtools_tests_have_each_alert_firing() -> None:
    firing = set()
    for case in all_cases():
        for expected in case["promql_expr_test"]:
            for sample in expected["exp_samples"]:
                firing |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))
    assert firing == {alert.name for alert in ALERTS}


def base_metrics(expression: str) -> set[str]:
    """The exporter's metrics that an expression comes down to."""
    found = set[str]()
    for metric in read(expression).metrics:
        found |= base_metrics(RECORDED[metric]) if metric in RECORDED else {metric}
    return found


def test_promtools_tests_have_each_alert_silent_with_its_series_there() -> None:
    silent_with = []
    for case in all_cases():
        if any(not expected["exp_samples"] for expected in case["promql_expr_test"]):
            series = [given["series"].split("{")[0] for given in case["input_series"]]
            silent_with.append(set(series))
    for alert in ALERTS:
        needed = {
            metric
            for metric in base_metrics(alert.expr)
            if metric != "removit_upstream_state" or "down" in alert.key
        }
        assert any(needed <= series for series in silent_with), (alert.name, needed)


@pytest.mark.parametrize("name", [alert.name for alert in ALERTS])
def test_an_alert_says_what_to_do_and_where_it_is_written_down(name: str) -> None:
    [rule] = [rule for rule in rules(drill_rules(QL)) if rule.get("alert") == name]
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert rule["labels"].keys() == {"severity"}
    assert 20 < len(notes["summary"]) < 140
    assert 100 < len(notes["description"]) < 500
    assert "$labels.upstream" in notes["summary"] or "$labels.instance" in notes["summary"]
    page = RUNBOOKS / notes["runbook_url"].rpartition("/")[2]
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    assert headings == [name, "What it means", "How to look", "What to do"]


def test_each_runbook_has_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert.name for alert in ALERTS}


def test_the_table_in_the_docs_names_every_alert_with_its_severity() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    row = re.compile(r"^\| \[`(\w+)`\]\(runbooks/(\w+)\.md\) \| (\w+) \| \S.*\|$", re.MULTILINE)
    rows = row.findall(page)
    assert rows == [(alert.name, alert.name, alert.values(QL).severity) for alert in ALERTS]


def test_no_alert_keeps_the_job_or_needs_series_of_single_jobs() -> None:
    for rule in rules(drill_rules(QL)):
        assert "job_id" not in rule["expr"]
        for metric in read(rule["expr"]).metrics:
            family = family_of(metric)
            assert family is None or family.part is not Part.JOBS


def test_every_name_is_the_catalogues() -> None:
    for rule in rules(drill_rules(QL)):
        assert strangers(rule["expr"], {*RECORDED, "ALERTS"}) == set(), rule


def test_an_alert_that_outlasts_its_causes_is_held_back_over_its_whole_window() -> None:
    expressions = {one["alert"]: one["expr"] for one in rules(drill_rules(QL)) if "alert" in one}
    for alert in ALERTS:
        held = re.findall(
            r'ALERTS{alertname=~"(.*?)",alertstate="firing"}\[(\w+)\]', expressions[alert.name]
        )
        values = alert.values(QL)
        span = write_duration(values.window or values.for_)
        assert held == [("|".join(alert.silenced_by), span)] * alert.outlasts


def test_an_alert_is_held_back_by_all_alerts_about_the_upstream_or_by_none() -> None:
    for alert in ALERTS:
        assert alert.outlasts is (set(UPSTREAM_TROUBLE) <= set(alert.silenced_by)), alert.name


def test_rules_over_long_windows_are_evaluated_seldom_but_before_their_values_are_stale() -> None:
    groups = {one["name"]: one for one in yaml.safe_load(drill_rules(QL))["groups"]}
    assert groups["removit-recording-long"]["interval"] == "2m"
    for name, group in groups.items():
        assert parse_duration(group["interval"]) < 300
        for rule in group["rules"] if "record" in group["rules"][0] else ():
            windows = [parse_duration(text) for text in re.findall(r"\[(\w+)\]", rule["expr"])]
            assert all((window >= 6 * 3600) is name.endswith("long") for window in windows), rule


def test_each_recorded_series_is_used() -> None:
    asked = [rule["expr"] for rule in rules(drill_rules(QL))]
    asked += [path.read_text() for path in (ROOT / "grafana" / "dashboards").glob("*.json")]
    unused = {name for name in RECORDED if not any(name in text for text in asked)}
    assert unused == set()


def test_counters_whose_labels_the_upstream_invents_are_counted_from_their_birth() -> None:
    """By `grown`, which sees a series that is born at 1; promtool's tests show that it does."""
    invented = {"mode", "variation", "error", "code", "step", "kind"}
    for rule in rules(drill_rules(QL)):
        for metric in read(rule["expr"]).metrics:
            family = family_of(metric)
            counted = f"increase({metric}" in rule["expr"]
            if family is not None and counted and invented & {*family.labels}:
                births = rule["expr"].count("unless " + metric)
                assert births >= rule["expr"].count(f"increase({metric}") or "_count" in metric


def without_durations(part: Any) -> Any:
    """A rule file's data with every duration alike."""
    if isinstance(part, dict):
        return {key: without_durations(value) for key, value in part.items()}
    if isinstance(part, list):
        return [without_durations(value) for value in part]
    return DURATION.sub("T", part) if isinstance(part, str) else part


def test_a_drills_rules_differ_from_the_shipped_ones_in_durations_only() -> None:
    shipped = yaml.safe_load(drill_rules(QL))
    drill = yaml.safe_load(drill_rules(Promql(load_thresholds(), for_drill)))
    assert shipped != drill
    assert without_durations(shipped) == without_durations(drill)
    for ours, theirs in zip(shipped["groups"], drill["groups"], strict=True):
        names = [(rule.get("record"), rule.get("alert")) for rule in ours["rules"]]
        assert names == [(rule.get("record"), rule.get("alert")) for rule in theirs["rules"]]


def test_a_drill_keeps_the_order_of_durations_and_takes_about_a_minute_for_a_week() -> None:
    seconds = [0.0, 30.0, 60.0, 300.0, 3600.0, 86400.0, 7 * 86400.0]
    squeezed = [for_drill(one) for one in seconds]
    assert squeezed == sorted(set(squeezed))
    assert squeezed[0] == 0.0
    assert 55 < squeezed[-1] < 75
    assert [as_shipped(one) for one in seconds] == seconds


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "thresholds.yml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("severity: warning", "severity: loud", "alerts.jobs_stalled.severity: Input"),
        ("  jobs_stalled:", "  jobs_stuck:", "alerts.jobs_stuck: unknown key"),
        ("interval: 30s", "interval: 30", "interval: expected a duration"),
        ("long_interval: 2m", "long_interval: 5m", "long_interval: Input should be less"),
        ("job, upstream,", "job,", "identity_labels: upstream must be among them"),
        ("drill_page]", "drill_page, job_id]", "identity_labels: job_id would make"),
        ("objective: 0.99", "objective: 1", "failure_budget.objective: Input should be less"),
        ("http://localhost", "localhost", "dashboard_base_url: expected a URL"),
    ],
)
def test_an_error_in_the_thresholds_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_thresholds(changed(tmp_path, old, new))
    line = SHIPPED.read_text().partition(old)[0].count("\n") + 1
    assert f"thresholds.yml:{line}: {message}" in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_thresholds(tmp_path / "none.yml")


def table(ql: Promql) -> list[Any]:
    rules_ = [alert.rule(ql) for alert in alerts(ql)]
    intervals = ql.thresholds.interval, ql.thresholds.long_interval
    return [*recordings(ql), *rules_, *map(ql.span, intervals)]


def test_every_value_of_the_thresholds_makes_a_difference(tmp_path: Path) -> None:
    shipped = table(QL)
    lines = SHIPPED.read_text().splitlines()
    for at, line in enumerate(lines):
        if line.lstrip().startswith("#"):
            continue
        for match in re.finditer(r"(\w+): (\d[\d.]*)(?=[smhd,}\n]|$)", line):
            bigger = f"{float(match[2]) / 2 + 0.001:g}" if match[2] != "0" else "7"
            if line[match.end() : match.end() + 1] in tuple("smhd"):
                bigger = str(int(match[2]) + 1)
            edited = line[: match.start(2)] + bigger + line[match.end(2) :]
            path = tmp_path / "thresholds.yml"
            path.write_text("\n".join([*lines[:at], edited, *lines[at + 1 :]]))
            assert table(Promql(load_thresholds(path))) != shipped, (line, match[1])


def test_every_alert_has_its_values_and_every_values_their_alert() -> None:
    assert sorted(alert.key for alert in ALERTS) == sorted(Alerts.model_fields)


def test_alerts_are_silenced_only_by_alerts_that_exist() -> None:
    names = {alert.name for alert in ALERTS}
    for alert in ALERTS:
        assert set(alert.silenced_by) <= names - {alert.name}
