"""The config that is in force, and how another takes its place."""

from collections.abc import Callable, Iterable
from typing import Final

from .config import Config

NEEDS_RESTART: Final = (
    "upstream.name",
    "upstream.base_url",
    "upstream.ca_file",
    "metrics.group_labels",
    "metrics.const_labels",
    "storage.path",
    "web",
    "log.format",
)
"""Sections and keys that are fixed from the start: series' identities, and what is opened once."""


def pin(old: Config, new: Config, keys: Iterable[str] = NEEDS_RESTART) -> tuple[Config, list[str]]:
    """Return `new` with the old values of what cannot change, and the keys that would have."""
    held = []
    for key in keys:
        section, _, name = key.partition(".")
        former, wanted = getattr(old, section), getattr(new, section)
        value = former
        if name:
            if getattr(former, name) == getattr(wanted, name):
                continue
            value = wanted.model_copy(update={name: getattr(former, name)})
        elif former == wanted:
            continue
        held.append(key)
        new = new.model_copy(update={section: value})
    return new, held


class LiveConfig:
    """The config that is in force, held by reference, and changed in two phases.

    Whoever goes by it subscribes with a `prepare` that checks and makes ready what a new config
    needs, and returns how to switch to it. Preparing may fail, and then nothing has changed;
    switching may not.
    """

    def __init__(self, config: Config) -> None:
        self.current = config
        self._prepares: list[Callable[[Config], Callable[[], None]]] = []

    def subscribe(self, prepare: Callable[[Config], Callable[[], None]]) -> None:
        """Have `prepare` called with each new config; what it returns is called to switch."""
        self._prepares.append(prepare)

    def apply(self, config: Config) -> None:
        """Put a new config in force, wholly or, when any `prepare` raises, not at all."""
        switches = [prepare(config) for prepare in self._prepares]
        self.current = config
        for switch in switches:
            switch()
