"""Keys and tokens: from a file or the environment, never shown, compared in constant time."""

import hmac
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

MAX_SECRET_BYTES: Final = 64 * 1024
STAT_SECONDS: Final = 1.0
"""A file is looked at for changes at most this often."""


class SecretError(Exception):
    """A secret cannot be read; the message names its place, never its content."""


class Secret:
    """A text that does not print itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be pickled")

    def reveal(self) -> str:
        """Return the text, to be sent and nothing else."""
        return self._value

    def matches(self, candidate: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(
            self._value.encode(), candidate.encode("utf-8", errors="surrogateescape")
        )


def read_secret_file(path: Path) -> Secret:
    """Read a secret of one line; raises `SecretError`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SecretError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise SecretError(f"{path} is longer than {MAX_SECRET_BYTES} bytes")
    return _checked(content.decode("utf-8", errors="replace").strip("\r\n"), str(path))


def _checked(value: str, place: str) -> Secret:
    """A header's value is visible ASCII (RFC 9110, 5.5)."""
    if not value:
        raise SecretError(f"{place} is empty")
    if not all("!" <= character <= "~" for character in value):
        raise SecretError(f"{place}: expected one line of visible ASCII without spaces")
    return Secret(value)


class SecretSource:
    """Where a secret comes from: a file, which may change at any time, or the environment.

    The file wins where both are given. While it cannot be read, the last good secret stays.
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
        self._seen: tuple[int, int, int] | None = None
        self._looked_at: float | None = None

    def move(self, file: Path | None, env: str | None = None) -> None:
        """Take the secret from another place from now on."""
        if (file, env) != (self._file, self._env):
            self._file, self._env = file, env
            self._seen = self._looked_at = None
            if file is None:
                self._secret = None

    @property
    def version(self) -> int:
        """Rises with each different secret."""
        self.current()
        return self._version

    def current(self) -> Secret | None:
        """Return the secret as it is now; None where there is none."""
        if self._file is not None:
            self._look(self._file)
        elif self._env is not None and self._secret is None and self._env in self._environ:
            self._take(Secret(self._environ[self._env]))
        return self._secret

    def check(self) -> None:
        """Raise `SecretError` where the secret is wanted and cannot be had."""
        if self._file is not None:
            read_secret_file(self._file)
        elif self._env is not None:
            if not self._environ.get(self._env):
                raise SecretError(f"the environment variable {self._env} is not set")
            _checked(self._environ[self._env], f"the environment variable {self._env}")

    def _look(self, file: Path) -> None:
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < STAT_SECONDS:
            return
        self._looked_at = now
        try:
            status = file.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if seen != self._seen:
                self._take(read_secret_file(file))
                self._seen = seen
        except (OSError, SecretError):
            return  # half-written or gone: the last good one stays

    def _take(self, secret: Secret) -> None:
        if self._secret is None or not self._secret.matches(secret.reveal()):
            self._secret = secret
            self._version += 1
