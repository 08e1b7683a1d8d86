"""Requests under way: each is counted until it lands, and its end is always reported."""

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from exporter.core.reply import Reply, transport_failure
from exporter.polling.flights import Flights

ANSWER = transport_failure("timeout")


class Landings:
    """All that landed, in order."""

    def __init__(self) -> None:
        log = structlog.stdlib.get_logger("removit_exporter")
        self.flights = Flights(self._landed, log)
        self.all: list[tuple[str | None, float | None, Reply | None]] = []

    def _landed(self, job_id: str | None, due: float | None, reply: Reply | None) -> None:
        assert job_id not in self.flights
        self.all.append((job_id, due, reply))


@pytest.fixture
def landings() -> Iterator[Landings]:
    made = Landings()
    yield made
    assert len(made.flights) == 0


async def answer_after(event: asyncio.Event) -> Reply:
    await event.wait()
    return ANSWER


async def fail() -> Reply:
    raise ValueError("a mistake of ours")


async def test_a_request_lands_with_its_reply_and_the_time_at_which_it_was_due(
    landings: Landings,
) -> None:
    event = asyncio.Event()
    task = landings.flights.launch(answer_after(event), "poll a", "a", 7.0)
    control = landings.flights.launch(answer_after(event), "control")
    assert landings.flights.get("a") is task
    assert (len(landings.flights), "a" in landings.flights, None in landings.flights) == (
        2,
        True,
        True,
    )
    event.set()
    await asyncio.wait([task, control])
    assert landings.all == [("a", 7.0, ANSWER), (None, None, ANSWER)]
    assert landings.flights.get("a") is None


async def test_an_error_inside_the_exporter_is_logged_and_lands_as_a_failure(
    landings: Landings,
) -> None:
    with capture_logs() as logs:
        await asyncio.wait([landings.flights.launch(fail(), "poll a", "a")])
    [(_, _, reply)] = landings.all
    assert reply is not None
    assert reply.failure == "internal"
    assert [(line["event"], line["job_id"]) for line in logs] == [
        ("poll failed inside the exporter", "a")
    ]


async def test_closing_waits_for_requests_and_cancels_those_that_are_late(
    landings: Landings,
) -> None:
    soon, never = asyncio.Event(), asyncio.Event()
    landings.flights.launch(answer_after(soon), "poll a", "a")
    landings.flights.launch(answer_after(never), "poll b", "b")
    asyncio.get_running_loop().call_soon(soon.set)
    await asyncio.wait_for(landings.flights.close(0.01), 60)
    assert landings.all == [("a", None, ANSWER), ("b", None, None)]


async def test_closing_without_requests_ends_at_once(landings: Landings) -> None:
    await asyncio.wait_for(landings.flights.close(1000.0), 60)
    assert landings.all == []
