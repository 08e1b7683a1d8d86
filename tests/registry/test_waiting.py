"""Waiting for a name: woken by a notification, or by the end of the exporter."""

import asyncio

import pytest

from exporter.registry.waiting import ExporterStoppedError, Waiting


async def test_a_notification_wakes_all_that_wait_for_the_name_and_leaves_nothing_behind() -> None:
    waiting = Waiting()
    tasks = {name: asyncio.create_task(waiting.wait(name)) for name in ("a", "b", "c")}
    again = asyncio.create_task(waiting.wait("a"))
    await asyncio.sleep(0)
    waiting.notify("a")
    waiting.notify("nobody waits for this")
    await asyncio.wait([tasks["a"], again], timeout=20)
    assert not tasks["b"].done()
    tasks["b"].cancel()
    await asyncio.gather(tasks["b"], return_exceptions=True)
    assert len(waiting) == 1
    waiting.close()
    await asyncio.wait_for(tasks["c"], 60)
    assert len(waiting) == 0
    with pytest.raises(ExporterStoppedError):
        await waiting.wait("a")
