"""Waiting for something about a name, without a poll and without a listener for each who waits."""

import asyncio


class ExporterStoppedError(Exception):
    """What was waited for will not come: the exporter stops, or has stopped."""


class Waiting:
    """Who waits for which name. What nobody waits for costs nothing."""

    def __init__(self) -> None:
        self._bells: dict[str, tuple[asyncio.Event, int]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._bells)

    def notify(self, name: str) -> None:
        """Wake all who wait for a name."""
        if (entry := self._bells.pop(name, None)) is not None:
            entry[0].set()

    def close(self) -> None:
        """Wake everyone. From now on waiting raises `ExporterStoppedError`."""
        self._closed = True
        for name in list(self._bells):
            self.notify(name)

    async def wait(self, name: str) -> None:
        """Wait until someone notifies the name, or `close` is called; then read again.

        Raises `ExporterStoppedError` when it is closed already.
        """
        if self._closed:
            raise ExporterStoppedError("the exporter is stopping")
        bell, waiting = self._bells.get(name) or (asyncio.Event(), 0)
        self._bells[name] = bell, waiting + 1
        try:
            await bell.wait()
        finally:
            entry = self._bells.get(name)
            if entry is not None and entry[0] is bell:
                self._bells[name] = bell, entry[1] - 1
                if entry[1] == 1:
                    del self._bells[name]
