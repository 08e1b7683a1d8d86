"""The state of the upstream over a restart: over every store, under simulated time."""

import asyncio
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from simulated_time import HOUR, START, SimulatedUpstream, exporting, pass_time, simulate, tell

from exporter.core.health.health import UpstreamState
from exporter.polling.upstream_record import NAME
from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import HistoryRequest, LoadRequest, Store, StoreError

Reopen = Callable[[], Store]
DOWN, WELL, UNKNOWN = UpstreamState.DOWN, UpstreamState.WELL, UpstreamState.UNKNOWN


@pytest.fixture(params=["sqlite", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Return a store, each time the same one as after a restart."""
    tables = MemoryStore().tables

    def make() -> Store:
        if request.param == "sqlite":
            return SqliteStore(tmp_path / "jobs.db")
        return MemoryStore(tables)

    return make


def unavailable(_: str | None) -> tuple[int, bytes]:
    return 503, b"<html>sorry</html>"


def fine(_: str | None) -> None:
    return None


async def goes_down(exporter: Any, upstream: SimulatedUpstream) -> None:
    """Have ten jobs pending, then an outage."""
    await tell(exporter, *[upstream.add(f"job-{at}", Script.stuck(10.0)) for at in range(10)])
    await pass_time(60)
    upstream.fault = unavailable
    await pass_time(120)
    assert exporter.health.state is DOWN


def test_an_outage_holds_over_restarts_and_ends_with_the_first_probe(
    reopen: Reopen, tmp_path: Path
) -> None:
    async def night() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            await goes_down(exporter, upstream)
            await pass_time(5 * HOUR)
        await pass_time(1800)
        for _ in range(2):
            before = len(upstream.asked)
            async with exporting(upstream, reopen(), tmp_path) as exporter:
                assert exporter.health.state is DOWN
                await pass_time(0.9)
                assert len(upstream.asked) - before == 1
                assert exporter.health.state is DOWN
        upstream.fault = fine
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            assert exporter.health.state is DOWN
            await pass_time(1)
            assert exporter.health.state is WELL
            changes = await exporter.store.history(HistoryRequest(99, type="upstream_changed"))
        ends = [one.event.data["to"] for one in changes if one.event.data["to"] != "suspect"]
        assert ends == ["well", "down", "well"]  # once, although it was restored three times

    simulate(night)


@pytest.mark.parametrize(("hours", "expected"), [(0.9, DOWN), (1.1, UNKNOWN)])
def test_a_state_older_than_the_counters_may_be_is_not_restored(
    reopen: Reopen, tmp_path: Path, hours: float, expected: UpstreamState
) -> None:
    async def stopped() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            await goes_down(exporter, upstream)
        await pass_time(hours * HOUR)
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            assert exporter.health.state is expected
            assert exporter.health.origin.served_before

    simulate(stopped)


async def change_record(store: Store, old: str, new: str) -> None:
    await store.open()
    request = LoadRequest(START, 0.0, HOUR, "")
    text = (await store.load(request)).kept[NAME]
    assert old in text
    await store.keep(NAME, text.replace(old, new))
    await store.close()


def test_nothing_is_restored_for_another_upstream(reopen: Reopen, tmp_path: Path) -> None:
    async def moved() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            await goes_down(exporter, upstream)
        await change_record(reopen(), "http://127.0.0.1:9", "http://127.0.0.1:10")
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            assert exporter.health.state is UNKNOWN
            assert not exporter.health.origin.served_before

    simulate(moved)


def test_a_wait_goes_on_over_a_restart(reopen: Reopen, tmp_path: Path) -> None:
    async def throttled() -> None:
        upstream = SimulatedUpstream()
        # A trial's own wait doubles to a minute; without an answer to it nothing shortens it.
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            await tell(exporter, upstream.add("a", Script.stuck(10.0)))
            await pass_time(10)
            upstream.fault = lambda job_id: (429, b"")
            await pass_time(300)
            assert exporter.health.state is UpstreamState.THROTTLED
            circuit = exporter.health.circuit()
        until = circuit.probe_at
        before = len(upstream.asked)
        async with exporting(upstream, reopen(), tmp_path) as exporter:
            assert exporter.health.state is UpstreamState.THROTTLED
            assert exporter.health.circuit().probe_at == pytest.approx(until, abs=0.01)
            await pass_time(until - asyncio.get_running_loop().time() - 0.1)
            assert len(upstream.asked) == before
            upstream.fault = fine
            await pass_time(1)
            assert exporter.health.state is WELL

    simulate(throttled)


def test_after_a_kill_the_state_is_that_of_five_seconds_before(tmp_path: Path) -> None:
    async def killed() -> None:
        upstream, tables = SimulatedUpstream(), MemoryStore().tables
        async with exporting(upstream, MemoryStore(tables), tmp_path) as exporter:
            await goes_down(exporter, upstream)
            await pass_time(2 * HOUR)  # the record is written anew meanwhile
            left = copy.deepcopy(tables)  # as kill -9 leaves them
        async with exporting(upstream, MemoryStore(copy.deepcopy(left)), tmp_path) as exporter:
            assert exporter.health.state is DOWN
            upstream.fault = fine
            await pass_time(10)
            assert exporter.health.state is WELL
            left = copy.deepcopy(exporter.store.tables)  # type: ignore[attr-defined]
        async with exporting(upstream, MemoryStore(left), tmp_path) as exporter:
            assert exporter.health.state is UNKNOWN

    simulate(killed)


def test_the_record_is_written_when_it_changes_and_seldom_otherwise(tmp_path: Path) -> None:
    async def hours() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        written: list[float] = []
        keep = store.keep

        async def counting(name: str, text: str) -> None:
            if name == NAME:
                written.append(asyncio.get_running_loop().time())
            await keep(name, text)

        store.keep = counting  # type: ignore[method-assign]
        async with exporting(upstream, store, tmp_path) as exporter:
            await tell(exporter, *[upstream.add(f"{at}", Script.stuck(10.0)) for at in range(10)])
            await pass_time(HOUR)
            assert len(written) <= 2  # at the start, and with the first good answer
            upstream.fault = unavailable
            await pass_time(HOUR)
            assert 11 <= len(written) <= 15  # each five minutes

    simulate(hours)


def test_a_store_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    async def full() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        keep = store.keep

        async def fail(name: str, text: str) -> None:
            raise StoreError("disk full")

        store.keep = fail  # type: ignore[method-assign]
        async with exporting(upstream, store, tmp_path) as exporter:
            await goes_down(exporter, upstream)
            assert NAME not in store.tables.kept
            store.keep = keep  # type: ignore[method-assign]
            await pass_time(10)
            assert json.loads(store.tables.kept[NAME])["health"]["condition"] == "failing"

    simulate(full)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        "[" * 100_000,
        '{"base_url": "http://127.0.0.1:9", "time": NaN, "health": {}}',
    ],
)
def test_a_record_that_cannot_be_read_is_reported_and_left_out(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def start() -> None:
        store = MemoryStore()
        store.tables.kept[NAME] = text
        async with exporting(SimulatedUpstream(), store, tmp_path) as exporter:
            assert exporter.health.state is UNKNOWN

    simulate(start)
    assert "the stored state of the upstream is not readable" in caplog.text
