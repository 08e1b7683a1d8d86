"""Behaviour of the SQLite store alone; `test_store.py` has the behaviour of every store."""

import sqlite3
from pathlib import Path

import pytest
from databases import put
from support import job

from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import Change, StoreError


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    with pytest.raises(StoreError, match="not open"):
        await store.get(["a"])
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="has ended"):
        await store.get(["a"])


async def test_a_failure_before_the_commit_leaves_nothing(tmp_path: Path) -> None:
    failing = False

    def fail() -> None:
        if failing:
            raise sqlite3.OperationalError("disk I/O error")

    store = SqliteStore(tmp_path / "jobs.db", before_commit=fail)
    await store.open()
    failing = True
    with pytest.raises(StoreError, match=r"jobs\.db: disk I/O error"):
        await store.apply([Change(job("a", version=1))])
    failing = False
    assert await store.get(["a"]) == {}
    await put(store, "a")
    await store.close()


async def test_a_deadline_bounds_the_wait_for_a_file_that_another_process_locks(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path, busy_seconds=600.0)
    await store.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.set_deadline(0.05)
    for _ in range(2):  # the deadline is one for all transactions
        with pytest.raises(StoreError, match="database is locked"):
            await put(store, "a")
    other.close()
    await put(store, "a")
    await store.close()
