"""Requests out of turn: shared by their callers, in two queues."""

from typing import Any

import pytest

from exporter.polling.asks import MAX_UNKNOWN_ASKS, Asks


async def test_all_callers_share_one_request_for_a_job() -> None:
    asks = Asks()
    first = asks.join("a", "client", last=True)
    assert first is not None
    assert asks.join("a", "probe", last=True) is first
    assert (asks.first, asks.last) == (0, 1)
    assert asks.join("a", "client", last=False) is first  # it is registered by now
    assert (asks.first, asks.last) == (1, 0)
    asks.leave(first)
    asks.leave(first)
    assert "a" in asks
    asks.leave(first)
    assert "a" not in asks


async def test_requests_are_made_in_their_order_and_end_with_the_exporter() -> None:
    asks = Asks()
    for name in ("a", "b"):
        asks.join(name, "client", last=False)
    taken = asks.next(last=False)
    assert asks.take("a") is taken
    assert asks.take("a") is None
    asks.leave(taken)  # no longer queued: nothing to take out
    assert asks.first == 1
    with pytest.raises(KeyError, match="no request waits"):
        asks.next(last=True)
    rest: Any = asks.join("b", "client", last=False)
    asks.close()
    assert (await rest.reply).code == "not_asked"
    assert asks.first == 0
    assert asks.join("c", "client", last=False) is None  # nobody would make the request


async def test_the_limit_of_unregistered_ids_holds_up_no_registered_job() -> None:
    asks = Asks()
    for at in range(MAX_UNKNOWN_ASKS):
        assert asks.join(str(at), "client", last=True)
    assert asks.join("one more", "client", last=True) is None
    assert asks.join("registered", "client", last=False) is not None
    assert asks.join("0", "client", last=True) is not None
