"""Dataclasses that only the type checker freezes: the values of each poll and registration.

Freezing them at run time makes their construction five times as long, and `dataclasses.replace`
takes four times as long as the one here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
    from dataclasses import replace
else:
    import functools
    from dataclasses import dataclass, fields
    from operator import attrgetter

    def value(*, frozen, slots):
        """Make a dataclass."""
        return dataclass(slots=slots, unsafe_hash=frozen)

    def replace(old, **changes):
        """Return a copy of such a value with some fields changed."""
        made = type(old)(*_fields(type(old))(old))
        for name, new in changes.items():
            setattr(made, name, new)
        return made

    @functools.cache
    def _fields(kind):
        return attrgetter(*(field.name for field in fields(kind)))


__all__ = ["replace", "value"]
