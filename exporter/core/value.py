"""A dataclass that only the type checker freezes, for the values that each poll makes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool) -> object:
        """Make a dataclass. One that is frozen at run time takes five times as long to make."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["value"]
