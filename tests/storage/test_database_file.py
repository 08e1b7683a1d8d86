"""Other programs change the database's files while it is in use, or between two starts."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from databases import known, left_by_kill, make_backup, opened, put, running

from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import SetAside, StoreError, StoreUnusableError


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
async def test_jobs_acknowledged_after_the_log_was_removed_survive_a_kill(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    path.with_name(path.name + suffix).unlink()
    await put(store, "b")
    await put(store, "c")
    assert await known(left_by_kill(path), "a", "b", "c") == "abc"
    assert await store.database.read(
        lambda database: database.execute("PRAGMA synchronous").fetchone()
    ) == (2,)
    await store.close()
    assert await known(path, "a", "b", "c") == "abc"


async def test_no_acknowledged_job_is_lost_when_a_removed_log_is_being_read(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path, busy_seconds=0.05)
    await store.open()
    await put(store, "a")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM jobs").fetchall()
    await put(store, "b")
    path.with_name("jobs.db-wal").unlink()
    with pytest.raises(StoreError, match=r"jobs\.db-wal: removed while it was in use, and another"):
        await put(store, "c")
    reader.execute("ROLLBACK")
    await put(store, "d")
    reader.close()
    assert await known(left_by_kill(path), "a", "b", "c", "d") == "abd"
    await store.close()


@pytest.mark.parametrize("read_by_another", [False, True])
@pytest.mark.parametrize("step", ["_connect", "_begin_log", "_watch"])
async def test_a_log_that_cannot_be_begun_again_at_once_is_begun_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, read_by_another: bool
) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    reader = sqlite3.connect(path)
    if read_by_another:  # then a new log stays where it is when the exporter closes it
        reader.execute("SELECT * FROM jobs").fetchall()
    path.with_name("jobs.db-wal").unlink()

    def fails() -> None:
        raise sqlite3.OperationalError("unable to open database file")

    with monkeypatch.context() as patch:
        patch.setattr(store.database, step, fails)
        for name in "bc":
            with pytest.raises(StoreError, match="unable to open database file"):
                await put(store, name)
    await put(store, "d")
    reader.close()
    assert await known(left_by_kill(path), *"abcd") == "ad"
    await store.close()
    assert await known(path, *"abcd") == "ad"


async def test_another_log_in_place_of_ours_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, "a")
    path.with_name("other").write_bytes(b"")
    path.with_name("other").rename(path.with_name("jobs.db-wal"))
    with pytest.raises(StoreError, match=r"jobs\.db-wal: another file is in its place"):
        await put(store, "b")
    await store.close()


@pytest.mark.parametrize("size", [0, 4096])
async def test_a_truncated_file_is_a_store_error(tmp_path: Path, size: int) -> None:
    path = tmp_path / "jobs.db"
    await (await opened(path)).close()
    store = await opened(path)
    await put(store, "a")
    os.truncate(path, size)
    with pytest.raises(StoreError, match=rf"it was cut short, from \d+ to {size} bytes"):
        await put(store, "b")
    await store.close()


async def test_a_file_that_sqlite_shrank_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    await put(store, *(f"{number}" for number in range(500)))
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    await put(store, "a")
    before = path.stat().st_size
    other.execute("DELETE FROM jobs WHERE job_id <> 'a'")
    other.execute("VACUUM")
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert path.stat().st_size < before
    await put(store, "b")
    other.close()
    await store.close()
    assert await known(path, "a", "b") == "ab"


async def test_a_backup_put_in_place_while_an_exporter_runs_survives_its_kill(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"
    backup = await make_backup(path, "a", "b")
    with running(path, "c"):
        backup.replace(path)
        log = path.with_name("jobs.db-wal").read_bytes()
    assert await known(path, "a", "b", "c") == "ab"
    assert "a write-ahead log that is not of the database beside it was set aside" in caplog.text
    assert path.with_name("jobs.db.replaced-1-wal").read_bytes() == log


async def test_a_backup_put_in_place_while_an_exporter_runs_survives_its_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"
    backup = await make_backup(path, "a", "b")
    store = await opened(path)
    await put(store, "c")
    former = path.rename(tmp_path / "former.db")
    backup.replace(path)
    with pytest.raises(StoreError, match="stop the exporter, and only then replace the file"):
        await put(store, "d")
    await store.close()
    assert await known(path, "a", "b", "c", "d") == "ab"
    assert await known(former, "a", "b", "c", "d") == "c"
    assert "was set aside" in caplog.text
    assert path.with_name("jobs.db.replaced-1-wal").exists()


async def test_a_log_that_cannot_be_set_aside_at_the_stop_is_set_aside_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"
    backup = await make_backup(path, "a", "b")
    store = await opened(path)
    await put(store, "c")
    backup.replace(path)

    def fails(part: Path, target: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", fails)
        await store.close()
    assert "a stray log stays" in caplog.text
    assert "Read-only file system" in caplog.text
    assert await known(path, "a", "b", "c") == "ab"
    assert path.with_name("jobs.db.replaced-1-wal").exists()


async def test_a_backup_with_its_own_log_put_in_place_while_an_exporter_runs_stays_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, backup = tmp_path / "jobs.db", tmp_path / "backup.db"
    with running(backup, "a", "b"):
        pass
    store = await opened(path)
    await put(store, "c")
    for suffix in ("", "-wal", "-shm"):
        backup.with_name(backup.name + suffix).replace(path.with_name(path.name + suffix))
    await store.close()
    assert await known(path, "a", "b", "c") == "ab"
    assert "set aside" not in caplog.text


async def test_the_log_of_another_database_is_not_replayed_over_ours(tmp_path: Path) -> None:
    path, other = tmp_path / "jobs.db", tmp_path / "other.db"
    with running(other, "a", "b"):
        pass
    store = await opened(path)
    await put(store, "c")
    log = other.with_name("other.db-wal").replace(path.with_name("jobs.db-wal")).read_bytes()
    await store.close()
    assert await known(path, "a", "b", "c") == "c"
    assert path.with_name("jobs.db.replaced-1-wal").read_bytes() == log


@pytest.mark.parametrize("suffixes", [("", "-wal", ".lock"), ("", "-wal")])
async def test_a_copy_of_a_database_and_its_log_keeps_the_content_of_the_log(
    tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    path, copy = tmp_path / "jobs.db", tmp_path / "copy" / "jobs.db"
    with running(path, "a"):
        pass
    copy.parent.mkdir()
    for suffix in suffixes:
        shutil.copy(path.with_name(path.name + suffix), copy.parent)
    assert await known(copy, "a") == "a"
    assert await known(path, "a") == "a"


async def test_a_file_that_was_emptied_is_set_aside_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with running(path, "a"):
        pass
    log = path.with_name("jobs.db-wal").read_bytes()
    os.truncate(path, 0)
    store = SqliteStore(path)
    damage = "the file is empty, and its write-ahead log is not: it was cut short"
    assert await store.open() == SetAside(str(path), f"{path}.damaged-1", damage)
    assert path.with_name("jobs.db.damaged-1-wal").read_bytes() == log
    await put(store, "b")
    await store.close()


async def test_a_log_without_its_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with running(path, "a"):
        pass
    log = path.with_name("jobs.db-wal").read_bytes()
    path.unlink()
    store = SqliteStore(path)
    damage = "the file is gone, and its write-ahead log is left"
    assert await store.open() == SetAside(str(path), f"{path}.damaged-1", damage)
    assert path.with_name("jobs.db.damaged-1-wal").read_bytes() == log
    await put(store, "b")
    await store.close()


async def test_a_log_that_a_killed_start_set_aside_is_not_overwritten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.db"
    path.with_name("jobs.db.damaged-1-wal").write_text("left alone")
    with running(path, "a"):
        pass
    os.truncate(path, 0)
    store = SqliteStore(path)
    set_aside = await store.open()
    await store.close()
    assert set_aside is not None
    assert set_aside.moved_to == f"{path}.damaged-2"
    assert path.with_name("jobs.db.damaged-1-wal").read_text() == "left alone"


async def test_the_log_of_a_damaged_file_is_moved_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with running(path, "a"):
        pass
    moved: list[str] = []
    real = Path.rename

    def rename(part: Path, target: Path) -> Path:
        moved.append(part.name)
        return real(part, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        os.truncate(path, 0)
        await (await opened(path)).close()
    assert moved.index("jobs.db-wal") < moved.index("jobs.db")


async def test_the_log_of_a_damaged_file_is_kept_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await (await opened(path)).close()
    with running(path, "a"):
        pass
    log = path.with_name("jobs.db-wal").read_bytes()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    store = SqliteStore(path)
    assert await store.open() is not None
    await store.close()
    assert path.with_name("jobs.db.damaged-1-wal").read_bytes() == log


async def test_a_lock_that_was_removed_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = await opened(path)
    lock = path.with_name("jobs.db.lock")
    note = lock.read_text()
    lock.unlink()
    await put(store, "a")
    assert lock.read_text() == note
    with pytest.raises(StoreUnusableError, match="in use by another"):
        await opened(path)
    await store.close()


async def test_if_a_second_exporter_got_in_only_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    first = await opened(path)
    await put(first, "a")
    path.with_name("jobs.db.lock").unlink()
    second = await opened(path)
    await put(second, "b")
    for name in ("c", "d"):
        with pytest.raises(StoreError, match="in use by another"):
            await put(first, name)
    await put(second, "e")
    await second.close()
    await put(first, "f")
    await first.close()
    assert await known(path, *"abcdef") == "abef"


async def test_a_lock_that_is_a_link_is_refused_and_the_file_behind_it_stays(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "jobs.db.lock").symlink_to(victim)
    with pytest.raises(StoreUnusableError, match=r"symbolic links"):
        await opened(tmp_path / "jobs.db")
    assert victim.read_text() == "precious"


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


async def test_no_other_account_can_read_the_database(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = await opened(tmp_path / "jobs.db")
        await put(store, "a")
        names = ("jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db.lock")
        assert modes(tmp_path) == dict.fromkeys(names, "0o600")
        await store.close()
        (tmp_path / "jobs.db").chmod(0o644)
        store = await opened(tmp_path / "jobs.db")
        assert modes(tmp_path)["jobs.db"] == "0o640"
        await store.close()
    finally:
        os.umask(before)
