"""The config in force, and how a reload replaces it."""

from collections.abc import Callable, Iterable
from typing import Final

from .config import Config

NEEDS_RESTART: Final = (
    "upstream.name",
    "upstream.base_url",
    "metrics.group_labels",
    "metrics.const_labels",
    "storage.path",
    "web",
    "log.format",
)
"""Sections and keys that only a restart changes: they name the series, or are opened once."""


def pin(old: Config, new: Config, keys: Iterable[str] = NEEDS_RESTART) -> tuple[Config, list[str]]:
    """Return `new` with the old values of the fixed `keys`, and names of those that differed."""
    held = list[str]()
    for key in keys:
        section, _, name = key.partition(".")
        former, wanted = getattr(old, section), getattr(new, section)
        value = former
        if name:
            if getattr(former, name) == getattr(wanted, name):
                continue
            value = wanted.model_copy(update={name: getattr(former, name)})
            held.append(key)
        else:
            fields = type(former).model_fields
            held += [f"{key}.{at}" for at in fields if getattr(former, at) != getattr(wanted, at)]
        new = new.model_copy(update={section: value})
    return new, held


class LiveConfig:
    """The config in force. Call it to read it, at each use: a reload may have replaced it.

    Components take it, or a function that returns one of its sections, and keep no copies. A
    component that has to do something at a reload (refill a bucket, look for a key elsewhere)
    subscribes.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._listeners: list[Callable[[Config], None]] = []

    def __call__(self) -> Config:
        """Return the config in force."""
        return self._config

    def subscribe(self, listener: Callable[[Config], None]) -> None:
        """Have `listener` called with each new config once it is in force."""
        self._listeners.append(listener)

    def apply(self, config: Config) -> None:
        """Put a new config in force, and call every listener; raises the errors of all."""
        self._config = config
        errors = []
        for listener in self._listeners:
            try:
                listener(config)
            except Exception as error:  # noqa: BLE001 - the others are called all the same
                errors.append(error)
        if errors:
            raise ExceptionGroup("the config is in force, but not everywhere", errors)
