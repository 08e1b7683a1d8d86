"""Decompresses answers that are compressed although the exporter did not ask for it."""

import zlib
from collections.abc import Mapping
from typing import Final

_AUTOMATIC: Final = 32 + zlib.MAX_WBITS
"""zlib recognises gzip and zlib by their first bytes."""
_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
MAX_NAME: Final = 30
MAX_MEMBERS: Final = 50
"""Members of one gzip body (RFC 1952, 2.2). Each costs a copy of the rest of the body."""


def inflate(body: bytes, headers: Mapping[str, str], limit: int) -> tuple[bytes, bool]:
    """Return a body without its `Content-Encoding`, and whether it was complete.

    At most `limit` + 1 bytes and `MAX_MEMBERS` members are inflated. A body in an encoding that is
    not supported is returned unchanged if it is text; otherwise a sentence that says so is.
    """
    encoding = headers.get("Content-Encoding", "").strip().casefold()
    if encoding in ("", "identity") or not body:
        return body, True
    if encoding not in _ENCODINGS:
        return _as_text(body, encoding), True
    raw = encoding == "deflate" and not _has_zlib_header(body)
    inflated, rest, members = b"", body, 0
    try:
        while rest and len(inflated) <= limit:
            members += 1
            if members > MAX_MEMBERS:
                return inflated, False
            stream = zlib.decompressobj(-zlib.MAX_WBITS if raw else _AUTOMATIC)
            inflated += stream.decompress(rest, limit + 1 - len(inflated))
            if len(inflated) <= limit and not stream.eof:
                return inflated, False
            rest = stream.unused_data
    except zlib.error:
        return inflated or body, False
    return inflated, True


def _has_zlib_header(body: bytes) -> bool:
    """Whether a body has the header of RFC 1950; some servers send `deflate` without it."""
    return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _as_text(body: bytes, encoding: str) -> bytes:
    try:
        body.decode()
    except UnicodeDecodeError:
        shown = encoding if len(encoding) <= MAX_NAME else encoding[:MAX_NAME] + "…"
        return f"Content-Encoding {shown} is not supported".encode(errors="replace")
    return body
