"""The write-ahead log or its index is cut short while the database is in use."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest
from databases import known, left_by_kill, opened, put
from support import START, job

from exporter.core.events import Event, EventType
from exporter.core.tally import Delta
from exporter.storage import recent_commits
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import Change, HistoryRequest, StoreError


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


async def put_counted(store: SqliteStore, name: str) -> None:
    """Register a job with an event and a count."""
    event = Event(EventType.REGISTERED, name, START)
    await store.apply([Change(job(name, version=1), 0, (event,), (COUNT,))])


COUNT = Delta("registered", (), 1)


def set_aside(path: Path) -> list[str]:
    return [one.name for one in path.parent.iterdir() if "damaged" in one.name]


@pytest.mark.parametrize("left", [0, 10, 32, 5000, 30_000])
async def test_a_log_that_is_cut_short_loses_nothing(tmp_path: Path, left: int) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    for name in "abc":
        await put(store, name)
    assert log_of(path).stat().st_size > left
    os.truncate(log_of(path), left)
    await put(store, "d")
    await put(store, "e")
    assert await known(left_by_kill(path), *"abcde") == "abcde"
    await store.close()
    assert await known(path, *"abcde") == "abcde"
    assert set_aside(path) == []


async def test_events_keep_their_ids_and_counts_are_not_doubled(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    for name in "abc":
        await put_counted(store, name)
    before = await store.history(HistoryRequest(10))
    os.truncate(log_of(path), 0)
    assert await store.history(HistoryRequest(10)) == before
    await put_counted(store, "d")
    history = await store.history(HistoryRequest(10))
    assert history[:3] == before
    assert history[3].id == before[-1].id + 1
    assert await store.database.read(
        lambda database: database.execute("SELECT sum(amount) FROM totals").fetchone()
    ) == (4,)
    await store.close()


async def test_what_was_copied_into_the_database_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put_counted(store, "a")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint")
    os.truncate(log_of(path), 0)
    await put_counted(store, "b")
    assert len(await store.history(HistoryRequest(10))) == 2
    assert await known(left_by_kill(path), *"ab") == "ab"
    await store.close()


async def test_a_log_that_another_program_emptied_by_a_checkpoint_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert log_of(path).stat().st_size == 0
    await put(store, "b")
    assert "cut short" not in caplog.text
    assert await known(left_by_kill(path), *"ab") == "ab"
    await store.close()


async def test_a_log_that_is_cut_short_just_before_the_stop_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    os.truncate(log_of(path), 0)
    await store.close()
    assert await known(path, "a") == "a"


async def test_a_commit_during_which_the_log_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    cuts = [lambda: None, lambda: os.truncate(log_of(path), 0)]
    store = SqliteStore(path, before_commit=lambda: cuts.pop(0)() if cuts else None)
    await store.open()
    await put(store, "a")
    with pytest.raises(StoreError, match="cut short"):
        await put(store, "b")
    await put(store, "c")
    assert await known(left_by_kill(path), *"abc") == "ac"
    await store.close()


@pytest.mark.slow  # each refused write takes SQLite ten seconds, which no setting makes shorter
async def test_what_was_lost_is_written_as_soon_as_the_disk_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path, busy_seconds=0.05)
    await store.open()
    await put(store, "a")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        os.truncate(log_of(path), 0)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StoreError):
                await put(store, "b")
        other.execute("ROLLBACK")
    await put(store, "b")
    assert await known(left_by_kill(path), *"ab") == "ab"
    await store.close()


async def test_a_log_too_long_to_keep_in_memory_is_an_error_until_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.db"
    monkeypatch.setattr(recent_commits, "MAX_LOG_BYTES", 20_000)
    store = await opened(path)
    for name in "abc":
        await put(store, name)
    os.truncate(log_of(path), 9000)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"was cut short, .* restart the exporter"):
            await put(store, "d")
    await store.close()
    assert "d" not in await known(path, *"abcd")
    assert set_aside(path) == []


@pytest.mark.parametrize("left", [0, 100, 5000])
async def test_an_index_that_is_cut_short_loses_nothing(tmp_path: Path, left: int) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    os.truncate(path.with_name("jobs.db-shm"), left)
    assert list(await store.get(["a"])) == ["a"]
    os.truncate(path.with_name("jobs.db-shm"), left)
    await put(store, "b")
    assert await known(left_by_kill(path), *"ab") == "ab"
    await store.close()
    assert await known(path, *"ab") == "ab"


async def test_another_index_in_place_of_ours_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    (tmp_path / "other").write_bytes(b"?" * 40_000)
    (tmp_path / "other").rename(path.with_name("jobs.db-shm"))
    await put(store, "b")
    assert await known(left_by_kill(path), *"ab") == "ab"
    await store.close()


async def test_what_our_log_had_survives_a_kill_when_another_log_is_in_its_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    (tmp_path / "other").write_bytes(b"")
    (tmp_path / "other").rename(log_of(path))
    with pytest.raises(StoreError, match="another file is in its place"):
        await put(store, "b")
    assert await known(left_by_kill(path), "a") == "a"
    await store.close()


async def test_a_disk_that_does_not_take_a_size_back_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any other error it would drop the changes: none of them could ever be stored."""
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    index = path.with_name("jobs.db-shm")

    def full(file: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    cut_short = os.truncate
    with monkeypatch.context() as patch:
        cut_short(index, 16384)
        patch.setattr(os, "truncate", full)
        with pytest.raises(StoreError, match=r"jobs\.db: Input/output error"):
            await put(store, "b")
        with pytest.raises(StoreError, match=r"jobs\.db: Input/output error"):
            await store.get(["a"])
    await put(store, "c")
    cut_short(index, 16384)
    monkeypatch.setattr(os, "truncate", full)
    await store.close()
    monkeypatch.undo()
    with pytest.raises(StoreError):
        await store.get(["a"])
    assert await known(path, *"abc") == "ac"
