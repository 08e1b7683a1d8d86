"""A database of an earlier version opens with every field, event, total and open key unchanged.

`tests/data/d1024ca.db` was written by the code of commit d1024ca: six simulated hours with jobs
that are done, failed, expired, invalid, not found, forgotten, suspected (5xx and 404) or pending,
some of them keyed, labelled or named by two sources. `d1024ca.json` is what that code read from it.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import Exporter
from exporter.config.loading import parse_config
from exporter.core.tally import layout
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import FailuresRequest, HistoryRequest, LoadRequest, PageRequest

DATA = Path(__file__).parent.parent / "data"
WRITTEN: dict[str, Any] = json.loads((DATA / "d1024ca.json").read_text())
FORMER_NAMES = {
    "sources": "told_by",
    "registered_healthy_time": "registered_well",
    "reported_warnings": "told_warnings",
    "reported_ignored": "told_ignored",
    "reported_drift": "told_drift",
}
"""Fields of a job whose names have changed since, with the name they had."""
NEW_FIELDS: dict[str, Any] = {
    "clock_offset": None,
    "other_runs": [],
    "progress_fell": False,
    "weakly_failed": False,
}
"""Fields that a job has got since, with their defaults."""
RELABELLED = ("removit_job_warnings_total", "removit_job_ignored_variations_total")
"""Counters that have other labels since; they begin at 0."""
LIVED_AT = 1_800_019_325.0
"""Seconds since 1970: the simulated time at which the database was left."""


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    path = tmp_path / "exporter.db"
    shutil.copy(DATA / "d1024ca.db", path)
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


async def load(store: SqliteStore, *, later: float) -> Any:
    return await store.load(LoadRequest(LIVED_AT + later, 0.0, 3600.0, layout(["shop"])))


async def read(store: SqliteStore) -> dict[str, Any]:
    """Read a store in the form of `d1024ca.json`."""
    snapshot = await load(store, later=60.0)
    page = await store.page(PageRequest(1000))
    jobs = page.items
    assert page.next is None
    finals = {job.job_id: await store.final_answer(job.job_id) for job in jobs}
    failures = (await store.failures(FailuresRequest(1000))).items
    data = {
        "jobs": [
            {FORMER_NAMES.get(name, name): value for name, value in asdict(job).items()}
            for job in jobs
        ],
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
        "well_time": snapshot.healthy_time,
        "unresolved": snapshot.unresolved,
        "failures": [asdict(failure) for failure in failures],
    }
    plain: dict[str, Any] = json.loads(json.dumps(data))
    for job in plain["jobs"]:
        for name, default in NEW_FIELDS.items():
            assert job.pop(name) == default
    return plain


async def test_nothing_of_it_is_set_aside(store: SqliteStore) -> None:
    assert not list(store.path.parent.glob("*damaged*"))


@pytest.mark.parametrize("part", sorted(WRITTEN))
async def test_everything_is_as_it_was_written(store: SqliteStore, part: str) -> None:
    written = WRITTEN[part]
    if part == "totals":
        assert any(name in RELABELLED for name, *_ in written)
        written = [total for total in written if total[0] not in RELABELLED]
    assert (await read(store))[part] == written


def test_it_has_what_an_upgrade_could_lose() -> None:
    jobs = WRITTEN["jobs"]
    states = {job["state"] for job in jobs}
    assert states == {"pending", "done", "failed", "not_found", "invalid", "expired"}
    suspected = {job["suspicion"]["kind"] for job in jobs if job["suspicion"]}
    assert suspected == {"server_error", "not_found"}
    assert any(len(job["told_by"]) == 2 for job in jobs)
    assert any(job["key"] and job["state"] == "pending" for job in jobs)
    assert any(job["told_warnings"] and job["told_ignored"] and job["told_drift"] for job in jobs)
    assert WRITTEN["totals"]
    assert WRITTEN["unresolved"]
    assert WRITTEN["well_time"] > 0


async def test_the_counters_resume_within_the_hour_and_not_after_it(store: SqliteStore) -> None:
    assert (await load(store, later=3500.0)).totals
    assert not (await load(store, later=2 * 3600.0 + 3500.0)).totals


async def test_an_exporter_starts_with_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KEY", "k")
    path = tmp_path / "exporter.db"
    shutil.copy(DATA / "d1024ca.db", path)
    document = {
        "upstream": {"base_url": "http://127.0.0.1:9", "api_key_env": "KEY"},
        "storage": {"path": str(path), "retention": "87000h"},
    }
    config = parse_config(yaml.safe_dump(document), directory=tmp_path)
    exporter = Exporter(config)
    await exporter.start()
    try:
        by_state = {state.value: number for state, number in exporter.registry.by_state.items()}
        assert {state: number for state, number in by_state.items() if number} == (
            WRITTEN["by_state"]
        )
        for written in WRITTEN["jobs"]:
            job = await exporter.registry.get(written["job_id"])
            assert job is not None
            assert job.state == written["state"]
    finally:
        await exporter.stop()
