"""Writes a database with jobs of every kind, and what its version reads from it.

    .venv/bin/python tests/write_database.py tests/data/1a2b3c4

makes `1a2b3c4.db`, its lock file and `1a2b3c4.json`, which
`tests/storage/test_earlier_databases.py` reads with later versions. Do this once for each release
and each change of the schema, with the code of that commit. The files are never made anew.
"""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exporter import Exporter
from exporter.config.loading import parse_config
from exporter.core.tally import layout
from exporter.embedding import Jobs
from exporter.simulator import Script, Simulator
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import FailuresRequest, HistoryRequest, LoadRequest, PageRequest

KEY = "key"
CONFIG = """
upstream: {{base_url: "{url}", api_key_file: api.key, rate: 500, burst: 100}}
registration: {{allowed_labels: [shop]}}
metrics: {{group_labels: [shop]}}
storage: {{path: jobs.db}}
polling:
  {{min_interval: 20ms, max_interval: 200ms, recheck_after: [], give_up_after: 6s,
   stalled_after: 3s}}
judgement:
  {{failed_after: 150ms, gateway_failed_after: 200ms, chance: 0.5, not_found_grace: 150ms,
   lost_after: 300ms, outage_window: 2s}}
"""
ENDED = {"done": 2, "failed": 1, "not_found": 1, "invalid": 1, "expired": 1}


async def write(path: Path) -> None:
    """Run an exporter until it has seen every kind of job, and keep its database."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "api.key").write_text(KEY)
        async with Simulator(api_key=KEY, seed=1) as simulator:
            config = parse_config(CONFIG.format(url=simulator.url), directory=folder)
            exporter = Exporter(config)
            await exporter.start()
            await _fill(exporter, Jobs(exporter.registry, lambda: config.registration), simulator)
            await exporter.stop()
        copy_database(folder / "jobs.db", path)


def copy_database(source: Path, target: Path) -> Path:
    """Copy a database, and its lock file if its version has left one; return the copy."""
    for suffix in ("", ".lock"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"{source}{suffix}", f"{target}{suffix}")
    return target


async def _fill(exporter: Exporter, jobs: Jobs, simulator: Simulator) -> None:
    scripts = {
        "sku-1": Script.warned(1.0),
        "sku-2": Script.sound(1.0, "clipping"),
        "sku-3": Script.failing(0.5),
        "sku-4": Script.lost(),
        "sku-5": Script.stuck(0.5),
    }
    for key, script in scripts.items():
        await jobs.register(simulator.add(script), key=key, labels={"shop": "north"})
    await jobs.register("not-an-id-of-the-vendor")
    forgotten = await jobs.register(simulator.add(Script.stuck(0.0)))
    await exporter.registry.forget(forgotten.job_id)
    # A witness for the failing job.
    await jobs.register(simulator.add(Script.stuck(0.0)))
    async with asyncio.timeout(60):
        while True:
            found = {state.value: count for state, count in exporter.registry.by_state.items()}
            if all(found.get(state, 0) >= count for state, count in ENDED.items()):
                break
            await asyncio.sleep(0.1)
    # These are pending when the exporter stops.
    await jobs.register(simulator.add(Script.stuck(0.0)), key="sku-6")
    await jobs.register(simulator.add(Script.failing(0.0)), key="sku-7")
    await asyncio.sleep(0.1)


async def read(store: SqliteStore) -> dict[str, Any]:
    """Return everything that a store holds, as JSON has it."""
    snapshot = await store.load(LoadRequest(0.0, 0.0, 1e12, layout(["shop"])))
    jobs = (await store.page(PageRequest(1000))).items
    finals = {job.job_id: await store.final_answer(job.job_id) for job in jobs}
    data = {
        "jobs": [asdict(job) for job in jobs],
        "history": [
            [one.id, one.event.type, one.event.job_id, one.event.time, dict(one.event.data)]
            for one in await store.history(HistoryRequest(10_000))
        ],
        "final_answers": {
            name: [final.http_status, final.content_type, final.body.decode()]
            for name, final in finals.items()
            if final is not None
        },
        "totals": [[one.name, one.labels, one.bucket, one.amount] for one in snapshot.totals],
        "admitted": snapshot.admitted,
        "by_state": snapshot.by_state,
        "healthy_time": snapshot.healthy_time,
        "unresolved": snapshot.unresolved,
        "failures": [
            asdict(failure) for failure in (await store.failures(FailuresRequest(1000))).items
        ],
    }
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


async def main(stem: Path) -> None:
    database = stem.with_name(stem.name + ".db")
    await write(database)
    with tempfile.TemporaryDirectory() as name:
        store = SqliteStore(copy_database(database, Path(name) / "jobs.db"))
        await store.open()
        text = json.dumps(await read(store), indent=1, sort_keys=True)
        await store.close()
    stem.with_name(stem.name + ".json").write_text(text + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
