"""Housekeeping: a chore that hangs holds up neither the others nor the stop."""

import asyncio

import pytest
from conftest import until
from prometheus_client import CollectorRegistry

from exporter.clock import SystemClock
from exporter.housekeeping import Chore, Housekeeping
from exporter.logs import make_logger
from exporter.metrics.instruments import Instruments
from exporter.storage.store import StoreError


class Impatient(SystemClock):
    """The system's clock, on which no wait takes any time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def made(*chores: Chore, clock: SystemClock | None = None) -> Housekeeping:
    instruments = Instruments(CollectorRegistry(), "1", lambda label, value: value)
    return Housekeeping(chores, clock or SystemClock(), instruments, make_logger())


async def test_a_chore_that_hangs_holds_up_neither_the_others_nor_the_stop() -> None:
    started, done = 0, 0

    async def hang() -> None:
        nonlocal started
        started += 1
        await asyncio.Event().wait()

    async def work() -> None:
        nonlocal done
        done += 1

    housekeeping = made(Chore(1, "hangs", hang, may_hang=True), Chore(1, "works", work))
    housekeeping.start()
    await until(lambda: done >= 2)
    assert started == 1
    await asyncio.wait_for(housekeeping.close(), 5)


async def test_why_the_store_fails_a_chore_is_logged_once_until_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reasons = iter(["full", "full", None, "full", "gone", "gone"])
    done = asyncio.Event()

    async def work() -> None:
        reason = next(reasons, "")
        if reason == "":
            done.set()
        elif reason is not None:
            raise StoreError(reason)

    housekeeping = made(Chore(1, "flush", work), clock=Impatient())
    housekeeping.start()
    await asyncio.wait_for(done.wait(), 20)
    await asyncio.wait_for(housekeeping.close(), 5)
    assert [vars(line)["error"] for line in caplog.records] == ["full", "full", "gone"]


async def test_a_chore_that_fails_is_tried_again_and_stops_no_other() -> None:
    tried, done = 0, 0

    async def fail() -> None:
        nonlocal tried
        tried += 1
        raise ValueError("a mistake in a chore")

    async def work() -> None:
        nonlocal done
        done += 1

    housekeeping = made(Chore(1, "fails", fail), Chore(1, "works", work))
    housekeeping.start()
    await until(lambda: min(tried, done) >= 2)
    assert housekeeping.alive
    await asyncio.wait_for(housekeeping.close(), 5)
