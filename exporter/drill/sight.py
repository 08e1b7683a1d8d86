"""What Prometheus and Alertmanager say of the drill's alerts."""

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

Seen = tuple[str, str]
"""An alert's name and its upstream's."""

GONE: Final = "RemovitExporterDown"
"""The alert that every exporter of a drill leaves behind, for as long as its rule remembers it."""

AUTHOR: Final = "removit-exporter drill"
"""Who Alertmanager is told set a silence."""

CHECK_SECONDS: Final = 1.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class DrillError(Exception):
    """The drill cannot be held; the message says why and what to do."""


@dataclass(slots=True)
class Sight:
    """The alerts that fire in Prometheus and are active in Alertmanager, looked at each second.

    A URL that is None is not looked at, and `firing` and `arrived` then stay empty.
    """

    session: aiohttp.ClientSession
    prometheus: str | None
    alertmanager: str | None
    firing: set[Seen] = field(default_factory=set)
    arrived: dict[Seen, frozenset[str]] = field(default_factory=dict)
    """With the receivers that an alert is routed to."""
    nowhere: frozenset[str] = frozenset()
    """The receivers that tell nobody."""
    remembered: float = WEEK
    """How long `GONE` goes on after an exporter is gone, in seconds."""
    _looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, alerts: frozenset[str]) -> None:
        """Raise `DrillError` unless both can be asked and the rules are loaded."""
        if self.prometheus is not None:
            document = await self._get(f"{self.prometheus}/api/v1/rules", {"type": "alert"})
            groups = document["data"]["groups"]
            known = {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}
            if missing := sorted(alerts - known.keys()):
                raise DrillError(
                    f"{self.prometheus} has no rule {', '.join(missing)};"
                    " start it with what `removit-exporter drill --write FOLDER` writes"
                )
            if window := re.search(r"\[(\w+)\]", known.get(GONE, "")):
                self.remembered = parse_duration(window[1])
        if self.alertmanager is not None:
            status = await self._get(f"{self.alertmanager}/api/v2/status")
            receivers = yaml.safe_load(status["config"]["original"])["receivers"]
            self.nowhere = frozenset(one["name"] for one in receivers if len(one) == 1)

    async def look(self) -> None:
        """Look again and again, until cancelled; who does not answer is asked again."""
        while True:
            with contextlib.suppress(DrillError):
                await self._look()
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(CHECK_SECONDS)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition of what is seen holds; return whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._looked.wait()
                return True
        return False

    async def silence_the_end(self, upstreams: Iterable[str]) -> None:
        """Have Alertmanager keep quiet about exporters, which are now going."""
        now = datetime.now(UTC)
        for upstream in upstreams if self.alertmanager is not None else ():
            await self.lift_silence(upstream)
            matchers = {"alertname": GONE, "drill": "true", "upstream": upstream}
            silence = {
                "matchers": [
                    {"name": name, "value": value, "isRegex": False, "isEqual": True}
                    for name, value in matchers.items()
                ],
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(seconds=self.remembered + 60)).isoformat(),
                "createdBy": AUTHOR,
                "comment": "the drill is over, its exporters are gone on purpose",
            }
            await self._ask("POST", f"{self.alertmanager}/api/v2/silences", json=silence)

    async def lift_silence(self, upstream: str) -> None:
        """End what an earlier drill silenced of an exporter."""
        if self.alertmanager is None:
            return
        for silence in await self._get(f"{self.alertmanager}/api/v2/silences"):
            matched = {one["name"]: one["value"] for one in silence["matchers"]}
            active = silence["status"]["state"] == "active"
            if active and silence["createdBy"] == AUTHOR and matched.get("upstream") == upstream:
                await self._ask("DELETE", f"{self.alertmanager}/api/v2/silence/{silence['id']}")

    async def _look(self) -> None:
        if self.prometheus is not None:
            document = await self._get(f"{self.prometheus}/api/v1/alerts")
            self.firing = {
                _seen(alert["labels"])
                for alert in document["data"]["alerts"]
                if alert["state"] == "firing"
            }
        if self.alertmanager is not None:
            alerts = await self._get(
                f"{self.alertmanager}/api/v2/alerts",
                {"filter": 'drill="true"', "inhibited": "false", "silenced": "false"},
            )
            self.arrived = {
                _seen(alert["labels"]): frozenset(one["name"] for one in alert["receivers"])
                for alert in alerts
            }

    async def _get(self, url: str, parameters: Mapping[str, str] | None = None) -> Any:
        return await self._ask("GET", url, params=parameters)

    async def _ask(self, method: str, url: str, **more: Any) -> Any:
        """Return what is answered, as JSON; None for an empty answer."""
        try:
            async with self.session.request(method, url, timeout=TIMEOUT, **more) as response:
                if response.status != 200:
                    raise DrillError(f"{url} answers {response.status}")
                text = await response.text()
                return json.loads(text) if text else None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise DrillError(f"{url} cannot be asked: {reason}") from None


def _seen(labels: Mapping[str, str]) -> Seen:
    return labels.get("alertname", ""), labels.get("upstream", "")
