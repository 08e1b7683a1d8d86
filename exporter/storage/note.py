"""The note in the lock file: which files were open last, and up to where the counters had counted.

The store commits first and notes afterwards, before anything of the commit is visible. So a
database whose counters may continue has the note's `counters`, and at least its `newest_event`.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

NOTE_BYTES: Final = 256
"""Every note is this long, so that one write replaces it: a kill leaves the old or the new one."""


@dataclass(frozen=True, slots=True)
class Note:
    """The content of the lock file, which outlasts the exporter."""

    open: tuple[int, ...] | None = None
    """Device and inode of the database, then of its log; None after a clean stop."""
    counters: str | None = None
    """The id of the counters, which changes when they begin at 0; the database has it too."""
    newest_event: int = 0
    """The id of the newest event that can have been seen; every count comes with an event."""

    def dump(self) -> bytes:
        """Return it as the lock file has it."""
        document = {
            "open": self.open,
            "counters": self.counters,
            "newest_event": self.newest_event,
        }
        return json.dumps(document).encode().ljust(NOTE_BYTES)

    def continues(self, counters: str | None, newest_event: int) -> bool:
        """Return whether a database holds all that was counted.

        Otherwise it is a copy, made before the last stop, or another database.
        """
        return counters == self.counters and newest_event >= self.newest_event


def load_note(text: bytes) -> Note:
    """Read a note, also one of a former version; one that cannot be read counts as empty."""
    try:
        document = json.loads(text)
    except ValueError:
        return Note()
    if isinstance(document, list):  # before the counters were noted
        document = {"open": document}
    if not isinstance(document, dict):
        return Note()
    counters, newest = document.get("counters"), document.get("newest_event")
    return Note(
        _identities(document.get("open")),
        counters if isinstance(counters, str) else None,
        newest if isinstance(newest, int) else 0,
    )


def _identities(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    return tuple(value) if all(isinstance(one, int) for one in value) else None
