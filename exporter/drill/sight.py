"""What Prometheus and Alertmanager say of the drill's alerts."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp

Seen = tuple[str, str]
"""An alert's name and its upstream's."""

LOOK_SECONDS: Final = 1.0
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
    _looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, alerts: frozenset[str]) -> None:
        """Raise `DrillError` unless both can be asked and the rules are loaded."""
        if self.prometheus is not None:
            document = await self._get(f"{self.prometheus}/api/v1/rules", {"type": "alert"})
            groups = document["data"]["groups"]
            known = {rule["name"] for group in groups for rule in group["rules"]}
            if missing := sorted(alerts - known):
                raise DrillError(
                    f"{self.prometheus} has no rule {', '.join(missing)};"
                    " start it with what `removit-exporter drill --write FOLDER` writes"
                )
        if self.alertmanager is not None:
            await self._get(f"{self.alertmanager}/api/v2/status")

    async def look(self) -> None:
        """Look again and again, until cancelled; who does not answer is asked again."""
        while True:
            with contextlib.suppress(DrillError):
                await self._look()
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(LOOK_SECONDS)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition of what is seen holds; return whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._looked.wait()
                return True
        return False

    async def silence_the_end(self, seconds: float) -> None:
        """Have Alertmanager keep quiet about the drill's exporters, which are now going."""
        if self.alertmanager is None:
            return
        now = datetime.now(UTC)
        matchers = {"drill": "true", "alertname": "RemovitExporterDown"}
        silence = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True}
                for name, value in matchers.items()
            ],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=seconds + 60)).isoformat(),
            "createdBy": "removit-exporter drill",
            "comment": "the drill is over, its exporters are gone on purpose",
        }
        url = f"{self.alertmanager}/api/v2/silences"
        try:
            async with self.session.post(url, json=silence, timeout=TIMEOUT) as response:
                response.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DrillError(f"{url} takes no silence: {error}") from None

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
                {"filter": 'drill="true"', "inhibited": "false"},
            )
            self.arrived = {
                _seen(alert["labels"]): frozenset(one["name"] for one in alert["receivers"])
                for alert in alerts
            }

    async def _get(self, url: str, parameters: Mapping[str, str] | None = None) -> Any:
        try:
            async with self.session.get(url, params=parameters, timeout=TIMEOUT) as response:
                if response.status != 200:
                    raise DrillError(f"{url} answers {response.status}")
                return await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise DrillError(f"{url} cannot be asked: {reason}") from None


def _seen(labels: Mapping[str, str]) -> Seen:
    return labels.get("alertname", ""), labels.get("upstream", "")
