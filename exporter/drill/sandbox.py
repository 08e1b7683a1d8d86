"""The sandbox of one scenario: a simulated API, an exporter that polls it, and jobs."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

from ..app import EXPORTER, create_app
from ..config import Config, ConfigFile
from ..core.job import Source
from ..registry.staging import Registration
from ..service import Exporter
from ..simulator import Script, Simulator
from ..storage.store import StoreError

CONFIG: Final[Mapping[str, Any]] = {
    "upstream": {"rate": 200, "burst": 50, "concurrency": 64},
    "polling": {
        "min_interval": "500ms",
        "max_interval": "2s",
        "key_retry": "1s",
        "recheck_after": ["3s"],
        "overdue_samples": 20,
    },
    "judgement": {
        "failed_after": "1s",
        "gateway_failed_after": "2s",
        "weak_after": "20s",
        "chance": 0.001,
        "not_found_grace": "1s",
        "lost_after": "3s",
        "outage_window": "5s",
    },
}
"""Shorter times for every sandbox, so that things happen within seconds."""

STEADY_SECONDS: Final = 2.0
"""Time between two jobs of the steady traffic, which end as `done`."""


class Sandbox:
    """One scenario's simulator and exporter. `labels` are on every series."""

    def __init__(
        self,
        name: str,
        folder: Path,
        config: Mapping[str, Any],
        labels: Mapping[str, str],
    ) -> None:
        self.name = name
        self.upstream = f"drill-{name}"
        self.folder = folder
        self.key = secrets.token_hex(16)
        self.simulator = Simulator(api_key=self.key, weights={"sound": 1.0})
        self.muted = False
        """Whether scrapes are answered 503, as if the exporter were gone."""
        self.scraped = asyncio.Event()
        """Set once the exporter's metrics have been scraped."""
        self.url = ""
        """The exporter's URL, once it is served."""
        self._overrides = config
        self._labels = labels
        self._traffic: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def config_path(self) -> Path:
        """The exporter's config file."""
        return self.folder / "config.yaml"

    async def start(self) -> web.Application:
        """Start the simulator, and return an application that runs the exporter."""
        await self.simulator.start()
        self.folder.mkdir()
        (self.folder / "api.key").write_text(self.key)
        own = {"name": self.upstream, "base_url": self.simulator.url, "api_key_file": "api.key"}
        document = {**CONFIG, "storage": {"path": "jobs.db"}}
        for section, value in (*self._overrides.items(), ("upstream", own)):
            known = document.get(section)
            document[section] = {**known, **value} if isinstance(known, Mapping) else value
        self.config_path.write_text(yaml.safe_dump(document))
        file = _DrillConfig(self.config_path, self._labels)
        app = create_app(file.load(), config_file=file)
        self._exporter = app[EXPORTER]
        self._exporter.registry.listen(lambda published: self._changed.set())
        return app

    @property
    def exporter(self) -> Exporter:
        """The exporter."""
        return self._exporter

    async def close(self) -> None:
        """Stop the traffic and the simulator; the exporter stops with its application."""
        if self._traffic is not None:
            self._traffic.cancel()
            await asyncio.wait([self._traffic])
        await self.simulator.stop()

    def start_traffic(self) -> None:
        """Register a job that ends as `done` every `STEADY_SECONDS`, from now on."""
        if self._traffic is None:
            sound = Script.sound(1.0)
            self._traffic = asyncio.create_task(_repeat(STEADY_SECONDS, lambda _: self.add(sound)))

    async def register(self, *job_ids: str, key: str | None = None) -> None:
        """Register jobs, all under the same key where one is given."""
        registrations = [Registration(one, key=key) for one in job_ids]
        await self.exporter.registry.register(registrations, Source.API)

    async def add(self, *scripts: Script, key: str | None = None) -> list[str]:
        """Add jobs to the simulator and register them with the exporter; return their ids."""
        job_ids = [self.simulator.add(script) for script in scripts]
        await self.register(*job_ids, key=key)
        return job_ids

    async def forget(self) -> None:
        """Have the exporter forget all pending jobs."""
        registry = self.exporter.registry
        for job_id in [name for name, job in registry.jobs.items() if job.pending]:
            await registry.forget(job_id)

    async def answered(self, *job_ids: str) -> None:
        """Wait until each of the jobs was answered 2xx."""
        jobs = self.exporter.registry.jobs
        await self._until(lambda: all(jobs[job_id].answered for job_id in job_ids))

    async def ended(self, *job_ids: str) -> None:
        """Wait until none of the jobs is pending."""
        jobs = self.exporter.registry.jobs
        await self._until(lambda: not any(jobs[job_id].pending for job_id in job_ids))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    @asynccontextmanager
    async def every(
        self, seconds: float, do: Callable[[int], Awaitable[object]]
    ) -> AsyncIterator[None]:
        """Call `do` at this interval while the context is open; its argument counts up from 0."""
        task = asyncio.create_task(_repeat(seconds, do))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def upload(self, mode: str) -> None:
        """Upload an image through the exporter in a mode, whatever the answer is."""
        document = {"file_url": "https://images.example.com/1.jpg", "mode": mode}
        async with (
            aiohttp.ClientSession(headers={"X-API-Key": self.key}) as session,
            session.post(f"{self.url}/api/v1/upload", json=document) as response,
        ):
            await response.read()


async def _repeat(seconds: float, do: Callable[[int], Awaitable[object]]) -> None:
    for number in itertools.count():
        with contextlib.suppress(StoreError):  # one scenario causes it
            await do(number)
        await asyncio.sleep(seconds)


class _DrillConfig(ConfigFile):
    """A config with the drill's labels on every series, which a config file may not have."""

    def __init__(self, path: Path, labels: Mapping[str, str]) -> None:
        super().__init__(path)
        self._labels = dict(labels)

    def load(self) -> Config:
        """See `load_config`."""
        config = super().load()
        metrics = config.metrics.model_copy(update={"const_labels": self._labels})
        return config.model_copy(update={"metrics": metrics})
