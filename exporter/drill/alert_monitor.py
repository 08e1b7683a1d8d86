"""The drill's alerts as Prometheus and Alertmanager show them."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import yaml

from ..alerting.recording import WEEK
from ..config.durations import parse_duration

AlertId = tuple[str, str]
"""An alert's name and its upstream's."""

EXPORTER_DOWN: Final = "RemovitExporterDown"
"""The alert that fires for every exporter of a drill after its end, until its rule forgets it."""

AUTHOR: Final = "removit-exporter drill"
"""The author of the drill's silences in Alertmanager."""

CHECK_SECONDS: Final = 1.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class DrillError(Exception):
    """The drill cannot run; the message says why and what to do."""


@dataclass(slots=True)
class AlertMonitor:
    """The alerts that fire in Prometheus and are active in Alertmanager, read each second.

    If a URL is None, that server is not asked, and `firing` or `arrived` stays empty.
    """

    session: aiohttp.ClientSession
    prometheus: str | None
    alertmanager: str | None
    firing: set[AlertId] = field(default_factory=set)
    arrived: dict[AlertId, frozenset[str]] = field(default_factory=dict)
    """Each active alert with the receivers that it is routed to."""
    silent_receivers: frozenset[str] = frozenset()
    """The receivers that notify nobody."""
    remembered: float = WEEK
    """How long `EXPORTER_DOWN` fires after an exporter's end, in seconds."""
    _updated: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, alerts: frozenset[str]) -> None:
        """Raise `DrillError` unless both servers answer and the rules are loaded."""
        if self.prometheus is not None:
            document = await self._get(f"{self.prometheus}/api/v1/rules", {"type": "alert"})
            groups = document["data"]["groups"]
            known = {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}
            if missing := sorted(alerts - known.keys()):
                raise DrillError(
                    f"{self.prometheus} has no rule {', '.join(missing)};"
                    " start it with the files that `removit-exporter drill --write FOLDER` writes"
                )
            if window := re.search(r"\[(\w+)\]", known.get(EXPORTER_DOWN, "")):
                self.remembered = parse_duration(window[1])
        if self.alertmanager is not None:
            status = await self._get(f"{self.alertmanager}/api/v2/status")
            receivers = yaml.safe_load(status["config"]["original"])["receivers"]
            self.silent_receivers = frozenset(one["name"] for one in receivers if len(one) == 1)

    def sees(self, alert_id: AlertId) -> bool:
        """Whether an alert is active, in Alertmanager where that is asked."""
        return alert_id in (self.firing if self.alertmanager is None else self.arrived)

    async def watch(self) -> None:
        """Read both again and again until cancelled; a failed request is repeated."""
        while True:
            with contextlib.suppress(DrillError):
                await self._read()
            updated, self._updated = self._updated, asyncio.Event()
            updated.set()
            await asyncio.sleep(CHECK_SECONDS)

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition on the alerts holds; return whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._updated.wait()
                return True
        return False

    async def scrapes(self, upstream: str, seconds: float) -> int:
        """Return how many scrapes of an exporter succeeded lately; raises `DrillError`."""
        query = f'sum_over_time(up{{instance=~".+{_path(upstream)}"}}[{seconds:.0f}s])'
        document = await self._get(f"{self.prometheus}/api/v1/query", {"query": query})
        return sum(int(series["value"][1]) for series in document["data"]["result"])

    async def explain(self, alert_id: AlertId) -> list[str]:
        """Say what Prometheus knows of an alert that does not fire, and of its target."""
        name, upstream = alert_id
        path = _path(upstream)
        try:
            targets = (await self._get(f"{self.prometheus}/api/v1/targets"))["data"]
            alerts = (await self._get(f"{self.prometheus}/api/v1/alerts"))["data"]["alerts"]
        except DrillError as error:
            return [str(error)]
        failed = [
            f"its last scrape failed: {target['lastError']}"
            for target in targets["activeTargets"]
            if target["labels"].get("instance", "").endswith(path) and target["lastError"]
        ]
        states = [one["state"] for one in alerts if _alert_id(one["labels"]) == (name, upstream)]
        return [*failed, f"the alert is {states[0] if states else 'inactive'} there"]

    async def silence_the_end(self, upstreams: Iterable[str]) -> None:
        """Silence `EXPORTER_DOWN` for exporters that now stop."""
        now = datetime.now(UTC)
        for upstream in upstreams if self.alertmanager is not None else ():
            await self.lift_silence(upstream)
            matchers = {"alertname": EXPORTER_DOWN, "drill": "true", "upstream": upstream}
            silence = {
                "matchers": [
                    {"name": name, "value": value, "isRegex": False, "isEqual": True}
                    for name, value in matchers.items()
                ],
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(seconds=self.remembered + 60)).isoformat(),
                "createdBy": AUTHOR,
                "comment": "the drill is over; its exporters were stopped on purpose",
            }
            await self._ask("POST", f"{self.alertmanager}/api/v2/silences", json=silence)

    async def lift_silence(self, upstream: str) -> None:
        """Remove the silence that an earlier drill set for an exporter."""
        if self.alertmanager is None:
            return
        for silence in await self._get(f"{self.alertmanager}/api/v2/silences"):
            matched = {one["name"]: one["value"] for one in silence["matchers"]}
            active = silence["status"]["state"] == "active"
            if active and silence["createdBy"] == AUTHOR and matched.get("upstream") == upstream:
                await self._ask("DELETE", f"{self.alertmanager}/api/v2/silence/{silence['id']}")

    async def _read(self) -> None:
        if self.prometheus is not None:
            document = await self._get(f"{self.prometheus}/api/v1/alerts")
            self.firing = {
                _alert_id(alert["labels"])
                for alert in document["data"]["alerts"]
                if alert["state"] == "firing"
            }
        if self.alertmanager is not None:
            alerts = await self._get(
                f"{self.alertmanager}/api/v2/alerts",
                {"filter": 'drill="true"', "inhibited": "false", "silenced": "false"},
            )
            self.arrived = {
                _alert_id(alert["labels"]): frozenset(one["name"] for one in alert["receivers"])
                for alert in alerts
            }

    async def _get(self, url: str, parameters: Mapping[str, str] | None = None) -> Any:
        return await self._ask("GET", url, params=parameters)

    async def _ask(self, method: str, url: str, **more: Any) -> Any:
        """Return the answer's JSON; None for an empty body."""
        try:
            async with self.session.request(method, url, timeout=TIMEOUT, **more) as response:
                if response.status != 200:
                    raise DrillError(f"{url} answers {response.status}")
                text = await response.text()
                return json.loads(text) if text else None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise DrillError(f"{url} cannot be asked: {reason}") from None


def _path(upstream: str) -> str:
    """Return how the `instance` of an exporter ends."""
    return f"/scenarios/{upstream.removeprefix('drill-')}"


def _alert_id(labels: Mapping[str, str]) -> AlertId:
    return labels.get("alertname", ""), labels.get("upstream", "")
