"""Fixtures: a simulator and exporters on loopback, and real programs or why they are missing."""

import asyncio
import inspect
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import settings
from yarl import URL

from exporter import EXPORTER, Config, Exporter, create_app
from exporter.config import ConfigFile
from exporter.config.loading import parse_config
from exporter.simulator import Simulator
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import Store

# By default an example may take 200 ms, which says something of the machine only.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

KEY = "the-key-that-nobody-may-see"
TOKEN_FILE = Path(__file__).parent / "data" / "token"
TOKEN = TOKEN_FILE.read_text().strip()
BEARER = {"Authorization": f"Bearer {TOKEN}"}
AUTHORIZATION = f"Authorization: Bearer {TOKEN}\r\n".encode()
NOBODY = {"Authorization": ""}
"""A header in place of the token that the tests' client sends otherwise."""

SQUEEZED: Mapping[str, Any] = {
    "registration": {"token_file": str(TOKEN_FILE)},
    "upstream": {"rate": 500, "burst": 100, "timeout": "20s"},
    "polling": {
        "min_interval": "20ms",
        "max_interval": "200ms",
        "key_retry": "300ms",
        "recheck_after": [],
    },
    "judgement": {
        "failed_after": "150ms",
        "gateway_failed_after": "200ms",
        "chance": 0.5,
        "not_found_grace": "150ms",
        "lost_after": "300ms",
        "outage_window": "2s",
    },
}
"""Thresholds small enough for tests to wait for what follows from them."""


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


async def until(condition: Callable[[], object | Awaitable[object]], seconds: float = 60.0) -> Any:
    """Wait until a condition holds, and return its value; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true within {seconds} s: {inspect.getsource(condition)}")
        await asyncio.sleep(0.01)


def program(name: str, package: str) -> str:
    """Return a program's path; where it is missing, skip, or fail under CI."""
    return shutil.which(name) or missing(f"{name} is missing; on Debian: apt-get install {package}")


def missing(reason: str) -> NoReturn:
    """Skip a test that lacks something on this machine; CI installs all that tests need."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(api_key=KEY, seed=1) as made:
        yield made


class Site:
    """An exporter that answers on loopback, and a client of it that shows the token."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.exporter: Exporter = client.app[EXPORTER]
        self.url = str(client.make_url("/")).rstrip("/")

    def change_config(self, section: str, **changes: Any) -> None:
        """Put another config in force, which differs in these keys of one section."""
        config = self.exporter.config()
        changed = getattr(config, section).model_copy(update=changes)
        self.exporter.config.apply(config.model_copy(update={section: changed}))

    async def put(self, job_id: str, **document: Any) -> dict[str, Any]:
        """Register a job; return it."""
        async with self.client.put(f"/api/v1/jobs/{job_id}", json=document) as response:
            assert response.status in (200, 201), await response.text()
            shown: dict[str, Any] = await response.json()
            return shown

    async def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as the API shows it."""
        async with self.client.get(f"/api/v1/jobs/{job_id}") as response:
            assert response.status == 200, await response.text()
            shown: dict[str, Any] = await response.json()
            return shown

    async def ends(self, job_id: str, state: str) -> dict[str, Any]:
        """Wait until a job has ended, and as it should."""

        async def ended() -> dict[str, Any] | None:
            shown = await self.job(job_id)
            return None if shown["state"] == "pending" else shown

        shown: dict[str, Any] = await until(ended)
        assert shown["state"] == state, shown
        return shown

    async def metrics(self, **parameters: str) -> str:
        """Return the page of metrics."""
        async with self.client.get("/metrics", params=parameters) as response:
            assert response.status == 200
            return await response.text()

    async def value(self, series: str) -> float | None:
        """Return one series' value, written as on the page without its constant label."""
        for line in (await self.metrics()).splitlines():
            name, _, number = line.rpartition(" ")
            plain = name.replace('upstream="removit",', "").replace(',upstream="removit"', "")
            if plain.replace('{upstream="removit"}', "") == series:
                return float(number)
        return None


async def answers(url: str) -> bool:
    """Return whether a server answers a GET with 200."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def send_raw(url: str, content: bytes) -> bytes:
    """Send bytes over a connection of their own; return what comes until it is closed."""
    address = URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(content)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


async def until_ready(address: str) -> None:
    """Wait until the exporter of another process answers there."""
    await until(lambda: answers(f"http://{address}/-/ready"))


class AsTheCommand(TestServer):
    """Serves as the command does: handlers go on when their client goes away."""

    async def _make_runner(self, **settings: Any) -> web.BaseRunner:
        return await super()._make_runner(**settings | {"handler_cancellation": False})


async def grows(count: Callable[[], int], by: int = 1) -> None:
    """Wait until a count has grown from what it is now."""
    target = count() + by
    await until(lambda: count() >= target)


async def break_store(site: Site) -> None:
    """Have every call of an exporter's store fail from now on."""
    store = site.exporter.store
    assert isinstance(store, SqliteStore)
    await store.database.read(lambda database: database.close())  # in the thread that uses it


Open = Callable[..., Awaitable[Site]]


@pytest.fixture
def make_config(tmp_path: Path, simulator: Simulator) -> Callable[..., Config]:
    """Make a config whose upstream is the simulator, with squeezed thresholds."""
    key_file = tmp_path / "api.key"
    key_file.write_text(KEY)

    def make(**sections: Any) -> Config:
        own = {
            "upstream": {"base_url": simulator.url, "api_key_file": "api.key"},
            "storage": {"path": "jobs.db"},
        }
        document = merge(merge(SQUEEZED, own), sections)
        return parse_config(yaml.safe_dump(document), directory=tmp_path)

    return make


@pytest.fixture
def write_config(tmp_path: Path, simulator: Simulator) -> Callable[..., ConfigFile]:
    """Write a config file like `make_config`'s config; return it to be read."""
    path = tmp_path / "config.yaml"

    def write(**sections: Any) -> ConfigFile:
        (tmp_path / "api.key").write_text(KEY)
        own = {
            "upstream": {"base_url": simulator.url, "api_key_file": "api.key"},
            "storage": {"path": "jobs.db"},
        }
        path.write_text(yaml.safe_dump(merge(merge(SQUEEZED, own), sections)))
        return ConfigFile(path)

    return write


@asynccontextmanager
async def sites(make_config: Callable[..., Config]) -> AsyncIterator[Open]:
    """Open exporters; all are closed at the end, those still open."""
    clients: list[TestClient[Any, Any]] = []

    async def open_one(
        store: Store | None = None,
        config_file: ConfigFile | None = None,
        server: type[TestServer] = TestServer,
        **sections: Any,
    ) -> Site:
        config = config_file.load() if config_file else make_config(**sections)
        app = create_app(config, store=store, config_file=config_file)
        client = TestClient(server(app), headers=BEARER)
        clients.append(client)
        await client.start_server()
        return Site(client)

    yield open_one
    for client in clients:
        await client.close()


@pytest.fixture
async def open_site(make_config: Callable[..., Config]) -> AsyncIterator[Open]:
    """Open exporters."""
    async with sites(make_config) as open_one:
        yield open_one


@pytest.fixture
async def site(open_site: Open) -> Site:
    """An exporter with squeezed thresholds."""
    return await open_site()


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REMOVIT_API_KEY", raising=False)
