"""The command looks after the memory of its process: free memory, and the garbage collector."""

import asyncio
import ctypes
import gc
import types
from collections.abc import Callable

import pytest

from exporter import server
from exporter.config import Config

MakeConfig = Callable[..., Config]


async def test_free_memory_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trims, twice = list[int](), asyncio.Event()

    def trim(pad: int) -> None:
        trims.append(pad)
        if len(trims) == 2:
            twice.set()

    monkeypatch.setattr(server, "TRIM_SECONDS", 0.001)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace(malloc_trim=trim))
    task = asyncio.create_task(server._trim_memory())
    async with asyncio.timeout(30):
        await twice.wait()
    task.cancel()
    assert set(trims) == {0}


async def test_a_c_library_that_cannot_give_memory_back_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    async with asyncio.timeout(30):
        await server._trim_memory()


async def test_the_garbage_collector_never_goes_through_the_loaded_jobs(
    make_config: MakeConfig,
) -> None:
    job_ids = [f"job-{at}" for at in range(2000)]
    web = {"listen_address": "127.0.0.1:0"}
    made = server.Server(make_config(web=web, jobs=[{"job_id": name} for name in job_ids]))
    frozen, collected = gc.get_freeze_count(), list[bool]()

    def collect(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and made.exporter.registry.jobs:
            collected.append(gc.get_freeze_count() > frozen)

    gc.callbacks.append(collect)
    try:
        await made.start()
        gc.collect(0)
    finally:
        gc.callbacks.remove(collect)
        await made.stop()
    assert collected
    assert all(collected)
