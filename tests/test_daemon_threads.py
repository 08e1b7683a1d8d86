"""Calls that may hang: one at a time of a name."""

import asyncio
import gc
import threading
from functools import partial

import pytest
from conftest import until

from exporter import daemon_threads
from exporter.daemon_threads import HangingError, LimitedCalls


async def test_calls_of_one_name_are_made_one_after_the_other() -> None:
    calls, may_end, begun = LimitedCalls(), threading.Semaphore(0), list[int]()

    def work(number: int) -> int:
        begun.append(number)
        may_end.acquire(timeout=20)
        return number

    async def until_begun(number: int) -> int:
        await until(lambda: len(begun) >= number)
        return len(begun)

    async with asyncio.timeout(20):
        calling = asyncio.gather(*(calls.call(partial(work, at), "x") for at in range(3)))
        for number in range(1, 4):
            assert await until_begun(number) == number  # the others wait
            may_end.release()
        assert await calling == [0, 1, 2]
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
        await until(lambda: not calls._under_way)
        assert await calls.call(lambda: 3, "x") == 3
    gc.collect()
    assert caplog.text == ""
