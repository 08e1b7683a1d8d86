"""Logins by basic authentication: the users admitted, and that repeated checks cost no bcrypt."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest

from exporter.config.credentials import Secret
from exporter.web.logins import MAX_REMEMBERED, MAX_WAITING, Logins, TooManyLoginsError, read_basic


def hashed(password: str) -> Secret:
    return Secret(bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode())


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords for which bcrypt was called."""
    seen: list[bytes] = []
    original = bcrypt.checkpw

    def checkpw(password: bytes, known: bytes) -> bool:
        seen.append(password)
        return original(password, known)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return seen


@pytest.fixture
def logins() -> Iterator[Logins]:
    made = Logins({"alice": hashed("secret"), "bøb": hashed("pass:word")})
    yield made
    made.close()


@pytest.mark.parametrize(
    ("authorization", "admitted"),
    [
        (basic("alice", "secret"), True),
        (basic("alice", "secret").replace("Basic", "bAsIc"), True),
        (basic("bøb", "pass:word"), True),
        (basic("alice", "Secret"), False),
        (basic("alice", ""), False),
        (basic("mallory", "secret"), False),
        (basic("alice", "x" * 73), False),
        (basic("alice", "secret\0"), False),
        ("Bearer secret", False),
        ("Basic !!!", False),
        ("Basic " + base64.b64encode(b"alice").decode(), False),
        ("Basic " + base64.b64encode(b"\xff:secret").decode(), False),
        ("", False),
    ],
)
async def test_only_a_user_with_the_right_password_is_admitted(
    logins: Logins, authorization: str, admitted: bool
) -> None:
    assert await logins.admit(authorization) is admitted


async def test_a_repeated_login_costs_no_bcrypt(logins: Logins, checks: list[bytes]) -> None:
    for _ in range(10):
        assert await logins.admit(basic("alice", "secret"))
        assert not await logins.admit(basic("alice", "guess"))
    assert sorted(checks) == [b"guess", b"secret"]


async def test_requests_at_the_same_time_share_one_check(
    logins: Logins, checks: list[bytes]
) -> None:
    results = await asyncio.gather(*(logins.admit(basic("alice", "secret")) for _ in range(50)))
    assert results == [True] * 50
    assert checks == [b"secret"]


async def test_an_unknown_user_costs_as_much_as_a_known_one(
    logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = []

    def checkpw(password: bytes, known: bytes) -> bool:
        costs.append(known[4:6])
        return False

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    logins.change({"alice": Secret("$2y$12$" + "." * 53)})
    assert not await logins.admit(basic("mallory", "secret"))
    assert not await logins.admit(basic("alice", "secret"))
    assert costs == [b"12", b"12"]


async def test_a_password_that_is_changed_is_not_admitted_any_more(logins: Logins) -> None:
    assert await logins.admit(basic("alice", "secret"))
    logins.change({"alice": hashed("other")})
    assert not await logins.admit(basic("alice", "secret"))
    assert await logins.admit(basic("alice", "other"))


async def test_guesses_neither_push_a_good_login_out_nor_fill_the_memory(
    logins: Logins, monkeypatch: pytest.MonkeyPatch, checks: list[bytes]
) -> None:
    assert await logins.admit(basic("alice", "secret"))
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, known: False)
    for at in range(MAX_REMEMBERED + 5):
        assert not await logins.admit(basic("alice", f"guess {at}"))
    assert len(logins._remembered) == MAX_REMEMBERED
    assert await logins.admit(basic("alice", "secret"))


async def test_checks_that_wait_have_a_limit(
    logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    loop: Any = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "run_in_executor", lambda *_: asyncio.shield(gate))
    waiting = [asyncio.create_task(logins.admit(basic("x", str(at)))) for at in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyLoginsError):
        await logins.admit(basic("x", "one more"))
    gate.set_result(False)
    assert await asyncio.gather(*waiting) == [False] * MAX_WAITING


def test_a_user_name_ends_at_the_first_colon() -> None:
    assert read_basic(basic("alice", "a:b")) == ("alice", b"a:b")


def test_without_users_no_login_is_required() -> None:
    nobody = Logins({})
    assert not nobody.required
    nobody.close()
