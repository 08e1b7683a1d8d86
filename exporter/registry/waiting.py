"""Waiting for something about a name, without a poll and without a listener for each who waits."""

import asyncio


class ExporterStoppedError(Exception):
    """What was waited for will not come: the exporter stops, or has stopped."""


class Waiting:
    """Who waits for which name. What nobody waits for costs nothing."""

    def __init__(self) -> None:
        self._bells: dict[str, tuple[asyncio.Event, int]] = {}

    def __len__(self) -> int:
        return len(self._bells)

    def notify(self, name: str) -> None:
        """Wake all who wait for a name."""
        if (entry := self._bells.pop(name, None)) is not None:
            entry[0].set()

    def notify_all(self) -> None:
        """Wake everyone."""
        for name in list(self._bells):
            self.notify(name)

    async def wait(self, name: str) -> None:
        """Wait until the name rings. What is to be read then is read again by the caller."""
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
