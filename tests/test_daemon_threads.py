"""Calls that may hang: one at a time of a name."""

import asyncio
import gc
import threading

import pytest

from exporter import daemon_threads
from exporter.daemon_threads import HangingError, LimitedCalls


async def test_calls_of_one_name_are_made_one_after_the_other() -> None:
    calls, order = LimitedCalls(), list[str]()
    first_may_end = threading.Event()

    def first() -> int:
        first_may_end.wait(20)
        order.append("first")
        return 1

    def second() -> int:
        order.append("second")
        return 2

    async def release() -> None:
        first_may_end.set()

    async with asyncio.timeout(20):
        *results, _ = await asyncio.gather(
            calls.call(first, "x"), calls.call(second, "x"), calls.call(second, "x"), release()
        )
    assert results == [1, 2, 2]
    assert order == ["first", "second", "second"]
    assert not calls._under_way


async def test_while_a_call_hangs_others_of_its_name_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls, may_end = LimitedCalls(), threading.Event()

    def hangs() -> None:
        may_end.wait(60)
        raise OSError("too late")

    async with asyncio.timeout(20):
        with monkeypatch.context() as patch:
            patch.setattr(daemon_threads, "HANG_SECONDS", 0.05)
            with pytest.raises(HangingError, match=r"^x: has not ended after 0\.05 s$"):
                await calls.call(hangs, "x")
        with pytest.raises(HangingError, match=r"^x: has not ended$"):
            await calls.call(lambda: 1, "x")
        assert await calls.call(lambda: 2, "y") == 2
        may_end.set()
        while calls._under_way:
            await asyncio.sleep(0.01)
        assert await calls.call(lambda: 3, "x") == 3
    gc.collect()
    assert caplog.text == ""
