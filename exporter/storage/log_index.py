"""SQLite's index of the write-ahead log, and how far the log's file reaches.

Other programs may cut the log or its index short while they are in use. SQLite does not notice: it
goes on at the offset where it was, so that after a kill nothing of the log can be read. The index
says how many frames there are and how many of them are copied into the database (SQLite, "WAL-mode
File Format", 2.1).
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct("=14xHI")
"""Bytes in a page and number of frames, in the order of this machine's bytes."""
_COPIED: Final = struct.Struct("=96xI")
_HEADERS_BYTES: Final = 96
_LOG_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class LogState:
    """How many frames the log has, and how many of them the database has as well."""

    page_bytes: int
    frames: int
    copied: int

    @property
    def is_copied(self) -> bool:
        """Whether the database has all that is in the log."""
        return self.copied >= self.frames

    @property
    def bytes_needed(self) -> int:
        """The size that the log must have at least."""
        return _LOG_HEADER_BYTES + self.frames * self._frame_bytes if self.frames else 0

    def frames_in(self, log_bytes: int) -> int:
        """Return how many whole frames are in a log of this size."""
        return max(0, log_bytes - _LOG_HEADER_BYTES) // self._frame_bytes

    @property
    def _frame_bytes(self) -> int:
        return _FRAME_HEADER_BYTES + self.page_bytes


class LogIndex:
    """The index file `path`, which SQLite has open as well.

    Close it only after SQLite has closed the database: closing any handle of the file drops
    SQLite's own locks on it.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._size = 0
        self.keep_size()

    def close(self) -> None:
        """Close the handle."""
        os.close(self._file)

    def keep_size(self) -> None:
        """Give the file its size back if it was cut short.

        SQLite has it mapped into memory: touching a part that the file has no longer would end
        the process (SIGBUS). SQLite fills a part of zeros again from the log.
        """
        size = os.fstat(self._file).st_size
        if size < self._size:
            os.truncate(self._file, self._size)
            self.clear()
        self._size = max(size, self._size)

    def read(self) -> LogState:
        """Return what the index says; raises `OSError`."""
        content = os.pread(self._file, _COPIED.size, 0).ljust(_COPIED.size, b"\0")
        page_bytes, frames = _HEADER.unpack_from(content)
        # 65,536 does not fit into two bytes.
        return LogState(65536 if page_bytes == 1 else page_bytes, frames, *_COPIED.unpack(content))

    def clear(self) -> None:
        """Have SQLite read the log anew, as after a kill, when the next transaction begins."""
        os.pwrite(self._file, bytes(_HEADERS_BYTES), 0)
