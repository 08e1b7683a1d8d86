"""Prometheus and Alertmanager on loopback, started by a test and ended with it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from conftest import program, until
from processes import in_background
from system_ports import free_port

FAST_SCRAPES = {"scrape_interval": "1s", "evaluation_interval": "1s"}


class Api:
    """The HTTP API of a program that may not be up yet."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def get(self, path: str, **parameters: str) -> Any:
        """Return what a route answers; None while it does not answer well."""
        try:
            async with self._session.get(self.url + path, params=parameters) as response:
                return json.loads(await response.text()) if response.status == 200 else None
        except (aiohttp.ClientError, ValueError):
            return None

    async def post(self, path: str, document: Any) -> None:
        """Send JSON."""
        async with self._session.post(self.url + path, json=document) as response:
            assert response.status == 200, await response.text()


class Prometheus(Api):
    """Prometheus's query API."""

    async def data(self, path: str, **parameters: str) -> Any:
        """Return an answer's data, None while there is none."""
        answer = await self.get(path, **parameters)
        return answer["data"] if answer else None

    async def query(self, expression: str, at: float | None = None) -> list[Any]:
        """Ask for the newest values, or those at a time (since 1970)."""
        time = {} if at is None else {"time": str(at)}
        data = await self.data("/api/v1/query", query=expression, **time)
        return data["result"] if data else []


class Alertmanager(Api):
    """Alertmanager's API."""

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it knows, silenced ones too."""
        return await self.get("/api/v2/alerts") or []


@asynccontextmanager
async def prometheus(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[Prometheus]:
    """Run a Prometheus with a config, its data in a folder."""
    binary = program("prometheus", "prometheus")
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(dict(config)))
    address = f"127.0.0.1:{free_port()}"
    flags = (
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=error",
    )
    async with aiohttp.ClientSession() as session, in_background(binary, *flags):
        made = Prometheus(f"http://{address}", session)
        await until(lambda: made.data("/api/v1/status/runtimeinfo"), 60)
        yield made


@asynccontextmanager
async def alertmanager(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[Alertmanager]:
    """Run an Alertmanager with a config, alone, its data in a folder."""
    binary = program("prometheus-alertmanager", "prometheus-alertmanager")
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(dict(config)))
    address = f"127.0.0.1:{free_port()}"
    flags = (
        f"--config.file={path}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        "--log.level=error",
    )
    async with aiohttp.ClientSession() as session, in_background(binary, *flags):
        made = Alertmanager(f"http://{address}", session)
        await until(lambda: made.get("/api/v2/status"), 60)
        yield made
