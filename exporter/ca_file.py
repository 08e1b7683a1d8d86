"""Certificates to trust, from a file in PEM."""

import os
import ssl
import stat
from pathlib import Path
from typing import Final

MAX_CA_BYTES: Final = 8 * 1024 * 1024


class CaFileError(Exception):
    """A CA file cannot be used; the message names it."""


def check_ca_file(path: Path) -> None:
    """Raise `CaFileError` if a file cannot be used."""
    make_trust(path, read_ca_file(path))


def read_ca_file(path: Path) -> bytes:
    """Return the content of a regular file; raises `CaFileError`. A pipe does not block it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CaFileError(f"{path}: not a regular file")
            content = file.read(MAX_CA_BYTES + 1)
    except OSError as error:
        raise CaFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_CA_BYTES:
        raise CaFileError(f"{path}: longer than {MAX_CA_BYTES} bytes")
    return content


def make_trust(path: Path, content: bytes) -> ssl.SSLContext:
    """Return TLS settings that trust these certificates alone; raises `CaFileError`."""
    if b"-----BEGIN" not in content:  # nothing at all would trust what the system trusts
        raise CaFileError(f"{path}: expected certificates in PEM")
    try:
        context = ssl.create_default_context(cadata=content.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        raise CaFileError(f"{path}: expected certificates in PEM") from None
    return context
