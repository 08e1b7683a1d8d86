"""Waiting for something to happen to a name, without polling and without a listener per waiter."""

import asyncio


class ExporterStoppedError(Exception):
    """The wait is in vain: the exporter is stopping or has stopped."""


class Waiting:
    """Tasks that wait, by name. Notifying a name that nobody waits for costs nothing."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[asyncio.Event, int]] = {}
        """By name: the event that wakes its tasks, and how many they are."""
        self._closed = False

    def __len__(self) -> int:
        """Return how many names are waited for."""
        return len(self._waiting)

    def notify(self, name: str) -> None:
        """Wake all tasks that wait for a name."""
        if (entry := self._waiting.pop(name, None)) is not None:
            entry[0].set()

    def close(self) -> None:
        """Wake every task. From now on waiting raises `ExporterStoppedError`."""
        self._closed = True
        for name in list(self._waiting):
            self.notify(name)

    async def wait(self, name: str) -> None:
        """Wait until `notify` is called for a name, or `close`. The caller then reads again.

        Raises `ExporterStoppedError` if it is closed already.
        """
        if self._closed:
            raise ExporterStoppedError("the exporter is stopping")
        event, tasks = self._waiting.get(name) or (asyncio.Event(), 0)
        self._waiting[name] = event, tasks + 1
        try:
            await event.wait()
        finally:
            self._leave(name, event)

    def _leave(self, name: str, event: asyncio.Event) -> None:
        """Forget one task, unless `notify` has forgotten them all; the last one drops the name."""
        entry = self._waiting.get(name)
        if entry is None or entry[0] is not event:
            return
        if entry[1] == 1:
            del self._waiting[name]
        else:
            self._waiting[name] = event, entry[1] - 1
