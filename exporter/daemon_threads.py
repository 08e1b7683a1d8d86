"""Calls that may hang, each in a daemon thread of its own.

The loop's own threads are waited for when the process ends. A look-up of a name, or a file on a
network share, may hang for longer than a stop may take.
"""

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


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
