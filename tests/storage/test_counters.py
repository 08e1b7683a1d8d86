"""Counters continue only on the very database that was in use at the last stop or kill."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from multiprocessing.synchronize import Event as ProcessEvent
from pathlib import Path

import pytest
from databases import execute, in_another_process
from support import START

from exporter.core.events import Event, EventType
from exporter.core.tally import Delta
from exporter.storage.note import NOTE_BYTES, Note, load_note
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import Change, LoadRequest, StoreError

LATER = START + 60.0


async def started(path: Path, time: float = START) -> tuple[SqliteStore, float]:
    """Start an exporter's store; return it and where its counter begins."""
    path.parent.mkdir(exist_ok=True)
    store = SqliteStore(path)
    await store.open()
    snapshot = await store.load(LoadRequest(time, 0.0, 3600.0, "one"))
    return store, sum(total.amount for total in snapshot.totals)


async def count(store: SqliteStore, times: int) -> None:
    for _ in range(times):
        event = Event(EventType.FINISHED, None, START, {})
        await store.apply([Change(None, events=(event,), deltas=(Delta("x_total", ()),))])


async def run(path: Path, times: int) -> float:
    """Run an exporter that counts, from its start to a clean stop; return where it began."""
    store, began_at = await started(path, LATER)
    await count(store, times)
    await store.close()
    return began_at


def hold(path: Path, times: int, ready: ProcessEvent) -> None:
    async def count_and_wait() -> None:
        store, _ = await started(path)
        await count(store, times)
        ready.set()
        await asyncio.Event().wait()

    asyncio.run(count_and_wait())


def run_and_kill(path: Path, times: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Run an exporter in another process, and end it with kill -9."""
    with in_another_process(hold, path, times):
        meanwhile()


def back_up(path: Path) -> Path:
    """Make a copy as `sqlite3 jobs.db ".backup copy.db"` does."""
    backup = path.with_name("backup.db")
    restore(path, backup)
    return backup


def put_in_place(backup: Path, path: Path) -> None:
    backup.rename(path)


def overwrite(backup: Path, path: Path) -> None:
    inode = path.stat().st_ino
    shutil.copyfile(backup, path)
    assert path.stat().st_ino == inode


def restore(backup: Path, path: Path) -> None:
    """Do what `sqlite3 jobs.db ".restore backup.db"` does."""
    source, target = sqlite3.connect(backup), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "jobs.db"


async def test_counters_continue_after_clean_stops(path: Path) -> None:
    assert [await run(path, times) for times in (3, 0, 4, 0)] == [0, 3, 3, 7]


async def test_counters_continue_after_kills(path: Path) -> None:
    run_and_kill(path, 3)
    run_and_kill(path, 0)
    assert await run(path, 2) == 3
    run_and_kill(path, 4)
    assert await run(path, 0) == 9


@pytest.mark.parametrize("how", [put_in_place, overwrite, restore])
async def test_a_backup_that_lacks_counts_begins_at_zero(
    path: Path, how: Callable[[Path, Path], None]
) -> None:
    store, _ = await started(path)
    await count(store, 3)
    backup = back_up(path)
    await count(store, 1)
    await store.close()
    how(backup, path)
    assert await run(path, 2) == 0
    assert await run(path, 0) == 2


async def test_a_backup_put_in_place_after_a_kill_begins_at_zero(path: Path) -> None:
    backups: list[Path] = []
    run_and_kill(path, 3, lambda: backups.append(back_up(path)))
    assert await run(path, 1) == 3
    put_in_place(backups[0], path)
    assert await run(path, 0) == 0


async def test_a_backup_of_all_that_was_counted_continues(path: Path) -> None:
    await run(path, 3)
    put_in_place(back_up(path), path)
    assert await run(path, 0) == 3


async def test_the_former_database_begins_at_zero_after_a_backup_was_in_use(path: Path) -> None:
    await run(path, 3)
    backup, former = back_up(path), path.with_name("former.db")
    await run(path, 4)
    path.rename(former)
    put_in_place(backup, path)
    assert await run(path, 1) == 0
    put_in_place(former, path)
    assert await run(path, 0) == 0


async def test_the_database_of_another_exporter_begins_at_zero(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "jobs.db"
    await run(path, 3)
    await run(other, 50)
    put_in_place(other, path)
    assert await run(path, 0) == 0


@pytest.mark.parametrize("moved", [True, False])
async def test_counters_continue_in_a_folder_that_was_moved_or_copied_whole(
    path: Path, tmp_path: Path, moved: bool
) -> None:
    run_and_kill(path, 3)
    there = tmp_path / "there"
    if moved:
        path.parent.rename(there)
    else:
        shutil.copytree(path.parent, there)
    assert await run(there / path.name, 0) == 3


async def test_a_database_that_was_moved_without_its_lock_file_begins_at_zero(
    path: Path, tmp_path: Path
) -> None:
    await run(path, 3)
    assert await run(path.rename(tmp_path / "alone.db"), 0) == 0


async def test_a_folder_that_was_copied_piece_by_piece_while_in_use_begins_at_zero(
    path: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there.db"
    store, _ = await started(path)
    await count(store, 3)
    shutil.move(back_up(path), there)
    await count(store, 1)
    shutil.copy(path.with_name("jobs.db.lock"), tmp_path / "there.db.lock")
    await store.close()
    assert await run(there, 0) == 0


async def test_a_backup_put_in_place_while_the_exporter_runs_begins_at_zero(path: Path) -> None:
    store, _ = await started(path)
    await count(store, 3)
    backup = back_up(path)
    await count(store, 1)
    put_in_place(backup, path)
    with pytest.raises(StoreError, match="another file is in its place"):
        await count(store, 1)
    await store.close()
    assert await run(path, 0) == 0


async def test_a_lock_file_that_was_removed_while_in_use_costs_no_count(path: Path) -> None:
    store, _ = await started(path)
    await count(store, 3)
    path.with_name("jobs.db.lock").unlink()
    await count(store, 1)
    await store.close()
    assert await run(path, 0) == 4


async def test_a_lock_file_that_was_removed_between_two_starts_begins_at_zero(path: Path) -> None:
    await run(path, 3)
    path.with_name("jobs.db.lock").unlink()
    assert await run(path, 0) == 0


async def test_a_commit_that_fails_is_not_noted(path: Path) -> None:
    def fail() -> None:
        if failing:
            raise sqlite3.OperationalError("database or disk is full")

    failing = False
    path.parent.mkdir()
    store = SqliteStore(path, before_commit=fail)
    await store.open()
    await store.load(LoadRequest(START, 0.0, 3600.0, "one"))
    await count(store, 3)
    failing = True
    with pytest.raises(StoreError, match="full"):
        await count(store, 1)
    failing = False
    await store.close()
    assert await run(path, 0) == 3


def test_a_note_is_read_back_and_always_as_long() -> None:
    for note in (Note(), Note((1, 2, 3, 4), "a" * 32, 10**12), Note((2**64, 2**64, 2**64, 2**64))):
        assert load_note(note.dump()) == note
        assert len(note.dump()) == NOTE_BYTES


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("", Note()),
        ("[1, 2, 3, 4]", Note((1, 2, 3, 4))),  # of a former version
        ("[1, 2]", Note()),
        ("7", Note()),
        ("{}", Note()),
        ("\0" * NOTE_BYTES, Note()),
        (json.dumps({"open": ["a", 2, 3, 4], "counters": 7, "newest_event": "x"}), Note()),
    ],
)
def test_a_note_of_a_former_version_or_of_nobody(text: str, note: Note) -> None:
    assert load_note(text.encode()) == note


async def test_a_database_of_a_former_version_continues_and_over_a_newer_one_begins_at_zero(
    path: Path,
) -> None:
    await run(path, 3)
    execute(path, "DELETE FROM meta WHERE name = 'counters'")
    former = shutil.copy(path, path.with_name("former.db"))
    assert await run(path, 0) == 0
    path.with_name("jobs.db.lock").write_text("")
    put_in_place(Path(former), path)
    assert await run(path, 0) == 3
