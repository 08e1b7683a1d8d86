"""Calls that may hang: one at a time of a name."""

import asyncio

from exporter.daemon_threads import LimitedCalls


async def test_a_call_may_begin_as_soon_as_the_one_before_has_ended() -> None:
    calls = LimitedCalls()

    async def second() -> int:
        while (former := calls._under_way.get("x")) is None or not former.done():
            await asyncio.sleep(0)
        return await calls.call(lambda: 2, "x")  # the first caller has not been resumed yet

    async with asyncio.timeout(20):
        assert tuple(await asyncio.gather(calls.call(lambda: 1, "x"), second())) == (1, 2)
    assert not calls._under_way
