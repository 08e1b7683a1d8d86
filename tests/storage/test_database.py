"""Opening the SQLite file: whose it is, and what is wrong with it."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import execute, running

from exporter.storage.schema import APPLICATION_ID, SCHEMA_VERSION
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import StoreUnusableError


async def refusal(path: Path) -> str:
    store = SqliteStore(path, busy_seconds=0.05)
    with pytest.raises(StoreUnusableError) as caught:
        await store.open()
    return str(caught.value)


async def make(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()


async def test_a_new_file_is_marked_as_ours_and_safe_against_power_cuts(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    await store.open()

    async def pragma(name: str) -> object:
        return await store.database.read(
            lambda database: database.execute(f"PRAGMA {name}").fetchone()[0]
        )

    assert await pragma("application_id") == APPLICATION_ID
    assert await pragma("user_version") == SCHEMA_VERSION
    assert await pragma("journal_mode") == "wal"
    assert await pragma("synchronous") == 2
    await store.close()


async def test_two_exporters_never_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    await store.open()
    assert await refusal(path) == (
        f"{path}: in use by another removit-exporter; each needs a file of its own"
    )
    await store.close()
    await make(path)


async def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "foreign.db"
    execute(path, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);")
    before = path.read_bytes()
    assert "a database of another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_not_a_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("not a database at all, but a letter to a friend\n" * 50)
    before = path.read_bytes()
    assert "file is not a database; it was not changed" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await make(path)
    execute(path, "PRAGMA user_version = 99")
    assert "written by a newer removit-exporter (schema 99" in await refusal(path)


async def test_the_error_of_a_locked_database_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await make(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "database is locked: another process holds it" in await refusal(path)
    other.close()
    await make(path)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "jobs.db"
    refused = await refusal(path)
    assert refused.startswith(f"{path}: No such file or directory: the folder {path.parent} ")


async def test_a_folder_a_pipe_and_a_device_are_refused_and_get_no_lock(tmp_path: Path) -> None:
    folder, pipe, link = (tmp_path / name for name in ("folder", "pipe", "link"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    assert await refusal(folder) == f"{folder}: a folder; storage.path must name a file"
    for path in (pipe, link):
        assert await refusal(path) == f"{path}: a device or a pipe; storage.path must name a file"
    assert sorted(tmp_path.iterdir()) == sorted((folder, pipe, link))


async def test_a_link_does_not_let_a_second_exporter_in(tmp_path: Path) -> None:
    path, link = tmp_path / "jobs.db", tmp_path / "links" / "other.db"
    link.parent.mkdir()
    link.symlink_to(path)
    store = SqliteStore(link)
    await store.open()
    assert "in use by another removit-exporter" in await refusal(path)
    await store.close()
    assert list(link.parent.iterdir()) == [link]


async def test_a_damaged_file_behind_a_link_is_set_aside_in_its_own_folder(tmp_path: Path) -> None:
    path, link = tmp_path / "jobs.db", tmp_path / "link.db"
    link.symlink_to(path)
    await make(link)
    damage(path)
    store = SqliteStore(link)
    set_aside = await store.open()
    await store.close()
    assert set_aside is not None
    assert set_aside.moved_to == f"{path}.damaged-1"
    assert link.is_symlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of a megabyte; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("needs the right to mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("left_by_a_kill", [False, True])
async def test_a_full_disk_is_named_with_what_to_do(small_disk: Path, left_by_a_kill: bool) -> None:
    path = small_disk / "jobs.db"
    await make(path)
    if left_by_a_kill:
        with running(path, "a"):
            pass
        path.with_name("jobs.db-shm").unlink()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    said = await refusal(path)
    assert said.endswith(f": the disk of {small_disk} is full; make room there")
    filler.unlink()
    await make(path)


def damage(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xa5" * (size - 4096 * 2))
    return path.read_bytes()


async def test_a_damaged_file_is_set_aside_and_never_deleted(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    for number in (1, 2):
        await make(path)
        content = damage(path)
        store = SqliteStore(path)
        set_aside = await store.open()
        assert set_aside is not None
        assert set_aside.damage
        assert set_aside.moved_to == f"{path}.damaged-{number}"
        assert Path(set_aside.moved_to).read_bytes()[4096:] == content[4096:]
        assert await store.get(["a"]) == {}
        await store.close()
