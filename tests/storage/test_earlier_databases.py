"""A database of each earlier version opens with every field, event, total and open key unchanged.

`tests/data/` has a database of each of these commits, and as JSON what its own code read from it.
`tests/write_database.py` wrote them, except for d1024ca: six simulated hours of jobs of all kinds.
"""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from write_database import ENDED, copy_database, read

from exporter import Exporter
from exporter.config.loading import parse_config
from exporter.core.tally import layout
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import LoadRequest

DATA = Path(__file__).parent.parent / "data"
VERSIONS = ["d1024ca", "11e3e9e"]
RENAMED = {
    "told_by": "sources",
    "registered_well": "registered_healthy_time",
    "told_warnings": "reported_warnings",
    "told_ignored": "reported_ignored",
    "told_drift": "reported_drift",
    "well_time": "healthy_time",
}
"""Names that an earlier version gave, with the present one."""
ADDED: dict[str, Any] = {
    "clock_offset": None,
    "other_runs": [],
    "progress_fell": False,
    "weakly_failed": False,
}
"""Fields of a job that an earlier version did not have, with their defaults."""
MODE_ADDED = ("removit_job_warnings_total", "removit_job_ignored_variations_total")
"""Counters that have got the label `mode` since d1024ca; they begin at 0."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def written(version: str) -> dict[str, Any]:
    return read_written(version)


def read_written(version: str) -> dict[str, Any]:
    """Return what a version read from its own database, by the present names."""
    document = renamed(json.loads((DATA / f"{version}.json").read_text()))
    return document | {"jobs": [renamed(job) for job in document["jobs"]]}


def renamed(document: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in document.items()}


@pytest.fixture
def path(version: str, tmp_path: Path) -> Path:
    return copy_database(DATA / f"{version}.db", tmp_path / "jobs.db")


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


async def test_everything_is_read_as_it_was_written(
    store: SqliteStore, written: dict[str, Any]
) -> None:
    found = await read(store)
    assert not list(store.path.parent.glob("*damaged*"))
    for job, before in zip(found["jobs"], written["jobs"], strict=True):
        assert job == {name: ADDED[name] for name in job.keys() - before.keys()} | before
    written["totals"] = [
        [name, labels, *rest]
        for name, labels, *rest in written["totals"]
        if name not in MODE_ADDED or "mode" in dict(labels)
    ]
    for part in written.keys() - {"jobs"}:
        assert found[part] == written[part], part


def test_the_database_has_jobs_of_every_kind(written: dict[str, Any]) -> None:
    jobs = written["jobs"]
    assert written["by_state"].keys() == {*ENDED, "pending"}
    assert any(job["suspicion"] for job in jobs)
    assert any(job["labels"] and job["key"] for job in jobs)
    assert any(job["key"] and job["state"] == "pending" for job in jobs)
    assert {"registered", "finished", "forgotten", "warning_raised"} <= {
        kind for _, kind, *_ in written["history"]
    }
    for part in ("final_answers", "totals", "failures", "unresolved"):
        assert written[part], part


def test_one_of_the_databases_has_each_rare_thing_that_an_upgrade_could_lose() -> None:
    documents = [read_written(version) for version in VERSIONS]
    jobs = [job for document in documents for job in document["jobs"]]
    suspected = {job["suspicion"]["kind"] for job in jobs if job["suspicion"]}
    assert suspected == {"server_error", "not_found"}
    assert any(len(job["sources"]) == 2 for job in jobs)
    assert any(
        job["reported_warnings"] and job["reported_ignored"] and job["reported_drift"]
        for job in jobs
    )
    assert any(document.get("healthy_time", 0) > 0 for document in documents)


async def test_the_counters_resume_within_the_hour_and_not_after_it(
    store: SqliteStore, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as database:
        [[left_at]] = database.execute("SELECT value FROM meta WHERE name = 'alive_at'")

    async def totals(time: float) -> Any:
        return (await store.load(LoadRequest(time, 0.0, 3600.0, layout(["shop"])))).totals

    assert await totals(left_at + 3500.0)
    assert not await totals(left_at + 2 * 3600.0 + 3500.0)


async def test_an_exporter_starts_with_it(path: Path, written: dict[str, Any]) -> None:
    document = {
        "upstream": {"base_url": "http://127.0.0.1:9", "api_key_env": "KEY"},
        "storage": {"path": str(path), "retention": "87000h"},
    }
    config = parse_config(yaml.safe_dump(document), directory=path.parent, environ={"KEY": "k"})
    exporter = Exporter(config)
    await exporter.start()
    try:
        by_state = {state.value: number for state, number in exporter.registry.by_state.items()}
        assert {state: number for state, number in by_state.items() if number} == (
            written["by_state"]
        )
        for before in written["jobs"]:
            job = await exporter.registry.get(before["job_id"])
            assert job is not None
            assert job.state == before["state"]
    finally:
        await exporter.stop()
