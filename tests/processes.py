"""Programs in processes of their own: any one, and the command with requests to it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from conftest import KEY, TOKEN, answers, until

STOP_SECONDS = 60.0
"""A tenth of the time for which files and disks hang in these tests.

`tests/test_stop.py` checks that the deadlines of a stop end before `docker stop` kills it.
"""


class Running:
    """The command in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.url = f"http://{address}"
        self._port = int(address.rpartition(":")[2])

    async def ready(self) -> bool:
        """Whether it answers; then it has also read everything that was sent before."""
        return await answers(f"{self.url}/-/ready")

    async def send(self, head: str, body: str = "") -> "asyncio.Task[bytes]":
        """Send a request over a new connection; the task reads the answer to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            f"{head}\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n"
            f"Authorization: Bearer {TOKEN}\r\n\r\n{body}".encode()
        )
        await writer.drain()

        async def read() -> bytes:
            answer = await reader.read()
            writer.close()
            return answer

        return asyncio.create_task(read())

    async def stop(self) -> list[dict[str, Any]]:
        """Stop it in time, and return its log."""
        self.process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(self.process.communicate(), STOP_SECONDS)
        assert self.process.returncode == 0
        return [json.loads(line) for line in err.splitlines()]


@contextlib.asynccontextmanager
async def in_background(
    program: str | Path,
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """Run a program and stop it at the end; its output is for nobody."""
    silent = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        program, *arguments, cwd=cwd, env=env, stdout=silent, stderr=silent
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def started(
    directory: Path, address: str, *flags: str, **environment: str
) -> AsyncIterator[Running]:
    """Start it in a folder with its config; it is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "run", *flags),
        cwd=directory,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        yield Running(process, address)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@contextlib.asynccontextmanager
async def running(directory: Path, address: str, **environment: str) -> AsyncIterator[Running]:
    """Start it, and wait until it is ready."""
    async with started(directory, address, **environment) as made:
        await until(made.ready)
        yield made
