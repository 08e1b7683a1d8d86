"""The command gives the free memory of its process back to the system."""

import asyncio
import ctypes
import types

import pytest

from exporter import server


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
