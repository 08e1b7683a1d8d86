"""The report of `check-storage` about a database, which it leaves unchanged."""

import os
import sqlite3
from pathlib import Path

import pytest
from databases import execute, make_backup, opened, put, running

from exporter.storage.inspection import MAX_LINES, inspect
from exporter.storage.schema import SCHEMA_VERSION, UPGRADES
from exporter.storage.store import StoreUnusableError


def contents(folder: Path) -> dict[str, bytes]:
    """Return each file, except the log's index, which SQLite can rebuild."""
    return {
        part.name: part.read_bytes()
        for part in folder.iterdir()
        if part.is_file() and not part.name.endswith("-shm")
    }


def inspected(path: Path) -> list[str]:
    """Inspect, and see that nothing was changed."""
    before = contents(path.parent)
    try:
        return inspect(path)
    finally:
        assert contents(path.parent) == before


async def make(path: Path, *names: str) -> None:
    store = await opened(path)
    await put(store, *names)
    await store.close()


async def test_a_whole_database_is_whole_with_and_without_its_log(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await make(path, "a")
    assert inspected(path) == []
    with running(path, "b"):
        pass
    assert inspected(path) == []
    path.with_name("jobs.db-shm").unlink()
    assert inspected(path) == []
    path.with_name("jobs.db.lock").unlink()
    assert inspected(path) == []


async def test_the_content_of_the_log_is_inspected(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await make(path, "a")
    with running(path, "b"):
        other = sqlite3.connect(path)
        other.execute("UPDATE jobs SET document = '{' WHERE job_id = 'b'")
        other.commit()
        other.close()
    assert path.with_name("jobs.db-wal").stat().st_size
    [line] = inspected(path)
    assert "job b: damaged" in line


async def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with pytest.raises(StoreUnusableError, match=r"jobs\.db: no such file"):
        inspect(path)
    assert not list(tmp_path.iterdir())


async def test_an_empty_file_does_not_become_a_database(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    assert inspected(path) == ["the file is empty"]


async def test_the_log_of_an_emptied_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with running(path, "a"):
        pass
    os.truncate(path, 0)
    assert inspected(path) == [
        "the file is empty, and its write-ahead log is not: it was cut short"
    ]
    path.unlink()
    assert inspected(path) == ["the file is gone, and its write-ahead log is left"]


async def test_the_log_of_another_database_is_reported_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    backup = await make_backup(path, "a")
    with running(path, "b"):
        backup.replace(path)
    assert inspected(path) == ["jobs.db-wal is the log of another database"]


async def test_damaged_pages_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await make(path, *(f"{number}" for number in range(100)))
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xa5" * 4096)
    assert inspected(path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE jobs SET document = '{' WHERE job_id = 'b'", "jobs, row 2: job b: damaged: JSON"),
        ("UPDATE jobs SET state = 'done' WHERE job_id = 'b'", "jobs, row 2: job b: state done and"),
        ("INSERT INTO events VALUES (7, 1, 0, 'registered', '3')", "events, row 7: damaged: Attri"),
        ("INSERT INTO events VALUES (7, 1, 0, 'regist', '{}')", "events, row 7: unknown type: reg"),
        ("INSERT INTO totals VALUES ('t', '[', -1, 1)", "totals of t: damaged: JSONDecodeError"),
        (
            "INSERT INTO failures VALUES (7, 'k', 1, 'a', 'failed', 0, NULL, '{')",
            "failures, row 7: damaged: JSONDecodeError",
        ),
        (
            "INSERT INTO failures VALUES (7, 'k', 1, 'a', 'fai', 0, NULL, '{}')",
            "failures, row 7: unknown state: fai",
        ),
    ],
)
async def test_a_damaged_row_is_reported(tmp_path: Path, damage: str, told: str) -> None:
    path = tmp_path / "jobs.db"
    await make(path, "a", "b", "c")
    execute(path, damage)
    [line] = inspected(path)
    assert line.startswith(told)


async def test_a_long_report_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await make(path, *(f"{number}" for number in range(MAX_LINES + 5)))
    execute(path, "UPDATE jobs SET document = '{'")
    lines = inspected(path)
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "and more"


async def test_an_older_database_is_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await make(path, "a")
    execute(path, "DROP TABLE failures; PRAGMA user_version = 1")
    assert SCHEMA_VERSION == len(UPGRADES) > 1
    assert inspected(path) == []


async def test_a_file_that_cannot_be_inspected_is_refused_with_the_reason(tmp_path: Path) -> None:
    path, foreign, text = (tmp_path / name for name in ("jobs.db", "foreign.db", "text.db"))
    execute(foreign, "CREATE TABLE theirs (x)")
    text.write_text("not a database at all, but a letter to a friend\n" * 50)
    for file, why in (
        (foreign, "a database of another program"),
        (text, "file is not a database; it was not changed"),
        (tmp_path, "a folder; storage.path must name a file"),
    ):
        with pytest.raises(StoreUnusableError, match=why):
            inspect(file)
    store = await opened(path)
    with pytest.raises(StoreUnusableError, match="in use by another removit-exporter"):
        inspect(path)
    await store.close()
    assert inspected(path) == []
