"""Slices of a page of metrics, and how they become one gzip stream.

Each slice is deflated by itself (RFC 1951) and ends on a byte boundary (`Z_FULL_FLUSH`), so a slice
that is kept between scrapes is deflated once and fits into any page. A page is one gzip member
(RFC 1952) and not a member per slice, because browsers, curl and aiohttp read only the first one.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Final

_LEVEL: Final = 5
_RAW: Final = -zlib.MAX_WBITS
"""zlib's `wbits` for deflate without a header."""
_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LAST_BLOCK: Final = b"\x03\0"
"""An empty block that says it is the last one."""


class Slice:
    """Some bytes of a page; they never change."""

    __slots__ = ("_deflated", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._deflated: bytes | None = None

    def deflated(self) -> bytes:
        """Return the bytes deflated; the work is done once."""
        if self._deflated is None:
            # Job ids are random digits. Z_FILTERED does not look for short matches in them, which
            # takes 40 % off the time and 8 % off the size.
            packer = zlib.compressobj(
                _LEVEL, zlib.DEFLATED, _RAW, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED
            )
            self._deflated = packer.compress(self.plain) + packer.flush(zlib.Z_FULL_FLUSH)
        return self._deflated


class GzipStream:
    """One page as gzip: `HEADER`, then `add` for all slices in their order, then `end`."""

    HEADER: Final = _HEADER

    def __init__(self) -> None:
        self._checksum = 0
        self._size = 0

    def add(self, slices: Iterable[Slice]) -> list[bytes]:
        """Return the next slices deflated."""
        deflated = []
        for one in slices:
            # To combine kept checksums would take as long as this, in Python.
            self._checksum = zlib.crc32(one.plain, self._checksum)
            self._size += len(one.plain)
            deflated.append(one.deflated())
        return deflated

    def end(self) -> bytes:
        """Return the end of the stream."""
        return _LAST_BLOCK + struct.pack("<II", self._checksum, self._size % 2**32)
