"""Faults of the disk, and how the exporter stops with them: SQLite's own errors."""

import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import BEARER, Open, Site, until, until_ready
from system_ports import free_port

from exporter.config import ConfigFile
from exporter.simulator import Script, Simulator
from exporter.storage.sqlite import SqliteStore


async def pragma(site: Site, text: str) -> None:
    store = site.exporter.store
    assert isinstance(store, SqliteStore)
    await store.database.read(lambda database: database.execute(f"PRAGMA {text}").fetchall())


async def fills_up(site: Site, tmp_path: Path) -> None:
    await pragma(site, "max_page_count = 1")


async def has_room(site: Site, tmp_path: Path) -> None:
    await pragma(site, "max_page_count = 1000000")


async def turns_read_only(site: Site, tmp_path: Path) -> None:
    await pragma(site, "query_only = 1")


async def turns_writable(site: Site, tmp_path: Path) -> None:
    await pragma(site, "query_only = 0")


async def goes_away(site: Site, tmp_path: Path) -> None:
    (tmp_path / "jobs.db").rename(tmp_path / "elsewhere.db")


async def comes_back(site: Site, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.db").rename(tmp_path / "jobs.db")


LOCKS: dict[Path, sqlite3.Connection] = {}


async def is_locked(site: Site, tmp_path: Path) -> None:
    LOCKS[tmp_path] = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    LOCKS[tmp_path].execute("BEGIN IMMEDIATE")


async def is_let_go(site: Site, tmp_path: Path) -> None:
    LOCKS.pop(tmp_path).close()


async def register_until_refused(site: Site, simulator: Simulator) -> int:
    """Register while there is room in the pages that the file has; return how many fitted."""
    fitted = 0
    while (refused := await site.client.put(f"/api/v1/jobs/{simulator.add(Script.stuck())}")).ok:
        fitted += 1
        assert fitted < 500
    assert refused.status == 503
    assert "Retry-After" in refused.headers
    assert (await refused.json())["error"] == "exporter_unavailable"
    return fitted


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        *((fills_up, has_room), (turns_read_only, turns_writable), (goes_away, comes_back)),
        (is_locked, is_let_go),
    ],
    ids=["disk full", "read-only", "file removed", "locked by another"],
)
async def test_while_the_disk_fails_polling_goes_on_and_nothing_counted_is_lost(
    open_site: Open, simulator: Simulator, tmp_path: Path, breaks: Any, mends: Any
) -> None:
    site = await open_site()
    jobs = [simulator.add(Script.warned(0.3)) for _ in range(20)]
    for job_id in jobs:
        await site.put(job_id)
    await breaks(site, tmp_path)
    more = await register_until_refused(site, simulator)
    done = 'removit_jobs_finished_total{mode="params",state="done"}'

    async def counted() -> bool:
        return await site.value(done) == 20

    async def shows() -> bool:
        # On a nearly full disk the backlog may fit after a refusal: then there is room for more.
        nonlocal more
        more += await register_until_refused(site, simulator)
        return await site.value("removit_exporter_store_writable") == 0

    await until(counted)
    await until(shows)
    assert (await site.value('removit_exporter_store_errors_total{operation="commit"}') or 0) > 0
    await mends(site, tmp_path)

    async def written() -> bool:
        return await site.value("removit_exporter_store_writable") == 1

    await until(written)
    assert not site.exporter.registry.commit.unwritten
    await site.client.close()
    again = await open_site()
    assert await again.value(done) == 20
    assert (
        await again.value('removit_job_warnings_total{mode="params",variation="shadow_wall"}') == 20
    )
    assert await again.value('removit_jobs_registered_total{source="api"}') == 20 + more


async def test_a_damaged_database_is_set_aside_and_said(
    open_site: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = await open_site()
    await first.put("a")
    await first.client.close()
    path = tmp_path / "jobs.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    second = await open_site()
    assert "was set aside" in caplog.text
    assert (tmp_path / "jobs.db.damaged-1").exists()
    await second.put("a")


@pytest.mark.parametrize("round_", range(3))
async def test_on_sigterm_answers_are_whole_everything_is_stored_and_it_ends_in_time(
    write_config: Callable[..., ConfigFile], simulator: Simulator, tmp_path: Path, round_: int
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "run"),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    acknowledged = 0
    try:
        async with aiohttp.ClientSession(headers=BEARER) as session:
            await until_ready(address)
            names = [simulator.add(Script.stuck(0.1)) for _ in range(2000)]

            async def register() -> None:
                nonlocal acknowledged
                for name in names:
                    try:
                        async with session.put(
                            f"http://{address}/api/v1/jobs/{name}", json={}
                        ) as response:
                            body = await response.read()
                            if response.status == 201:
                                assert json.loads(body)["job_id"] == name  # whole
                                acknowledged += 1
                    except aiohttp.ClientConnectorError:
                        return
                    except aiohttp.ClientError:
                        return

            registering = asyncio.create_task(register())
            await until(lambda: acknowledged > 20 * (round_ + 1))
            with simulator.faults.stall():
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 60) == 0
            await registering
    finally:
        if process.returncode is None:
            process.kill()
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    known = await store.get(names)
    await store.close()
    assert set(names[:acknowledged]) <= set(known)
    assert len(known) <= acknowledged + 1


async def test_one_damaged_row_stops_nothing_and_its_id_may_be_registered_again(
    open_site: Open, simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = await open_site()
    names = [simulator.add(Script.stuck()) for _ in range(3)]
    for name in names:
        await first.put(name)
    await first.client.close()
    database = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    database.execute("UPDATE jobs SET document = '{\"so' WHERE job_id = ?", (names[1],))
    database.close()
    second = await open_site()
    assert "damaged and was set aside" in caplog.text
    async with second.client.get(f"/api/v1/jobs/{names[1]}") as answer:
        assert answer.status == 404
    assert await second.value('removit_exporter_stored_jobs{state="pending"}') == 2
    await second.put(names[1])
    assert await second.value('removit_exporter_stored_jobs{state="pending"}') == 3
    assert second.exporter.registry.commit.alive
