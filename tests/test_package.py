"""The sdist and the wheel: built, installed outside of the checkout, and run there."""

import contextlib
import re
import shutil
import tarfile
import tomllib
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import missing, until, until_ready
from monitoring import FAST_SCRAPES, Prometheus, alertmanager, prometheus
from processes import in_background
from release import distribution
from release.distribution import NAME, ROOT, Environment
from system_ports import free_port

from exporter import __version__
from exporter.client import AsyncClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return distribution.borrowing(wheel, tmp_path_factory.mktemp("environment"))


def test_the_installed_command_does_what_a_new_user_tries(
    installed: Environment, tmp_path: Path
) -> None:
    distribution.try_out(installed, tmp_path)
    assert (tmp_path / "monitoring" / "grafana" / "dashboards" / "overview.json").is_file()
    assert (tmp_path / "rules" / "removit-alerts.yml").is_file()
    assert installed.run("--version", cwd=tmp_path).split()[-1] == __version__


def test_a_checkout_in_place_of_the_wheel_is_noticed(
    installed: Environment, tmp_path: Path
) -> None:
    mixed = Environment(tmp_path / "mixed")
    shutil.copytree(installed.folder, mixed.folder, symlinks=True)
    [packages] = mixed.folder.glob("lib/python*/site-packages")
    shutil.rmtree(packages / "exporter")
    (packages / "borrowed.pth").write_text(f"{ROOT}\n{(packages / 'borrowed.pth').read_text()}")
    with pytest.raises(distribution.StepError, match="and not the wheel"):
        distribution.try_out(mixed, tmp_path / "empty")


def test_shell_completion_offers_every_command(installed: Environment, tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = installed.run(cwd=tmp_path, _REMOVIT_EXPORTER_COMPLETE=f"{shell}_source")
        assert "_REMOVIT_EXPORTER_COMPLETE" in script
    offered = installed.run(
        cwd=tmp_path,
        _REMOVIT_EXPORTER_COMPLETE="bash_complete",
        COMP_WORDS=f"{NAME} ch",
        COMP_CWORD="1",
    )
    assert offered.split() == ["plain,check-config", "plain,check-storage"]


def test_wheel_and_sdist_carry_types_licence_and_nothing_private(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "exporter/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {
        "exporter",
        f"removit_exporter-{__version__}.dist-info",
    }
    [sdist] = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert {"tests", "docs", "deploy", "Makefile", "requirements-dev.txt"} <= inside
    assert not {".venv", ".git", "dist"} & inside


def test_the_bill_of_materials_names_what_the_lock_file_pins(
    installed: Environment, tmp_path: Path
) -> None:
    if find_spec("cyclonedx_py") is None:
        missing("cyclonedx-bom is missing; pip install -r requirements-dev.txt")
    path = tmp_path / "bom.json"
    distribution.write_bill_of_materials(installed, path)
    listed = distribution.components(path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {re.split(r"[>=<; ]", one)[0].lower() for one in project["dependencies"]}
    lock = (ROOT / "requirements.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
    assert {name: listed[name] for name in direct} == {name: pinned[name] for name in direct}


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    named = [
        path
        for folder in ("exporter", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".service", ".js"}
        and re.search(rf"removit-exporter[:=@ v-]+{re.escape(__version__)}\b", path.read_text())
    ]
    assert named == []


def running(
    installed: Environment, folder: Path, *words: str
) -> contextlib.AbstractAsyncContextManager[None]:
    """Run the installed command in a folder, with no variable that leads to this checkout."""
    command = installed.folder / "bin" / NAME
    return in_background(command, *words, cwd=folder, env={"PATH": "/usr/bin:/bin"})


class Tickets:
    """Counts how often each alert of an environment was sent to the receiver of tickets."""

    def __init__(self) -> None:
        self.sent = Counter[tuple[str, str, str]]()

    async def take(self, request: web.Request) -> web.Response:
        for alert in (await request.json())["alerts"]:
            labels = alert["labels"]
            self.sent[labels["env"], labels["alertname"], alert["status"]] += 1
        return web.Response()

    async def wait(self, env: str, name: str, status: str) -> None:
        await until(lambda: self.sent[env, name, status], 90)


@contextlib.asynccontextmanager
async def monitored(
    installed: Environment, folder: Path, **environments: str
) -> AsyncIterator[tuple[Prometheus, Tickets]]:
    """Run Prometheus and Alertmanager on the files that the wheel carries, only faster.

    `environments` are the exporters' addresses by the target label `env`.
    """
    installed.run("assets", "monitoring", cwd=folder)
    assets = folder / "monitoring" / "prometheus"
    thresholds = yaml.safe_load((assets / "thresholds.yml").read_text())
    thresholds |= {"interval": "1s", "long_interval": "1s"}
    for alert in ("ignored_variations", "unresolved_failures"):
        thresholds["alerts"][alert] |= {"for": "3s", "keep_firing_for": "5s"}
    (folder / "thresholds.yml").write_text(yaml.safe_dump(thresholds))
    installed.run("rules", "--thresholds", "thresholds.yml", "rules", cwd=folder)
    tickets = Tickets()
    hook = web.Application()
    hook.router.add_post("/tickets", tickets.take)
    async with TestServer(hook) as receiver:
        routing = yaml.safe_load((assets / "alertmanager.example.yml").read_text())
        routing["route"] |= {"group_wait": "1s", "group_interval": "1s"}
        [to_tickets] = [one for one in routing["receivers"] if one["name"] == "tickets"]
        to_tickets["webhook_configs"][0]["url"] = str(receiver.make_url("/tickets"))
        async with alertmanager(folder, routing) as manager:
            told = {"static_configs": [{"targets": [manager.url.removeprefix("http://")]}]}
            targets = [
                {"targets": [address], "labels": {"env": env}}
                for env, address in environments.items()
            ]
            scraped = {"job_name": "removit", "honor_labels": True, "static_configs": targets}
            config: dict[str, Any] = {
                "global": FAST_SCRAPES,
                "rule_files": [str(folder / "rules" / "*.yml")],
                "alerting": {"alertmanagers": [told]},
                "scrape_configs": [scraped],
            }
            async with prometheus(folder, config) as server:
                yield server, tickets


async def test_ignored_variations_of_a_shop_are_a_ticket_on_the_first_day(
    installed: Environment, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        running(installed, tmp_path, "demo", "--web.listen-address", address),
        monitored(installed, tmp_path, demo=address) as (server, tickets),
    ):
        await tickets.wait("demo", "RemovitVariationIgnored", "firing")
        by_shop = "sum by (shop, variation) (removit_job_ignored_variations_total) > 0"
        ignored = await server.query(by_shop)
        assert {one["metric"]["shop"] for one in ignored} == {"eu", "us", "jp"}
        variation = ignored[0]["metric"]["variation"]
        async with AsyncClient(f"http://{address}") as client:
            jobs = [job async for job in client.jobs(variation=variation)]
        assert jobs
        assert all(variation in job["ignored_variations"] for job in jobs)


SHOP_CONFIG = """
upstream: {{base_url: "http://{upstream}", api_key_file: api.key, rate: 100}}
polling: {{min_interval: 100ms, max_interval: 500ms}}
judgement: {{failed_after: 1s, gateway_failed_after: 1s, chance: 0.1}}
storage: {{path: jobs.db}}
web: {{listen_address: "{address}"}}
"""


async def test_a_lost_picture_is_a_ticket_until_a_later_job_of_its_key_is_done(
    installed: Environment, tmp_path: Path
) -> None:
    address, upstream = (f"127.0.0.1:{free_port()}" for _ in range(2))
    (tmp_path / "api.key").write_text("simulator")
    (tmp_path / "config.yaml").write_text(SHOP_CONFIG.format(upstream=upstream, address=address))
    simulate = ("simulate", "--speed", "20", "--listen-address", upstream)
    async with (
        running(installed, tmp_path, *simulate),
        running(installed, tmp_path, "run"),
        monitored(installed, tmp_path, shop=address) as (_, tickets),
    ):
        await until_ready(address)
        token = (tmp_path / "jobs.db.token").read_text().strip()
        async with AsyncClient(f"http://{address}", token=token) as client:

            async def send(kind: str, key: str) -> None:
                await client.register(await upload(upstream, kind), key=key)

            await send("stuck", "witness")
            await send("failing", "sku-4711")
            await tickets.wait("shop", "RemovitUnresolvedFailures", "firing")
            lost = [failure async for failure in client.failures()]
            assert [failure["key"] for failure in lost] == ["sku-4711"]
            await send("sound", "sku-4711")
            await tickets.wait("shop", "RemovitUnresolvedFailures", "resolved")
            assert not [failure async for failure in client.failures()]


async def upload(upstream: str, kind: str) -> str:
    """Upload an image to the simulated API; return the id of the job, which ends as `kind`."""
    headers = {"X-API-Key": "simulator", "X-Simulator-Kind": kind}
    image = {"file_url": "https://shop.example/1.jpg", "mode": "clipping"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"http://{upstream}/api/v1/upload", json=image) as response,
    ):
        response.raise_for_status()
        return str((await response.json())["job_id"])
