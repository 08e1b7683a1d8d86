"""The database's write-ahead log is cut short under a running exporter, which is killed later."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from conftest import BEARER, until
from processes import running
from system_ports import free_port

from exporter.config import ConfigFile

JOBS = 20


async def is_registered(url: str, name: str) -> bool:
    async with (
        aiohttp.ClientSession(headers=BEARER) as session,
        session.put(f"{url}/api/v1/jobs/{name}") as response,
    ):
        return response.status in (200, 201)


async def register(url: str, names: list[str]) -> None:
    """Register jobs; one that is refused for now is tried until it is acknowledged."""
    for name in names:

        async def acknowledged(name: str = name) -> bool:
            return await is_registered(url, name)

        await until(acknowledged)


async def known(url: str, names: list[str]) -> list[str]:
    async with aiohttp.ClientSession(headers=BEARER) as session:
        found = []
        for name in names:
            async with session.get(f"{url}/api/v1/jobs/{name}") as response:
                found += [name] if response.status == 200 else []
        return found


def set_aside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "damaged" in path.name]


@pytest.mark.parametrize("killed", [False, True])
async def test_every_acknowledged_job_is_known_after_the_restart(
    write_config: Callable[..., ConfigFile], tmp_path: Path, killed: bool
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address})
    before = [f"before-{at}" for at in range(JOBS)]
    after = [f"after-{at}" for at in range(JOBS)]
    async with running(tmp_path, address) as exporter:
        await register(exporter.url, before)
        os.truncate(tmp_path / "jobs.db-wal", 0)
        # One that comes just then may be refused; none that is acknowledged is lost.
        await until(lambda: is_registered(exporter.url, "at-that-moment"))
        await register(exporter.url, after)
        if killed:
            exporter.process.kill()
            await exporter.process.communicate()
        else:
            await exporter.stop()
    async with running(tmp_path, address) as exporter:
        assert await known(exporter.url, before + after) == before + after
    assert set_aside(tmp_path) == []


async def test_an_index_cut_short_may_end_the_process_and_loses_no_acknowledged_job(
    write_config: Callable[..., ConfigFile], tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address})
    before = [f"before-{at}" for at in range(JOBS)]
    async with running(tmp_path, address) as exporter:
        await register(exporter.url, before)
        os.truncate(tmp_path / "jobs.db-shm", 0)
        with contextlib.suppress(aiohttp.ClientError):  # SQLite was just reading it (SIGBUS)
            await register(exporter.url, ["after"])
            before.append("after")
    async with running(tmp_path, address) as exporter:
        assert await known(exporter.url, before) == before
    assert set_aside(tmp_path) == []
