"""The rehearsal: all acts side by side, what should be seen, and whether it was."""

import asyncio
import contextlib
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
from ..logs import configure
from .act import Act
from .exporter_acts import EXPORTER_ACTS
from .job_acts import JOB_ACTS
from .scene import Scene
from .sight import GONE, Sight
from .theatre import serving
from .upstream_acts import UPSTREAM_ACTS

ACTS: Final = {act.name: act for act in (*UPSTREAM_ACTS, *JOB_ACTS, *EXPORTER_ACTS)}

CALM_SECONDS: Final = 3.0
"""How long all is well before an act begins: a few scrapes."""

PAGE_SECONDS: Final = 45.0
"""A page is sent after Alertmanager's `group_wait`, 30 s as shipped."""


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """The command's flags; times in seconds. No acts is all of them."""

    acts: Sequence[str] = ()
    page: bool = False
    prometheus: str | None = None
    alertmanager: str | None = None
    listen_address: str = "127.0.0.1:10979"
    patience: float = 120.0
    hold: float | None = None


@dataclass(slots=True)
class Outcome:
    """What became of an act: seconds until each sight, None for what was not seen."""

    act: Act
    alert: str
    fired: float | None = None
    arrived: float | None = None
    resolved: float | None = None
    trouble: str = ""


async def rehearse(options: DrillOptions, say: Callable[[str], None]) -> bool:
    """Hold the drill; return whether all was seen that should be. Raises `DrillError`."""
    ql = Promql(load_thresholds(), for_drill)
    table = {alert.key: alert for alert in alerts(ql)}
    labels = {"drill": "true"} | ({"drill_page": "true"} if options.page else {})
    chosen = [ACTS[name] for name in options.acts or ACTS]
    with tempfile.TemporaryDirectory(prefix="removit-drill-") as folder:
        directory = Path(folder)
        scenes = [Scene(act.name, directory / act.name, act.config, labels) for act in chosen]
        with (directory / "exporter.log").open("w") as log:
            configure("info", "json", [scene.key for scene in scenes], log)
            async with (
                aiohttp.ClientSession() as session,
                serving(scenes, options.listen_address) as url,
            ):
                sight = Sight(session, options.prometheus, options.alertmanager)
                stage = [
                    (act, scene, table[act.key]) for act, scene in zip(chosen, scenes, strict=True)
                ]
                rehearsal = _Rehearsal(options, sight, ql, say)
                say(f"drill {url}, log {log.name}")
                return await rehearsal.hold(stage)


class _Rehearsal:
    def __init__(
        self, options: DrillOptions, sight: Sight, ql: Promql, say: Callable[[str], None]
    ) -> None:
        self._options = options
        self._sight = sight
        self._ql = ql
        self._say = say
        self._began = time.monotonic()

    async def hold(self, stage: Sequence[tuple[Act, Scene, Alert]]) -> bool:
        await self._sight.check(frozenset(alert.name for _, _, alert in stage))
        looking = asyncio.create_task(self._sight.look())
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._play(*one)) for one in stage]
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
            # However it ends, an interrupt too: else every exporter that is now going is a page.
            await self._sight.silence_the_end([scene.upstream for _, scene, _ in stage])
        return self._report([task.result() for task in tasks])

    async def _play(self, act: Act, scene: Scene, alert: Alert) -> Outcome:
        outcome = Outcome(act, alert.name)
        if act.steady:
            scene.let_jobs_come()
        if self._sight.prometheus is not None and not await self._is_scraped(scene):
            outcome.trouble = f"{self._sight.prometheus} does not scrape the drill"
            return outcome
        if alert.name == GONE:
            await self._sight.lift_silence(scene.upstream)
        if act.lead:
            self._tell(act, f"prepares, which takes about {act.lead:.0f} s")
        async with act.play(scene):
            self._tell(act, act.story)
            self._tell(act, f"should now be seen: {self._expected(act, alert)}")
            await self._watch(outcome, scene, alert)
        scene.let_jobs_come()
        self._tell(act, "mended")
        if outcome.fired is not None or outcome.arrived is not None:
            await self._see_it_end(outcome, scene, alert)
        return outcome

    async def _is_scraped(self, scene: Scene) -> bool:
        """Wait until Prometheus has seen the scene while all was well."""
        try:
            await asyncio.wait_for(scene.scraped.wait(), self._options.patience)
        except TimeoutError:
            return False
        await asyncio.sleep(CALM_SECONDS)
        return True

    def _expected(self, act: Act, alert: Alert) -> str:
        severity = alert.values(self._ql).severity
        wakes = "" if self._options.page else ", for a receiver that tells nobody"
        return (
            f"{alert.name} ({severity}) in Prometheus and in Alertmanager{wakes};"
            f" on the dashboard Removit / {act.look}"
        )

    async def _watch(self, outcome: Outcome, scene: Scene, alert: Alert) -> None:
        """Wait until the alert is seen, or where nobody can be asked, until it should be."""
        sight, patience, began = self._sight, self._options.patience, time.monotonic()
        seen = (alert.name, scene.upstream)
        if sight.prometheus is None and sight.alertmanager is None:
            await asyncio.sleep(patience)
            return
        if sight.prometheus is not None:
            if not await sight.until(lambda: seen in sight.firing, patience):
                outcome.trouble = f"did not fire in Prometheus within {patience:.0f} s"
                return
            outcome.fired = time.monotonic() - began
            self._tell(outcome.act, f"fires in Prometheus after {outcome.fired:.0f} s")
        if sight.alertmanager is not None:
            if not await sight.until(lambda: seen in sight.arrived, patience):
                outcome.trouble = f"did not reach Alertmanager within {patience:.0f} s"
                return
            outcome.arrived = time.monotonic() - began
            receivers = sight.arrived[seen]
            named = ", ".join(sorted(receivers))
            self._tell(outcome.act, f"is in Alertmanager, for: {named}")
            if (receivers <= sight.nowhere) is self._options.page:
                outcome.trouble = f"goes to the receiver {named}"
        await asyncio.sleep(self._hold())

    def _hold(self) -> float:
        """How long the trouble goes on once it was seen, so that a page is also sent."""
        if self._options.hold is not None:
            return self._options.hold
        return PAGE_SECONDS if self._options.page else 0.0

    async def _see_it_end(self, outcome: Outcome, scene: Scene, alert: Alert) -> None:
        sight, began, seen = self._sight, time.monotonic(), (alert.name, scene.upstream)
        over = await sight.until(
            lambda: seen not in sight.firing and seen not in sight.arrived, self._options.patience
        )
        if over:
            outcome.resolved = time.monotonic() - began
            self._tell(outcome.act, f"resolved after {outcome.resolved:.0f} s")
        else:
            outcome.trouble = f"was not resolved within {self._options.patience:.0f} s"

    def _tell(self, act: Act, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f}s  {act.name}: {text}")

    def _report(self, outcomes: Sequence[Outcome]) -> bool:
        """Print what was seen; return whether it was all."""
        if self._sight.prometheus is None and self._sight.alertmanager is None:
            self._say(
                "nobody was asked; --prometheus and --alertmanager wait until it is seen there"
            )
            return True
        self._say(f"{'act':22}{'alert':34}{'fires':>8}{'arrives':>9}{'resolves':>10}")
        for one in outcomes:
            times = (_seconds(one.fired, 8), _seconds(one.arrived, 9), _seconds(one.resolved, 10))
            self._say(f"{one.act.name:22}{one.alert:34}{''.join(times)}  {one.trouble}".rstrip())
        seen = sum(not one.trouble for one in outcomes)
        self._say(f"{seen} of {len(outcomes)} seen")
        return seen == len(outcomes)


def _seconds(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.0f} s':>{width}}"
