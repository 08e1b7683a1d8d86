"""Logins by HTTP basic authentication (RFC 7617), with passwords stored as bcrypt hashes.

A check takes bcrypt a tenth of a second or more. It runs in a thread, and its result is remembered,
so that a scrape every few seconds costs none. One thread checks: a stranger who tries passwords
occupies one core at most, and logins that are remembered do not wait for it.
"""

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import bcrypt

from ..config.credentials import Secret
from ..daemon_threads import DaemonThread

MAX_REMEMBERED: Final = 1000
MAX_WAITING: Final = 32
"""Checks that may wait for the thread at once."""
MAX_PASSWORD_BYTES: Final = 72
"""What bcrypt reads of a password."""


def _nobody(users: Mapping[str, Secret]) -> bytes:
    """Return the hash that is checked for a user who does not exist.

    It costs as much as the dearest of the users', so that the time does not show which users exist.
    """
    cost = max((user.reveal()[4:6] for user in users.values()), default="10")
    return f"$2b${cost}$".encode() + b"." * 53


class TooManyLoginsError(Exception):
    """More logins are being checked than may wait; try again."""


class Logins:
    """The users who may log in, and the results of earlier checks."""

    def __init__(self, users: Mapping[str, Secret]) -> None:
        self._users = dict(users)
        self._nobody = _nobody(users)
        self._salt = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, bool] = OrderedDict()
        self._checks: dict[bytes, asyncio.Future[bool]] = {}
        self._thread = DaemonThread("logins")

    @property
    def required(self) -> bool:
        """Whether there are users at all: without any, reading needs no login."""
        return bool(self._users)

    def change(self, users: Mapping[str, Secret]) -> None:
        """Admit other users from now on."""
        self._users = dict(users)
        self._nobody = _nobody(users)
        self._remembered.clear()

    def close(self) -> None:
        """End the thread once its present check is done."""
        self._thread.shutdown()

    async def admit(self, authorization: str) -> bool:
        """Say whether the value of an `Authorization` header is a user with the right password.

        Raises `TooManyLoginsError`.
        """
        credentials = read_basic(authorization)
        if credentials is None:
            return False
        user, password = credentials
        known = self._users.get(user)
        hashed = known.reveal().encode() if known is not None else self._nobody
        digest = hashlib.blake2b(
            b"\0".join((user.encode(), hashed, password)), key=self._salt
        ).digest()
        if digest in self._remembered:
            self._remembered.move_to_end(digest)
            return self._remembered[digest]
        matches = await self._check(digest, password, hashed) and known is not None
        self._remembered[digest] = matches
        if len(self._remembered) > MAX_REMEMBERED:
            self._forget_one()
        return matches

    async def _check(self, digest: bytes, password: bytes, hashed: bytes) -> bool:
        """Check a password once, however many requests bring it at the same time."""
        check = self._checks.get(digest)
        if check is None:
            if len(self._checks) >= MAX_WAITING:
                raise TooManyLoginsError
            check = asyncio.get_running_loop().run_in_executor(
                self._thread, _matches, password, hashed
            )
            self._checks[digest] = check
            check.add_done_callback(lambda _: self._checks.pop(digest))
        return await asyncio.shield(check)

    def _forget_one(self) -> None:
        """Forget the oldest failure, so that guesses push no good login out; else the oldest."""
        failed = next((one for one, good in self._remembered.items() if not good), None)
        self._remembered.pop(failed or next(iter(self._remembered)))


def read_basic(authorization: str) -> tuple[str, bytes] | None:
    """Return user and password of an `Authorization: Basic …` header; None for anything else."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.casefold() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _matches(password: bytes, hashed: bytes) -> bool:
    if b"\0" in password or len(password) > MAX_PASSWORD_BYTES:
        return False
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False
