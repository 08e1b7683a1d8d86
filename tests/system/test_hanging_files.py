"""The command ends in time while a file that it reads, or its disk, hangs."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import KEY, TOKEN, until
from processes import Running, running, started
from system_ports import free_port

from exporter.config import ConfigFile

Write = Callable[..., ConfigFile]

FILES_HANG = """
import os, pathlib, time
open_file = os.open

def hang(path, *arguments, **more):
    if pathlib.Path(f"hang-{pathlib.Path(path).name}").exists():
        pathlib.Path("hangs").touch()
        time.sleep(600)
    return open_file(path, *arguments, **more)

os.open = hang
"""
"""A stand-in for a network share that does not answer."""

COMMITS_HANG = """
import pathlib, sqlite3, time

class Connection(sqlite3.Connection):
    def execute(self, statement, *arguments):
        if statement == "COMMIT" and pathlib.Path("hang").exists():
            pathlib.Path("hangs").touch()
            time.sleep(600)
        return super().execute(statement, *arguments)

connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **more: connect(*arguments, factory=Connection, **more)
"""
"""A stand-in for a disk whose fsync does not return."""

NOTICED = (
    "removit_exporter_job_file_errors",
    'removit_exporter_log_events_total{level="error"',
)
FILES = ("jobs.yaml", "api.key", "own.token")


def prepare(write_config: Write, folder: Path, hang: str = "") -> str:
    """Write a config, its files and what makes them hang; return the exporter's address."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "sitecustomize.py").write_text(hang)
    (folder / "jobs.yaml").write_text("- targets: [a]")
    (folder / "own.token").write_text(TOKEN)
    (folder / "web.yaml").write_text("")
    write_config(
        web={"listen_address": address},
        job_files=["jobs.yaml"],
        registration={"token_file": "own.token"},
    )
    return address


async def ask(exporter: Running, path: str) -> bytes:
    return await (await exporter.send(f"GET {path} HTTP/1.1\r\nConnection: close"))


@pytest.mark.parametrize("name", FILES)
async def test_a_pipe_in_place_of_a_file_holds_up_neither_answers_nor_the_stop(
    write_config: Write, tmp_path: Path, name: str
) -> None:
    address = prepare(write_config, tmp_path)
    async with running(tmp_path, address) as exporter:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "pipe").rename(tmp_path / name)

        async def noticed() -> bool:
            page = (await ask(exporter, "/metrics")).decode()
            return any(
                line.startswith(NOTICED) and not line.endswith(" 0.0") for line in page.splitlines()
            )

        await until(noticed)
        assert (await ask(exporter, "/-/healthy")).startswith(b"HTTP/1.1 200 ")
        log = await exporter.stop()
    assert f"{name}: not a regular file" in str(log)


@pytest.mark.parametrize("name", [*FILES, "config.yaml"])
async def test_opening_a_file_that_hangs_holds_up_neither_answers_nor_the_stop(
    write_config: Write, tmp_path: Path, name: str
) -> None:
    address = prepare(write_config, tmp_path, FILES_HANG)
    async with running(tmp_path, address, PYTHONPATH=str(tmp_path)) as exporter:
        (tmp_path / f"hang-{name}").touch()
        content = (tmp_path / name).read_text()
        (tmp_path / name).write_text(content + "\n")
        await until((tmp_path / "hangs").exists)
        assert (await ask(exporter, "/-/healthy")).startswith(b"HTTP/1.1 200 ")
        assert (await ask(exporter, "/metrics")).startswith(b"HTTP/1.1 200 ")
        await exporter.stop()


async def test_a_web_config_file_that_hangs_at_the_start_does_not_hold_up_the_stop(
    write_config: Write, tmp_path: Path
) -> None:
    address = prepare(write_config, tmp_path, FILES_HANG)
    (tmp_path / "hang-web.yaml").touch()
    flags = ("--web.config.file", "web.yaml")
    async with started(tmp_path, address, *flags, PYTHONPATH=str(tmp_path)) as exporter:
        await until((tmp_path / "hangs").exists)
        await exporter.stop()


async def test_a_disk_that_hangs_does_not_hold_up_the_stop_and_keeps_what_was_acknowledged(
    write_config: Write, tmp_path: Path
) -> None:
    address = prepare(write_config, tmp_path, COMMITS_HANG)
    put = "PUT /api/v1/jobs/{} HTTP/1.1\r\nContent-Length: 0\r\nConnection: close"
    async with running(tmp_path, address, PYTHONPATH=str(tmp_path)) as exporter:
        assert (await (await exporter.send(put.format("kept")))).startswith(b"HTTP/1.1 201 ")
        (tmp_path / "hang").touch()
        waiting = await exporter.send(put.format("late"))
        await until((tmp_path / "hangs").exists)
        assert (await ask(exporter, "/-/healthy")).startswith(b"HTTP/1.1 200 ")
        log = await exporter.stop()
        assert (await waiting).startswith(b"HTTP/1.1 503 ")
    assert "store hangs; it is left as a kill would leave it" in str(log)
    with sqlite3.connect(tmp_path / "jobs.db") as database:
        known = {name for (name,) in database.execute("SELECT job_id FROM jobs")}
    database.close()
    assert known == {"a", "kept"}
    assert KEY not in str(log)
