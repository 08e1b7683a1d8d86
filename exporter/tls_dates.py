"""From when until when the certificates of a file are valid.

Python decodes only a certificate that a handshake has verified, so their DER is read here.
"""

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

_PEM: Final = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.+?)-----END", re.DOTALL)
_VERSION: Final = 0xA0
"""The tag of a certificate's version, which a certificate of version 1 lacks."""
_FORMATS: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
"""How a time is written, by its tag (RFC 5280, 4.1.2.5)."""


def read_dates(pem: bytes) -> Iterator[tuple[datetime, datetime]]:
    """Yield the first and the last moment at which each certificate is valid.

    A certificate that cannot be read is left out: OpenSSL has said what is wrong with it.
    """
    for match in _PEM.finditer(pem):
        try:
            dates = _dates(base64.b64decode(match[1]))
        except (ValueError, IndexError, KeyError):
            continue
        yield dates


def _dates(der: bytes) -> tuple[datetime, datetime]:
    certificate = _values(der)[0][1]
    signed = _values(certificate)[0][1]
    fields = [content for tag, content in _values(signed) if tag != _VERSION]
    first, last = _values(fields[3])  # after the serial number, the algorithm and the issuer
    return _time(*first), _time(*last)


def _values(der: bytes) -> list[tuple[int, bytes]]:
    """Return tag and content of each value (X.690, 8.1)."""
    found, at = list[tuple[int, bytes]](), 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length >= 0x80:  # the number of bytes that the length takes
            size = length - 0x80
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        found.append((tag, der[at : at + length]))
        at += length
    return found


def _time(tag: int, text: bytes) -> datetime:
    return datetime.strptime(text.decode(), _FORMATS[tag]).replace(tzinfo=UTC)
