"""Certificates to trust, from a file in PEM."""

import ssl
from pathlib import Path
from typing import Final

from .regular_files import FileError, read_limited

MAX_CA_BYTES: Final = 8 * 1024 * 1024


class CaFileError(Exception):
    """A CA file cannot be used; the message names it."""


def check_ca_file(path: Path) -> None:
    """Raise `CaFileError` if a file cannot be used."""
    make_trust(path, read_ca_file(path))


def read_ca_file(path: Path) -> bytes:
    """Return the content of a regular file; raises `CaFileError`."""
    try:
        return read_limited(path, MAX_CA_BYTES)
    except FileError as error:
        raise CaFileError(str(error)) from None


def make_trust(path: Path, content: bytes) -> ssl.SSLContext:
    """Return TLS settings that trust these certificates alone; raises `CaFileError`."""
    if b"-----BEGIN" not in content:  # nothing at all would trust what the system trusts
        raise CaFileError(f"{path}: expected certificates in PEM")
    try:
        context = ssl.create_default_context(cadata=content.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        raise CaFileError(f"{path}: expected certificates in PEM") from None
    return context
