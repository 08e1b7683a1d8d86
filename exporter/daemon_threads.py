"""Calls that may hang, in daemon threads.

The process waits for all other threads when it ends. A look-up of a name, a file on a network
share, or a disk, may hang for longer than a stop may take.
"""

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

Result = TypeVar("Result")
P = ParamSpec("P")

HANG_SECONDS: Final = 5.0
"""A call that takes longer hangs."""


class HangingError(Exception):
    """A call has not ended in time; it is still under way."""


async def call_in_daemon(function: Callable[[], Result], name: str) -> Result:
    """Call a function in a thread called `name`; return its result, or raise what it raised.

    A cancelled caller no longer waits for the call. Raises `OSError` if no thread can be started.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()

    def succeed(result: Result) -> None:
        if not outcome.done():
            outcome.set_result(result)

    def fail(error: Exception) -> None:
        if not outcome.done():
            outcome.set_exception(error)

    def call() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - the caller gets it
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(succeed, result)

    try:
        threading.Thread(target=call, name=name, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.ENOMEM, str(error)) from error
    return await outcome


class LimitedCalls:
    """Calls in daemon threads that are waited for during a limited time, one at a time of a name.

    A file that hangs does not hold up those who read other files, and collects no threads.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[Any]] = {}
        self._hanging: set[str] = set()
        """The names whose call under way has not ended in time."""

    async def call(self, function: Callable[[], Result], name: str) -> Result:
        """Return what the function returns, or raise what it raises.

        An earlier call of this name is waited for first. Raises `HangingError` if either takes too
        long, and at once while an earlier one is known to hang.
        """
        while (former := self._under_way.get(name)) is not None:
            await self._wait(former, name)
        task = asyncio.create_task(call_in_daemon(function, name), name=name)
        task.add_done_callback(lambda done: self._end(done, name))
        self._under_way[name] = task
        await self._wait(task, name)
        return task.result()

    async def _wait(self, task: "asyncio.Task[Any]", name: str) -> None:
        if name in self._hanging:
            raise HangingError(f"{name}: has not ended")
        await asyncio.wait([task], timeout=HANG_SECONDS)
        if not task.done():
            self._hanging.add(name)
            raise HangingError(f"{name}: has not ended after {HANG_SECONDS:g} s")

    def _end(self, done: "asyncio.Task[Any]", name: str) -> None:
        del self._under_way[name]
        self._hanging.discard(name)
        if not done.cancelled():
            done.exception()  # retrieved: perhaps nobody waits for it any more


class DaemonThread(Executor):
    """One thread for one call after the other. The process does not wait for it when it ends."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_shut_down = False

    def submit(
        self, fn: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Future[Result]":
        """Call a function after all that were submitted before; raises `RuntimeError` at the end.

        Raises `RuntimeError` too if the thread cannot be started.
        """
        if self._is_shut_down:
            raise RuntimeError(f"the thread {self._name} has ended")
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._thread = thread
        future: Future[Result] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - the caller gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        self._calls.put(call)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after the calls that were submitted. Nobody waits for it."""
        self._is_shut_down = True
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call
