"""A drill: runs all scenarios at the same time, and reports which alerts were seen."""

import asyncio
import contextlib
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from ..alerting.alert import Alert
from ..alerting.promql import Promql, for_drill
from ..alerting.rule_files import alerts
from ..alerting.thresholds import load_thresholds
from ..client.http import authorization
from ..logs import configure
from .alert_monitor import EXPORTER_DOWN, AlertMonitor, DrillError
from .exporter_scenarios import EXPORTER_SCENARIOS
from .job_scenarios import JOB_SCENARIOS
from .sandbox import Sandbox
from .scenario import Scenario
from .server import serve
from .upstream_scenarios import UPSTREAM_SCENARIOS

_ALL: Final = (*UPSTREAM_SCENARIOS, *JOB_SCENARIOS, *EXPORTER_SCENARIOS)
SCENARIOS: Final = {scenario.name: scenario for scenario in _ALL}

LOG_FILE: Final = "exporter.log"

CALM_SECONDS: Final = 3.0
"""Time without a fault before each scenario: a few scrapes."""

ENOUGH_SCRAPES: Final = 0.7
"""Scrapes a second that succeed; one is expected, and with fewer the rules see too little."""

PAGE_SECONDS: Final = 45.0
"""A page is sent after Alertmanager's `group_wait`, which is 30 s in the shipped example."""


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """The command's flags; times in seconds. Without scenarios, all of them run."""

    scenarios: Sequence[str] = ()
    page: bool = False
    prometheus: str | None = None
    alertmanager: str | None = None
    listen_address: str = "127.0.0.1:10979"
    login: tuple[str, str] | None = None
    """User and password for Prometheus and Alertmanager."""
    tls: ssl.SSLContext | None = None
    """TLS settings for the two, if they are not the system's."""
    patience: float = 120.0
    hold: float | None = None


@dataclass(slots=True)
class Outcome:
    """The result of a scenario: seconds until each step, None for a step that was not seen."""

    scenario: Scenario
    alert: str
    fired: float | None = None
    arrived: float | None = None
    resolved: float | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A scenario with what it runs in and the alert that it should cause."""

    scenario: Scenario
    sandbox: Sandbox
    alert: Alert

    @property
    def alert_id(self) -> tuple[str, str]:
        return self.alert.name, self.sandbox.upstream


async def run_drill(options: DrillOptions, say: Callable[[str], None]) -> bool:
    """Run the scenarios; return whether every alert was seen. Raises `DrillError`."""
    ql = Promql(load_thresholds(), for_drill)
    table = {alert.key: alert for alert in alerts(ql)}
    labels = {"drill": "true"} | ({"drill_page": "true"} if options.page else {})
    folder = Path(tempfile.mkdtemp(prefix="removit-drill-"))
    parts = list[_Part]()
    for scenario in (SCENARIOS[name] for name in options.scenarios or SCENARIOS):
        sandbox = Sandbox(scenario.name, folder / scenario.name, scenario.config, labels)
        parts.append(_Part(scenario, sandbox, table[scenario.key]))
    seen = False
    try:
        with (folder / LOG_FILE).open("w") as log:
            configure("info", "json", [part.sandbox.key for part in parts], log)
            seen = await _serve_and_run(options, ql, parts, say)
    finally:
        if seen:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"the exporters' log is kept: {folder / LOG_FILE}")
    return seen


async def _serve_and_run(
    options: DrillOptions, ql: Promql, parts: Sequence[_Part], say: Callable[[str], None]
) -> bool:
    sandboxes = [part.sandbox for part in parts]
    async with (
        aiohttp.ClientSession(
            headers=authorization(None, options.login),
            connector=aiohttp.TCPConnector(ssl=options.tls or True),
        ) as session,
        serve(sandboxes, options.listen_address) as url,
    ):
        monitor = AlertMonitor(session, options.prometheus, options.alertmanager)
        say(f"drill {url}")
        return await _Drill(options, monitor, ql, say).run(parts)


HOW_TO_CHECK: Final = "give --prometheus and --alertmanager to wait for alerts"


class _Drill:
    def __init__(
        self, options: DrillOptions, monitor: AlertMonitor, ql: Promql, say: Callable[[str], None]
    ) -> None:
        self._options = options
        self._monitor = monitor
        self._ql = ql
        self._say = say
        self._began = time.monotonic()
        self._checks = monitor.prometheus is not None or monitor.alertmanager is not None

    async def run(self, parts: Sequence[_Part]) -> bool:
        if not self._checks:
            self._say(f"nothing will be checked: {HOW_TO_CHECK}")
        await self._monitor.check(frozenset(part.alert.name for part in parts))
        watching = asyncio.create_task(self._monitor.watch())
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run_scenario(part)) for part in parts]
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            # Also after an interrupt: otherwise each exporter that now stops would page someone.
            await self._monitor.silence_the_end([part.sandbox.upstream for part in parts])
        return self._report([task.result() for task in tasks])

    async def _run_scenario(self, part: _Part) -> Outcome:
        scenario, sandbox = part.scenario, part.sandbox
        outcome = Outcome(scenario, part.alert.name)
        if scenario.steady:
            sandbox.start_traffic()
        if self._monitor.prometheus is not None and not await self._is_scraped(sandbox):
            outcome.trouble = f"{self._monitor.prometheus} does not scrape the drill"
            return outcome
        if part.alert.name == EXPORTER_DOWN:
            await self._monitor.lift_silence(sandbox.upstream)
        if scenario.lead:
            self._tell(scenario, f"prepares, which takes about {scenario.lead:.0f} s")
        async with scenario.fault(sandbox):
            self._tell(scenario, scenario.description)
            self._tell(scenario, f"should now be seen: {self._expected(part)}")
            await self._wait_for_alert(part, outcome)
        sandbox.start_traffic()
        self._tell(scenario, "fault ended")
        if outcome.fired is not None or outcome.arrived is not None:
            await self._wait_until_resolved(part, outcome)
        return outcome

    async def _is_scraped(self, sandbox: Sandbox) -> bool:
        """Wait until Prometheus has scraped the exporter before the fault."""
        try:
            await asyncio.wait_for(sandbox.scraped.wait(), self._options.patience)
        except TimeoutError:
            return False
        await asyncio.sleep(CALM_SECONDS)
        return True

    def _expected(self, part: _Part) -> str:
        severity = part.alert.values(self._ql).severity
        receiver = "" if self._options.page else ", for a receiver that notifies nobody"
        return (
            f"{part.alert.name} ({severity}) in Prometheus and in Alertmanager{receiver};"
            f" on the dashboard Removit / {part.scenario.dashboard}"
        )

    async def _wait_for_alert(self, part: _Part, outcome: Outcome) -> None:
        """Wait until the alert is seen; without a URL to check, wait for `patience`."""
        monitor, patience, began = self._monitor, self._options.patience, time.monotonic()
        alert_id = part.alert_id
        if monitor.prometheus is None and monitor.alertmanager is None:
            await asyncio.sleep(patience)
            return
        if monitor.prometheus is not None:
            if not await monitor.wait_until(lambda: alert_id in monitor.firing, patience):
                outcome.trouble = f"did not fire in Prometheus within {patience:.0f} s"
                outcome.trouble += f": {await self._cause(part)}"
                return
            outcome.fired = time.monotonic() - began
            self._tell(part.scenario, f"fires in Prometheus after {outcome.fired:.0f} s")
        if monitor.alertmanager is not None:
            if not await monitor.wait_until(lambda: alert_id in monitor.arrived, patience):
                outcome.trouble = f"did not reach Alertmanager within {patience:.0f} s"
                return
            outcome.arrived = time.monotonic() - began
            self._check_receivers(part, outcome)
        await self._hold(part)

    async def _cause(self, part: _Part) -> str:
        """Say what may be behind an alert that did not fire within `patience`."""
        causes = await self._monitor.explain(part.alert_id)
        if part.sandbox.muted:
            return "; ".join(["its scrapes are refused, as the scenario wants", *causes])
        seconds = self._options.patience
        with contextlib.suppress(DrillError):  # it is among the causes
            scrapes = await self._monitor.scrapes(part.sandbox.upstream, seconds)
            if scrapes < seconds * ENOUGH_SCRAPES:
                causes.insert(0, "expected one a second: this machine, or Prometheus, is too busy")
            causes.insert(0, f"{scrapes} successful scrapes in {seconds:.0f} s")
        return "; ".join(causes)

    def _check_receivers(self, part: _Part, outcome: Outcome) -> None:
        """Note as trouble that a page notifies nobody, or that anything else notifies someone."""
        receivers = self._monitor.arrived[part.alert_id]
        named = ", ".join(sorted(receivers))
        self._tell(part.scenario, f"is in Alertmanager, for: {named}")
        if (receivers <= self._monitor.silent_receivers) is self._options.page:
            outcome.trouble = f"goes to the receiver {named}"

    async def _hold(self, part: _Part) -> None:
        """Continue the fault until its alert was active for the wanted time without a break.

        Alertmanager notifies nobody of an alert that a lost scrape resolves within `group_wait`.
        """
        seconds = self._options.hold
        if seconds is None:
            seconds = PAGE_SECONDS if self._options.page else 0.0
        monitor, alert_id, patience = self._monitor, part.alert_id, self._options.patience
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + patience):
                while await monitor.wait_until(lambda: not monitor.sees(alert_id), seconds):
                    self._tell(part.scenario, "was resolved for a moment, and has to last again")
                    await monitor.wait_until(lambda: monitor.sees(alert_id), patience)

    async def _wait_until_resolved(self, part: _Part, outcome: Outcome) -> None:
        monitor, patience, began = self._monitor, self._options.patience, time.monotonic()
        alert_id = part.alert_id
        if await monitor.wait_until(
            lambda: alert_id not in monitor.firing and alert_id not in monitor.arrived, patience
        ):
            outcome.resolved = time.monotonic() - began
            self._tell(part.scenario, f"resolved after {outcome.resolved:.0f} s")
        else:
            outcome.trouble = f"was not resolved within {patience:.0f} s"

    def _tell(self, scenario: Scenario, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f}s  {scenario.name}: {text}")

    def _report(self, outcomes: Sequence[Outcome]) -> bool:
        """Print the results; return whether every alert was seen."""
        if not self._checks:
            self._say(f"nothing was checked: {HOW_TO_CHECK}")
            return True
        self._say(f"{'scenario':22}{'alert':34}{'fires':>8}{'arrives':>9}{'resolves':>10}")
        for one in outcomes:
            times = (_seconds(one.fired, 8), _seconds(one.arrived, 9), _seconds(one.resolved, 10))
            line = f"{one.scenario.name:22}{one.alert:34}{''.join(times)}  {one.trouble}"
            self._say(line.rstrip())
        seen = sum(not one.trouble for one in outcomes)
        self._say(f"{seen} of {len(outcomes)} seen")
        return seen == len(outcomes)


def _seconds(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.0f} s':>{width}}"
