"""Databases on the disk: ours, and those that another process holds until it is killed."""

import asyncio
import contextlib
import multiprocessing
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from support import job

from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import Accepted, Change


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    return store


async def put(store: SqliteStore, *names: str) -> None:
    results = await store.apply([Change(job(name, version=1)) for name in names])
    assert all(isinstance(result, Accepted) for result in results)


async def known(path: Path, *names: str) -> str:
    store = await opened(path)
    found = await store.get(names)
    await store.close()
    return "".join(sorted(found))


def left_by_kill(path: Path) -> Path:
    """Return the database as kill -9 would leave it now: what has a name, and nothing else."""
    folder = path.with_name("killed")
    folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            # By another process: closing the file in this one would drop SQLite's locks.
            copier = multiprocessing.get_context("spawn").Process(
                target=shutil.copy, args=(part, folder)
            )
            copier.start()
            copier.join()
            assert copier.exitcode == 0
    return folder / path.name


def hold(path: Path, names: Sequence[str], ready: Event) -> None:
    """Be an exporter that has taken jobs in, until it is killed."""

    async def run() -> None:
        store = await opened(path)
        await put(store, *names)
        ready.set()
        await asyncio.Event().wait()

    asyncio.run(run())


@contextlib.contextmanager
def running(path: Path, *names: str) -> Iterator[None]:
    """Have another process hold the database; it is killed at the end."""
    with in_another_process(hold, path, names):
        yield


@contextlib.contextmanager
def in_another_process(work: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Have another process do `work(*arguments, ready)`; once it is ready, go on, then kill it."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=work, args=(*arguments, ready))
    process.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        process.kill()
        process.join()


async def make_backup(path: Path, *names: str) -> Path:
    backup = path.with_name("backup.db")
    store = await opened(backup)
    await put(store, *names)
    await store.close()
    return backup


def execute(path: Path, script: str) -> None:
    """Run SQL on a database that nobody has open."""
    database = sqlite3.connect(path)
    database.executescript(script)
    database.close()
