"""The example for Alertmanager: which receiver gets an alert, and which alerts inhibit others."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import program

from exporter.alerting.promql import Promql
from exporter.alerting.rule_files import alerts
from exporter.alerting.thresholds import load_thresholds
from exporter.config.durations import parse_duration

EXAMPLE = Path(__file__).parent.parent.parent / "prometheus" / "alertmanager.example.yml"


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    binary = program("amtool", "prometheus-alertmanager")
    return subprocess.run([binary, *arguments], capture_output=True, text=True, check=False)


def test_amtool_finds_no_fault() -> None:
    checked = amtool("check-config", str(EXAMPLE))
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"severity": "critical"}, "pager"),
        ({"severity": "warning"}, "tickets"),
        ({"severity": "info"}, "chat"),
        ({}, "tickets"),
        ({"severity": "critical", "drill": "true"}, "null"),
        ({"severity": "info", "drill": "true"}, "null"),
        ({"severity": "critical", "drill": "true", "drill_page": "true"}, "pager"),
        ({"severity": "warning", "drill": "true", "drill_page": "true"}, "tickets"),
    ],
)
def test_an_alert_is_routed_by_severity_and_a_drill_only_when_it_pages(
    labels: dict[str, str], receiver: str
) -> None:
    given = [f"{name}={value}" for name, value in {"upstream": "removit", **labels}.items()]
    routed = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *given)
    assert routed.stdout.strip() == receiver, routed.stderr


def named(matchers: list[str]) -> set[str]:
    [matcher] = matchers
    return set(re.findall(r"Removit\w+", matcher))


def test_the_inhibitions_are_those_of_the_table_of_alerts() -> None:
    document: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    silenced = {
        (target, source)
        for rule in document["inhibit_rules"]
        for source in named(rule["source_matchers"])
        for target in named(rule["target_matchers"])
    }
    table = alerts(Promql(load_thresholds()))
    assert silenced == {(one.name, source) for one in table for source in one.silenced_by}


def test_notifications_repeat_before_alertmanager_forgets_them() -> None:
    kept = parse_duration("120h")  # its default --data.retention
    route: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["route"]
    for one in (route, *route["routes"]):
        assert parse_duration(one.get("repeat_interval", "4h")) < kept


def test_staging_never_silences_production_and_one_upstream_is_one_group() -> None:
    document: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    for rule in document["inhibit_rules"]:
        assert {"namespace", "job", "upstream"} <= set(rule["equal"])
    places = [one for one in load_thresholds().identity_labels if not one.startswith("drill")]
    assert document["route"]["group_by"] == places
    assert all(rule["equal"] == places for rule in document["inhibit_rules"])
    assert not any("group_by" in route for route in document["route"]["routes"])
