"""Readers go on one after the other, a few in each turn of the event loop."""

import asyncio

from simulated_time import simulate

from exporter.registry.turns import AT_ONCE, REST_SECONDS, Turns


def test_a_few_go_on_at_once_in_the_order_in_which_they_came() -> None:
    async def go_on() -> None:
        turns, time = Turns(), asyncio.get_running_loop().time
        started, gone = time(), list[tuple[int, float]]()

        async def go(number: int) -> None:
            await turns.wait()
            gone.append((number, round(time() - started, 6)))

        await asyncio.gather(*map(go, range(3 * AT_ONCE)))
        assert gone == [(at, at // AT_ONCE * REST_SECONDS) for at in range(3 * AT_ONCE)]

    simulate(go_on)


async def test_one_that_was_cancelled_takes_no_turn() -> None:
    turns, loop = Turns(), asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(AT_ONCE + 2)]
    turns.add(futures)
    for future in futures[:2]:
        future.cancel()
    async with asyncio.timeout(20):
        await futures[2]
    assert all(future.done() for future in futures)


async def test_the_queue_is_served_again_after_it_was_empty() -> None:
    turns = Turns()
    async with asyncio.timeout(20):
        await turns.wait()
        await turns.wait()
