"""Keys and tokens: from a file or the environment, never shown, compared in constant time."""

import contextlib
import hmac
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from .files import FileError, Stamp, read_limited, read_stamp

TOKEN_BYTES: Final = 32
MAX_SECRET_BYTES: Final = 64 * 1024
STAT_SECONDS: Final = 1.0
"""Minimum time between two checks of a file for changes."""
HANG_SECONDS: Final = 0.05
"""How long a caller waits for a file. A later result takes effect with the next call."""


class SecretError(Exception):
    """A secret cannot be read; the message names where it is kept, never its content."""


class Secret:
    """A text that is never printed."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")

    def reveal(self) -> str:
        """Return the text. Use it only to send it."""
        return self._value

    def matches(self, candidate: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(
            self._value.encode(), candidate.encode("utf-8", errors="surrogateescape")
        )


def read_secret_file(path: Path) -> Secret:
    """Read a file with one line of text; raises `SecretError`.

    A byte order mark, and blanks and line ends around the text, do not count.
    """
    try:
        content = read_limited(path, MAX_SECRET_BYTES)
    except FileError as error:
        raise SecretError(str(error)) from None
    return _check_text(content.decode("utf-8-sig", errors="replace"), str(path))


def _check_text(value: str, place: str) -> Secret:
    """Check that a text can be sent in a header: visible ASCII (RFC 9110, 5.5)."""
    value = value.strip()
    if not value:
        raise SecretError(f"{place} is empty")
    if not all("!" <= character <= "~" for character in value):
        raise SecretError(f"{place}: expected one line of visible ASCII without spaces")
    return Secret(value)


def create_secret_file(path: Path) -> None:
    """Write a new random secret into a file that only its owner may read.

    A file that is there stays. It appears whole or not at all. Raises `OSError`.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:  # mode 0600
        file.write(f"{secrets.token_urlsafe(TOKEN_BYTES)}\n".encode())
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)


class SecretSource:
    """Where a secret comes from: a file, which may change at any time, or the environment.

    If both are given, the file is used. While it cannot be read, the last good secret stays.
    """

    def __init__(
        self,
        file: Path | None,
        env: str | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._env = env
        self._environ = environ
        self._clock = clock
        self._secret: Secret | None = None
        self._version = 0
        self._stamp: Stamp | None = None
        self._checked_at: float | None = None
        self._reading: threading.Thread | None = None
        self.problem: str | None = None
        """Why the file cannot be read at present; the secret before it stays in force."""

    def move(self, file: Path | None, env: str | None = None) -> None:
        """Read the secret from another place from now on."""
        if (file, env) != (self._file, self._env):
            self._file, self._env = file, env
            self._stamp = self._checked_at = self.problem = None
            if file is None:
                self._secret = None

    @property
    def version(self) -> int:
        """A number that rises whenever the secret changes."""
        self.current()
        return self._version

    def current(self) -> Secret | None:
        """Return the present secret; None if there is none."""
        if self._file is not None:
            self._read_if_changed(self._file)
        elif self._env is not None and self._secret is None and self._env in self._environ:
            self._take(Secret(self._environ[self._env].strip()))
        return self._secret

    def check(self) -> None:
        """Raise `SecretError` if a place is given and no secret can be read from it."""
        if self._file is not None:
            read_secret_file(self._file)
        elif self._env is not None:
            if not self._environ.get(self._env):
                raise SecretError(f"the environment variable {self._env} is not set")
            _check_text(self._environ[self._env], f"the environment variable {self._env}")

    def _read_if_changed(self, file: Path) -> None:
        now = self._clock()
        if self._checked_at is not None and now - self._checked_at < STAT_SECONDS:
            return
        if self._reading is not None and self._reading.is_alive():
            self.problem = f"{file}: reading it does not end"
            return
        self._checked_at = now
        # In a thread of its own: the file may be on a network share that hangs.
        self._reading = threading.Thread(target=self._read, args=(file,), daemon=True)
        self._reading.start()
        self._reading.join(HANG_SECONDS)

    def _read(self, file: Path) -> None:
        try:
            stamp = read_stamp(file)
            secret = None if stamp == self._stamp else read_secret_file(file)
            problem = None
        except OSError as error:
            secret, problem = None, f"{file}: cannot be read: {error.strerror or error}"
        except SecretError as error:
            secret, problem = None, str(error)
        if file != self._file:  # it hung, and the secret has moved meanwhile
            return
        self.problem = problem
        if secret is not None:
            self._take(secret)
            self._stamp = stamp

    def _take(self, secret: Secret) -> None:
        if self._secret is None or not self._secret.matches(secret.reveal()):
            self._secret = secret
            self._version += 1
