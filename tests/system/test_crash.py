"""kill -9 in the middle of registering and polling costs no acknowledged job and no count."""

import asyncio
import contextlib
import random
import signal
import sqlite3
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml
from conftest import KEY, SQUEEZED, TOKEN, merge, until
from crashing import MODES, REGISTRAR, Scraper, Worker, feed, stored
from system_ports import free_port

from exporter.client import AsyncClient
from exporter.commands.demo_comparison import compare, read_totals
from exporter.simulator import Simulator

JOBS = 150


@pytest.fixture
async def crash_config(tmp_path: Path, simulator: Simulator) -> tuple[Path, str]:
    (tmp_path / "api.key").write_text(KEY)
    address = f"127.0.0.1:{free_port()}"
    document = merge(
        SQUEEZED,
        {
            "upstream": {"base_url": simulator.url, "api_key_file": "api.key"},
            "polling": {"give_up_after": "20s"},
            "storage": {"path": "jobs.db"},
            "web": {"listen_address": address},
        },
    )
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    return config, address


@pytest.mark.timeout(180)
@pytest.mark.slow
async def test_kill_9_costs_no_acknowledged_job_and_no_count(
    crash_config: tuple[Path, str], simulator: Simulator, tmp_path: Path
) -> None:
    simulator.speed = 30.0
    config, address = crash_config
    ledger = tmp_path / "acknowledged"
    worker = Worker(config)
    await worker.start(kill_after=5)
    registrar = await asyncio.create_subprocess_exec(
        sys.executable,
        str(REGISTRAR),
        address,
        str(ledger),
        stdin=asyncio.subprocess.PIPE,
    )
    async with aiohttp.ClientSession() as session:
        scraper = Scraper(f"http://{address}", session)
        scraping = asyncio.create_task(scraper.run())
        feeding = asyncio.create_task(feed(registrar, simulator, JOBS))
        rng = random.Random(4)
        # Some die between BEGIN and COMMIT of a commit drawn beforehand, some at any moment.
        for round_ in range(8):
            if round_ % 2:
                await asyncio.sleep(rng.uniform(0.1, 0.6))
                worker.kill()
            assert await worker.ends() == -signal.SIGKILL
            await worker.start(kill_after=0 if round_ % 2 == 0 else rng.randint(2, 60))
        worker.kill()
        await worker.ends()
        await worker.start()
        await feeding
        assert await asyncio.wait_for(registrar.wait(), 60) == 0

        known = ledger.read_text().split()
        assert len(known) == JOBS + len(MODES)
        for job_id in known:
            async with session.get(f"http://{address}/api/v1/jobs/{job_id}") as response:
                assert response.status == 200, f"{job_id} was acknowledged and is not there"

        async def drained() -> bool:
            page = await scraper.scrape()
            return page is not None and not read_totals(page)["removit_jobs_pending"].total()

        await until(drained, 90)
        page = await scraper.scrape()
        scraping.cancel()
        await asyncio.wait([scraping])
    worker.kill()
    await worker.ends()
    assert page is not None
    rows = compare(simulator.ledger.totals(), read_totals(page))
    assert [row for row in rows if not row.equal] == []
    assert scraper.wrong == []
    assert scraper.scrapes > 50


def stored_in(path: Path) -> set[str]:
    """Return the ids of all jobs that are in the file, while nobody has it open."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT job_id FROM jobs WHERE forgotten = 0")}


async def test_kill_9_in_the_middle_of_a_stream_loses_nothing_that_was_acknowledged(
    crash_config: tuple[Path, str],
) -> None:
    config, address = crash_config
    names = [f"job-{at:05}" for at in range(6000)]
    acknowledged = 0

    def progress(position: int) -> None:
        nonlocal acknowledged
        acknowledged = position

    worker = Worker(config)
    await worker.start(kill_after=9)
    kills = 0
    async with (
        aiohttp.ClientSession() as session,
        AsyncClient(f"http://{address}", token=TOKEN, patience=60.0) as client,
    ):
        stream = asyncio.create_task(client.register_many(names, progress))
        for kill_after in (6, 13, 4, 0):
            assert await worker.ends() == -signal.SIGKILL
            kills += 1
            assert set(names[:acknowledged]) <= stored_in(config.parent / "jobs.db")
            await worker.start(kill_after=kill_after)
        summary = await asyncio.wait_for(stream, 60)
        assert summary.taken >= len(names)
        assert set(await stored(session, address)) == set(names)
        async with session.get(f"http://{address}/metrics") as response:
            totals = read_totals(await response.text())
        assert totals["removit_jobs_registered_total"].total() == len(names)
    assert kills == 4
    worker.kill()
    await worker.ends()
