"""A place that no exporter could use for its database is known before one starts."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from databases import known, left_by_kill, opened, put

from exporter.storage.opening import explain
from exporter.storage.place import NotHereError, check_usable
from exporter.storage.schema import SCHEMA_VERSION
from exporter.storage.store import StoreUnusableError


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


async def made_by_an_exporter(path: Path) -> None:
    await (await opened(path)).close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "a folder; storage.path must name a file"),
        (os.mkfifo, "a device or a pipe; storage.path must name a file"),
        (lambda path: path.write_bytes(b"text " * 1000), "file is not a database; it was not"),
        (lambda path: execute(path, "CREATE TABLE theirs (x)"), "a database of another program"),
        (lambda path: path.with_name("jobs.db.lock").mkdir(), "its lock jobs.db.lock is not a"),
        (lambda path: path.with_name("jobs.db.lock").symlink_to("x"), "its lock jobs.db.lock is"),
        (lambda path: os.mkfifo(path.with_name("jobs.db.lock")), "its lock jobs.db.lock is not a"),
        (lambda path: path.symlink_to("gone/jobs.db"), "gone does not exist; create it, or"),
        (lambda path: path.symlink_to("x" * 300), "File name too long"),
    ],
)
async def test_what_an_exporter_would_refuse_is_refused_in_its_words_and_stays(
    make: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    make(tmp_path / "jobs.db")
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    with pytest.raises(StoreUnusableError) as caught:
        check_usable(tmp_path / "jobs.db")
    assert str(caught.value).startswith(f"{tmp_path}/jobs.db: ")
    assert reason in str(caught.value)
    assert isinstance(caught.value, NotHereError) == ("gone does not exist" in reason)
    assert {path: path.lstat().st_ino for path in tmp_path.iterdir()} == {
        path: status.st_ino for path, status in before.items()
    }
    with pytest.raises(StoreUnusableError) as refused:
        await opened(tmp_path / "jobs.db")
    assert str(refused.value) == str(caught.value)


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await made_by_an_exporter(tmp_path / "jobs.db")
    execute(tmp_path / "jobs.db", f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreUnusableError, match="written by a newer removit-exporter"):
        check_usable(tmp_path / "jobs.db")


async def test_a_place_that_an_exporter_can_use_is_accepted_and_nothing_is_made_there(
    tmp_path: Path,
) -> None:
    check_usable(tmp_path / "jobs.db")
    assert list(tmp_path.iterdir()) == []
    await made_by_an_exporter(tmp_path / "jobs.db")
    before = set(tmp_path.iterdir())
    check_usable(tmp_path / "jobs.db")
    assert set(tmp_path.iterdir()) == before


async def test_a_database_is_accepted_while_an_exporter_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        check_usable(path)
    await store.close()


async def test_the_log_that_a_killed_exporter_left_stays(tmp_path: Path) -> None:
    store = await opened(tmp_path / "jobs.db")
    await put(store, "a")
    path = left_by_kill(tmp_path / "jobs.db")
    await store.close()
    before = {part.name: part.read_bytes() for part in path.parent.iterdir()}
    check_usable(path)
    assert {part.name: part.read_bytes() for part in path.parent.iterdir()} == before
    assert await known(path, "a") == "a"


def test_a_damaged_database_is_accepted_because_an_exporter_sets_it_aside(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    execute(path, "CREATE TABLE jobs (x)")
    path.write_bytes(path.read_bytes()[:100])
    check_usable(path)


def test_a_file_that_this_user_may_not_write_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    monkeypatch.setattr(os, "access", lambda where, mode: where != path)
    with pytest.raises(NotHereError, match="change its owner or its mode"):
        check_usable(path)
    error = sqlite3.OperationalError("unable to open database file")
    assert explain(error, path).startswith("unable to open database file: this user may not")
    monkeypatch.setattr(os, "access", lambda where, mode: where != tmp_path)
    with pytest.raises(NotHereError, match="a folder that this user may write to"):
        check_usable(path)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", ".lock"])
def test_a_file_next_to_it_that_this_user_may_not_write_is_named(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / f"jobs.db{suffix}"
    part.touch()
    monkeypatch.setattr(os, "access", lambda where, mode: where != part)
    with pytest.raises(NotHereError) as caught:
        check_usable(tmp_path / "jobs.db")
    assert str(caught.value).startswith(f"{part}: Permission denied: this user may not")
