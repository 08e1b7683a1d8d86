"""Housekeeping: a chore that hangs holds up neither the others nor the stop."""

import asyncio

from conftest import until
from prometheus_client import CollectorRegistry

from exporter.clock import SystemClock
from exporter.housekeeping import Chore, Housekeeping
from exporter.logs import make_logger
from exporter.metrics.instruments import Instruments


def made(*chores: Chore) -> Housekeeping:
    instruments = Instruments(CollectorRegistry(), "1", lambda label, value: value)
    return Housekeeping(chores, SystemClock(), instruments, make_logger())


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
    await asyncio.wait_for(housekeeping.close(), 60)


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
    await asyncio.wait_for(housekeeping.close(), 60)
