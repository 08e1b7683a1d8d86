"""The drill with a real Prometheus and a real Alertmanager, and the shipped routing."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from called import called
from conftest import answers, until
from monitoring import Alertmanager, Prometheus, alertmanager, prometheus
from simulated_time import simulate
from system_ports import free_port

from exporter.alerting.promql import Promql, for_drill
from exporter.alerting.rule_files import alerts, drill_rules
from exporter.alerting.thresholds import load_thresholds
from exporter.config.durations import parse_duration, write_duration
from exporter.drill.alert_monitor import AlertMonitor
from exporter.drill.drill import SCENARIOS, DrillOptions, _Drill, _Part
from exporter.drill.sandbox import Sandbox

EXAMPLE = Path(__file__).parent.parent.parent / "prometheus" / "alertmanager.example.yml"
QL = Promql(load_thresholds())
ALERTS = {alert.key: alert for alert in alerts(QL)}
RECEIVER = {"critical": "pager", "warning": "tickets", "info": "chat"}
ALSO_FIRE = {
    "exporter-lagging": {"RemovitNothingFinished"},
    "jobs-not-found": {"RemovitJobsUndecided"},
    "done-without-result": {"RemovitFailureBudgetBurningFast", "RemovitFailureBudgetBurningSlow"},
}
"""Other alerts that a scenario's fault causes, and that its own alert does not inhibit."""


@dataclass
class Inbox:
    """Webhook receivers that keep all notifications, with the receiver's name."""

    url: str = ""
    notifications: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.notifications.append((request.match_info["receiver"], await request.json()))
        return web.Response()

    def alerts(self, status: str) -> Mapping[tuple[str, str], str]:
        """Each alert that came with a status (name and upstream), and its receiver."""
        return {
            (alert["labels"]["alertname"], alert["labels"]["upstream"]): receiver
            for receiver, notification in self.notifications
            for alert in notification["alerts"]
            if alert["status"] == status
        }


@asynccontextmanager
async def receiving() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    app = web.Application()
    app.router.add_post("/{receiver}", inbox.take)
    async with TestServer(app) as server:
        inbox.url = str(server.make_url("")).rstrip("/")
        yield inbox


def squeezed_example(inbox: Inbox) -> dict[str, Any]:
    """The shipped example with our receivers and shorter times (except `repeat_interval`)."""

    def squeeze(part: Any, key: str = "") -> Any:
        if isinstance(part, dict):
            return {name: squeeze(value, name) for name, value in part.items()}
        if isinstance(part, list):
            return [squeeze(value) for value in part]
        if key in ("group_wait", "group_interval"):
            return write_duration(for_drill(parse_duration(part)))
        return part.replace("http://127.0.0.1:9999", inbox.url) if isinstance(part, str) else part

    document: dict[str, Any] = squeeze(yaml.safe_load(EXAMPLE.read_text()))
    return document


async def drill(*flags: str) -> tuple[int, str]:
    # Without coverage: one process runs all the exporters, and must be fast enough.
    unmeasured = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "drill", *flags),
        env=unmeasured,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@dataclass
class Monitoring:
    """A Prometheus for the drill, an Alertmanager with the shipped routing, and an inbox."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    inbox: Inbox
    address: str

    async def drill(self, *flags: str) -> tuple[int, str]:
        return await drill(
            f"--prometheus={self.prometheus.url}",
            f"--alertmanager={self.alertmanager.url}",
            f"--web.listen-address={self.address}",
            *flags,
        )


@pytest.fixture
async def monitoring(tmp_path: Path) -> AsyncIterator[Monitoring]:
    address = f"127.0.0.1:{free_port()}"
    async with (
        receiving() as inbox,
        alertmanager(tmp_path, squeezed_example(inbox)) as manager,
    ):
        flags = (f"--write={tmp_path}", f"--web.listen-address={address}")
        code, out = await drill(*flags, f"--alertmanager={manager.url}/")
        assert code == 0
        assert out == f"now start: prometheus --config.file={tmp_path / 'prometheus.yml'}\n"
        config = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
        async with prometheus(tmp_path, config) as server:
            yield Monitoring(server, manager, inbox, address)


async def fired(server: Prometheus) -> dict[str, set[str]]:
    """Which alerts fired during the last minutes, by scenario."""
    which = 'ALERTS{alertstate="firing",alertname!="RemovitExporterDown"}'
    found = defaultdict[str, set[str]](set)
    for series in await server.query(f"count_over_time({which}[10m])"):
        labels = series["metric"]
        found[labels["upstream"].removeprefix("drill-")].add(labels["alertname"])
    return found


def unresolved(inbox: Inbox) -> set[tuple[str, str]]:
    """Return alert and upstream of each scenario whose alert was not yet sent as resolved."""
    wanted = {(ALERTS[one.key].name, f"drill-{one.name}") for one in SCENARIOS.values()}
    return wanted - inbox.alerts("resolved").keys()


def check_notifications(inbox: Inbox) -> None:
    """Every alert reached the receiver of its severity, and had a full text."""
    firing = inbox.alerts("firing")
    for scenario in SCENARIOS.values():
        alert = ALERTS[scenario.key]
        seen = (alert.name, f"drill-{scenario.name}")
        assert firing[seen] == RECEIVER[alert.values(QL).severity], seen
    for _, notification in inbox.notifications:
        for alert in notification["alerts"]:
            assert alert["labels"]["drill"] == "true"
            assert "job_id" not in alert["labels"]
            texts = " ".join(alert["annotations"].values())
            assert not re.search(r"<error|<no value>|NaN|Inf|%!|\{\{", texts), texts


def check_outage_is_one_notification(inbox: Inbox) -> None:
    """An outage with 500 pending jobs, and all its consequences, sends one page."""
    said = [
        (notification["status"], [one["labels"]["alertname"] for one in notification["alerts"]])
        for _, notification in inbox.notifications
        if notification["groupLabels"]["upstream"] == "drill-upstream-down"
    ]
    assert said == [("firing", ["RemovitUpstreamDown"]), ("resolved", ["RemovitUpstreamDown"])]


@pytest.mark.slow
async def test_every_alert_fires_arrives_and_resolves(monitoring: Monitoring) -> None:
    # Long enough for an outage's consequences to fire, if nothing inhibits them.
    code, out = await monitoring.drill("--page", "--hold=15s")
    assert code == 0, out
    assert out.endswith(f"{len(SCENARIOS)} of {len(SCENARIOS)} seen\n"), out
    assert sorted(scenario.key for scenario in SCENARIOS.values()) == sorted(ALERTS)
    await until(lambda: not unresolved(monitoring.inbox), 60)
    check_notifications(monitoring.inbox)
    check_outage_is_one_notification(monitoring.inbox)
    for name, names in (await fired(monitoring.prometheus)).items():
        own = ALERTS[SCENARIOS[name].key].name
        follows = {alert.name for alert in ALERTS.values() if own in alert.silenced_by}
        others = ALSO_FIRE.get(name, set()) | {"RemovitUnresolvedFailures"}  # of every bad end
        assert names - follows - others <= {own}, (name, names)


@pytest.mark.slow
async def test_without_page_nobody_is_notified_and_an_alert_that_does_not_fire_is_a_failure(
    monitoring: Monitoring,
) -> None:
    code, out = await monitoring.drill(
        "--scenario=key-rejected", "--scenario=exporter-lagging", "--patience=15s", "--hold=4s"
    )
    assert code == 1
    assert "is in Alertmanager, for: null" in out
    assert "exporter-lagging      RemovitExporterLagging" in out
    assert "did not fire in Prometheus within 15 s" in out
    assert "1 of 2 seen" in out
    assert monitoring.inbox.notifications == []


async def test_a_server_that_cannot_be_asked_is_an_error_at_once(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    address = f"--web.listen-address=127.0.0.1:{free_port()}"
    code, out = await drill("--scenario=key-rejected", f"--prometheus={nobody}", address)
    assert code == 1
    assert f"{nobody}/api/v1/rules cannot be asked" in out
    async with prometheus(tmp_path, {}) as server:
        code, out = await drill("--scenario=key-rejected", f"--prometheus={server.url}", address)
    assert code == 1
    assert "has no rule RemovitKeyRejected; start it with the files" in out
    assert (await called("drill", "--scenario=no-such-scenario"))[0] == 2
    code, out, _ = await called("drill", "--list")
    assert code == 0
    assert len(out.splitlines()) == len(SCENARIOS)


async def test_without_servers_a_drill_prints_the_expected_alerts() -> None:
    address = f"--web.listen-address=127.0.0.1:{free_port()}"
    code, out = await drill("--scenario=upstream-blocked", "--patience=1s", address)
    assert code == 0
    assert "should now be seen: RemovitUpstreamBlocked (critical)" in out
    assert "for a receiver that notifies nobody" in out
    assert out.splitlines()[1].startswith("nothing will be checked: give --prometheus")
    assert "nothing was checked" in out


async def test_an_alert_that_does_not_fire_has_its_cause_and_the_log_is_kept() -> None:
    address = f"127.0.0.1:{free_port()}"
    rules = [{"name": alert.name, "query": "x"} for alert in ALERTS.values()]
    instance = f"{address}/scenarios/upstream-blocked"
    failed = {"labels": {"instance": instance}, "lastError": "context deadline exceeded"}
    documents = {
        "rules": {"groups": [{"rules": rules}]},
        "alerts": {"alerts": []},
        "targets": {"activeTargets": [failed]},
        "query": {"result": [{"value": [0.0, "1"]}]},
    }
    queries = list[str]()

    async def answer(request: web.Request) -> web.Response:
        queries.extend([request.query["query"]] if "query" in request.query else [])
        return web.json_response({"data": documents[request.match_info["what"]]})

    app = web.Application()
    app.router.add_get("/api/v1/{what}", answer)
    async with TestServer(app) as server:
        flags = ("--patience=3s", f"--web.listen-address={address}")
        prometheus = f"--prometheus={server.make_url('/')}"
        running = asyncio.create_task(drill("--scenario=upstream-blocked", *flags, prometheus))
        await until(lambda: answers(f"http://{instance}/metrics"), 30)
        code, out = await running
    assert code == 1
    assert "did not fire in Prometheus within 3 s: 1 successful scrapes in 3 s; expected" in out
    assert queries == ['sum_over_time(up{instance=~".+/scenarios/upstream-blocked"}[3s])']
    assert "its last scrape failed: context deadline exceeded; the alert is inactive there" in out
    [kept] = re.findall("the exporters' log is kept: (.*)", out)
    log = Path(kept)
    assert '"event": "exporter started"' in log.read_text()
    shutil.rmtree(log.parent)


def test_a_fault_goes_on_until_its_alert_has_lasted_without_a_break() -> None:
    """Otherwise an alert that is resolved before `group_wait` is over notifies nobody."""
    scenario = SCENARIOS["poll-demand"]
    alert = ALERTS[scenario.key]
    sandbox = Sandbox(scenario.name, Path(), scenario.config, {})
    part = _Part(scenario, sandbox, alert)
    lines = list[str]()

    async def hold(*changes: tuple[float, bool]) -> float:
        """Return how long the fault went on; the alert becomes active, or not, at these times."""
        async with aiohttp.ClientSession() as session:
            monitor = AlertMonitor(session, None, "http://nowhere")
            drill = _Drill(DrillOptions(hold=15.0, patience=60.0), monitor, QL, lines.append)
            loop = asyncio.get_running_loop()
            began = loop.time()

            def change(active: bool) -> None:
                monitor.arrived = {part.alert_id: frozenset({"chat"})} if active else {}
                updated, monitor._updated = monitor._updated, asyncio.Event()
                updated.set()

            for at, active in changes:
                loop.call_at(began + at, change, active)
            change(True)
            await drill._hold(part)
            return loop.time() - began

    assert simulate(hold) == 15
    assert simulate(lambda: hold((16, False))) == 15
    assert lines == []
    assert simulate(lambda: hold((1, False), (9, True), (12, False), (30, True))) == 45
    assert len(lines) == 2
    assert simulate(lambda: hold((1, False))) == 75


async def test_the_former_name_of_the_option_still_works() -> None:
    address = f"--web.listen-address=127.0.0.1:{free_port()}"
    code, out = await drill("--act=throttled", "--patience=1s", address)
    assert code == 0
    names = {line.split()[1] for line in out.splitlines() if "should now be seen" in line}
    assert names == {"throttled:"}
    _, out, _ = await called("drill", "--help")
    assert "--act" not in out


async def test_an_alert_inhibits_its_consequences_for_the_same_upstream_only(
    tmp_path: Path,
) -> None:
    """The shipped inhibitions, each with the labels that its alerts have."""
    here = {"namespace": "prod", "job": "removit", "upstream": "removit"}
    pairs = [(source, alert.name) for alert in ALERTS.values() for source in alert.silenced_by]
    assert len(pairs) > 10
    async with receiving() as inbox, alertmanager(tmp_path, squeezed_example(inbox)) as manager:
        for at, (source, target) in enumerate(pairs):
            own = here | {"cluster": f"c{at}"}
            others = [own | {name: "other"} for name in ("namespace", "job", "upstream")]
            await manager.post(
                "/api/v2/alerts",
                [
                    {"labels": own | {"alertname": source}},
                    {"labels": own | {"alertname": target, "instance": "a:1"}},
                    *({"labels": other | {"alertname": target}} for other in others),
                ],
            )

        async def settled() -> bool:
            found = await manager.alerts()
            return len(found) == 5 * len(pairs) and all(
                alert["status"]["state"] != "unprocessed" for alert in found
            )

        await until(settled, 60)
        by_place = defaultdict[str, list[dict[str, Any]]](list)
        for alert in await manager.alerts():
            by_place[alert["labels"]["cluster"]].append(alert)
        for at, pair in enumerate(pairs):
            silenced = [
                alert["labels"]["alertname"]
                for alert in by_place[f"c{at}"]
                if alert["status"]["inhibitedBy"]
            ]
            assert silenced == [pair[1]], pair


@pytest.mark.slow
async def test_every_series_of_a_drill_is_labelled_and_its_targets_are_discovered(
    tmp_path: Path,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    flags = ("--scenario=upstream-blocked", "--patience=8s", f"--web.listen-address={address}")
    async with (
        alertmanager(tmp_path, yaml.safe_load(EXAMPLE.read_text())) as manager,
        aiohttp.ClientSession() as session,
    ):
        running = asyncio.create_task(drill(*flags, "--page", f"--alertmanager={manager.url}"))

        async def page() -> str | None:
            try:
                async with session.get(f"http://{address}/sd") as response:
                    [group] = await response.json()
                path = group["labels"]["__metrics_path__"]
                async with session.get(f"http://{address}{path}") as response:
                    return await response.text()
            except aiohttp.ClientError:
                return None

        text = await until(page)
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) > 100
    for line in samples:
        assert 'drill="true"' in line
        assert 'drill_page="true"' in line
        assert 'upstream="drill-upstream-blocked"' in line
    await running


async def silences(manager: Alertmanager) -> dict[str, float]:
    """The length of each exporter's silence in seconds, by upstream."""
    found = {}
    for silence in await manager.get("/api/v2/silences"):
        if silence["status"]["state"] == "active":
            matched = {one["name"]: one["value"] for one in silence["matchers"]}
            upstream = matched.pop("upstream")
            assert matched == {"alertname": "RemovitExporterDown", "drill": "true"}
            assert upstream not in found
            starts, ends = (
                datetime.fromisoformat(silence[name]) for name in ("startsAt", "endsAt")
            )
            found[upstream] = (ends - starts).total_seconds()
    return found


async def test_an_interrupted_drill_silences_its_stopped_exporters_once(
    tmp_path: Path,
) -> None:
    async with alertmanager(tmp_path, yaml.safe_load(EXAMPLE.read_text())) as manager:
        flags = (
            *("--page", f"--alertmanager={manager.url}"),
            f"--web.listen-address=127.0.0.1:{free_port()}",
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "exporter", "drill", *flags),
            *("--scenario=key-rejected", "--scenario=throttled"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async for line in process.stdout:
            if b"should now be seen" in line:
                break
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
        assert out.endswith(b"interrupted\n")
        assert process.returncode == 1
        week = pytest.approx(7 * 86400, abs=120)
        assert await silences(manager) == {
            "drill-key-rejected": week,
            "drill-throttled": week,
        }
        code, out_again = await drill(*flags, "--scenario=key-rejected", "--patience=2s")
        assert code == 1
        assert "did not reach Alertmanager within 2 s" in out_again
        assert await silences(manager) == {
            "drill-key-rejected": week,
            "drill-throttled": week,
        }


async def test_stopped_exporters_are_silenced_for_the_window_of_the_loaded_rule(
    tmp_path: Path,
) -> None:
    squeezed = tmp_path / "squeezed.yml"
    squeezed.write_text(drill_rules(Promql(load_thresholds(), for_drill)))
    shipped = EXAMPLE.parent / "rules" / "removit-alerts.yml"
    for at, (rules, window) in enumerate(
        [(squeezed, for_drill(7 * 86400)), (shipped, 7 * 86400.0)]
    ):
        folder = tmp_path / str(at)
        folder.mkdir()
        async with (
            alertmanager(folder, yaml.safe_load(EXAMPLE.read_text())) as manager,
            prometheus(folder, {"rule_files": [str(rules)]}) as server,
        ):
            code, out = await drill(
                *("--scenario=key-rejected", "--patience=1s", f"--prometheus={server.url}"),
                f"--alertmanager={manager.url}",
                f"--web.listen-address=127.0.0.1:{free_port()}",
            )
            assert code == 1
            assert "does not scrape the drill" in out
            silenced = await silences(manager)
            assert silenced == {"drill-key-rejected": pytest.approx(window + 60, abs=1)}


async def drill_with_an_alert(
    manager: Alertmanager, scenario: str = "key-rejected", alert: str = "RemovitKeyRejected"
) -> str:
    """Put an alert that never ends into Alertmanager; return what its scenario's drill prints."""
    labels = {"alertname": alert, "upstream": f"drill-{scenario}", "drill": "true"}
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await manager.post("/api/v2/alerts", [{"labels": labels, "endsAt": ends}])
    await until(manager.alerts, 60)
    code, out = await drill(
        *(f"--scenario={scenario}", "--patience=5s", f"--alertmanager={manager.url}"),
        f"--web.listen-address=127.0.0.1:{free_port()}",
    )
    assert code == 1
    return out


@pytest.mark.slow
async def test_with_alertmanager_alone_a_drill_waits_until_the_alert_is_resolved(
    tmp_path: Path,
) -> None:
    text = EXAMPLE.read_text().replace('"null"', "nobody")
    async with alertmanager(tmp_path, yaml.safe_load(text)) as manager:
        out = await drill_with_an_alert(manager)
        assert "is in Alertmanager, for: nobody" in out
        assert "goes to the receiver" not in out
        assert "was not resolved within 5 s" in out


@pytest.mark.slow
async def test_an_exporter_that_an_earlier_drill_silenced_is_unsilenced(
    tmp_path: Path,
) -> None:
    async with alertmanager(tmp_path, yaml.safe_load(EXAMPLE.read_text())) as manager:
        for _ in range(2):
            out = await drill_with_an_alert(manager, "exporter-down", "RemovitExporterDown")
            assert "is in Alertmanager, for: null" in out
            assert (await silences(manager)).keys() == {"drill-exporter-down"}


async def test_a_silenced_alert_does_not_count_as_arrived(tmp_path: Path) -> None:
    async with alertmanager(tmp_path, yaml.safe_load(EXAMPLE.read_text())) as manager:
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": "drill", "value": "true", "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "someone",
            "comment": "",
        }
        await manager.post("/api/v2/silences", silence)
        out = await drill_with_an_alert(manager)
        assert "did not reach Alertmanager within 5 s" in out


async def test_page_without_alertmanager_is_a_usage_error() -> None:
    code, _, error = await called("drill", "--page", "--scenario=key-rejected")
    assert code == 2
    assert "--page needs --alertmanager" in error
