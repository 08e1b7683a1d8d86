"""One suite over every store."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import START, error, job, now, ok

from exporter.core.events import Event, EventType
from exporter.core.job import Job, JobState, Source, Suspicion
from exporter.core.job import Verdict as JobVerdict
from exporter.core.observation import conclude, observe
from exporter.core.reply import Kind
from exporter.core.tally import Delta
from exporter.storage.memory import MemoryStore
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import (
    COUNTER,
    SUM,
    Accepted,
    Change,
    Fenced,
    FinalAnswer,
    HistoryRequest,
    JobFilter,
    LoadRequest,
    PageRequest,
    Pruned,
    PruneRequest,
    RecheckDue,
    SignOfLife,
    Snapshot,
    Store,
)

Reopen = Callable[[], Any]


class Box:
    """A store that can be closed and opened again as after a restart."""

    def __init__(self, make: Callable[[Store | None], Store]) -> None:
        self._make = make
        self.store: Store = make(None)

    async def reopen(self) -> Store:
        await self.store.close()
        self.store = self._make(self.store)
        await self.store.open()
        return self.store


@pytest.fixture(params=["sqlite", "memory"])
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Box]:
    def sqlite(_: Store | None) -> Store:
        return SqliteStore(tmp_path / "jobs.db")

    def memory(former: Store | None) -> Store:
        return MemoryStore(former.tables if isinstance(former, MemoryStore) else None)

    made = Box(sqlite if request.param == "sqlite" else memory)
    await made.store.open()
    yield made
    await made.store.close()


def event(kind: EventType = EventType.REGISTERED, name: str | None = "a", **data: Any) -> Event:
    return Event(kind, name, START, data)


def new(name: str, **changes: Any) -> Change:
    return Change(replace(job(name), version=1, **changes), 0, (event(name=name),))


async def load(store: Store, time: float = START, **changes: Any) -> Snapshot:
    return await store.load(replace(LoadRequest(time, 0.0, 3600.0, "one"), **changes))


async def put(store: Store, change: Change) -> Job:
    [result] = await store.apply([change])
    assert isinstance(result, Accepted)
    assert change.job is not None
    return replace(change.job, incarnation=result.incarnation)


async def test_a_new_job_is_kept_and_its_events_have_rising_ids(box: Box) -> None:
    results = await box.store.apply([new("a"), new("b")])
    assert all(isinstance(result, Accepted) for result in results)
    ids = [id_ for result in results if isinstance(result, Accepted) for id_ in result.event_ids]
    assert ids == sorted(set(ids))
    kept = await (await box.reopen()).get(["a", "b", "c"])
    assert sorted(kept) == ["a", "b"]
    assert kept["a"].pending


async def test_a_job_comes_back_equal(box: Box) -> None:
    full = job(
        "a",
        labels={"shop": 'e"u\n', "ü": "✓"},
        key="sku",
        sources=(Source.API, Source.CONFIG),
        rechecks=1,
        setbacks=2,
    )
    full, _ = observe(full, ok(warnings={"a": ("x",)}, ignored_variations=("b",)), now(3))
    full, _ = observe(full, error(500), now(4))
    full, _ = conclude(full, JobVerdict(JobState.FAILED, "because"), now(5))
    kept = await put(box.store, Change(replace(full, version=1), 0))
    assert (await (await box.reopen()).get(["a"]))["a"] == kept


async def test_a_suspected_job_comes_back_with_its_run_of_answers(box: Box) -> None:
    run = Suspicion(Kind.NOT_FOUND, 2, 1.0, 9.5, 404, gateway_answers=1)
    lost = job("a", suspicion=run, lost_with_others=True, version=1)
    kept = await put(box.store, Change(lost, 0))
    assert kept.suspicion == run
    assert (await (await box.reopen()).get(["a"]))["a"] == kept


async def test_a_second_new_job_with_the_same_id_is_fenced(box: Box) -> None:
    first = await put(box.store, new("a", key="one"))
    [result] = await box.store.apply([new("a", key="two")])
    assert result == Fenced(first)
    [one, two] = await box.store.apply([new("b"), new("b")])
    assert isinstance(one, Accepted)
    assert isinstance(two, Fenced)


async def test_a_change_from_an_older_version_is_fenced_and_counts_nothing(box: Box) -> None:
    first = await put(box.store, new("a"))
    second = await put(box.store, Change(replace(first, version=2, step="x"), 1))
    late = Change(
        replace(first, version=2, step="y"),
        1,
        (event(EventType.FINISHED),),
        (Delta("removit_jobs_finished_total", (("mode", "x"),)),),
        (("mode", "x"),),
    )
    assert await box.store.apply([late]) == [Fenced(second)]
    snapshot = await load(await box.reopen())
    assert [one.step for one in snapshot.jobs] == ["x"]
    assert (list(snapshot.totals), list(snapshot.admitted)) == ([], [])
    assert len(await box.store.history(HistoryRequest(10))) == 1


async def test_a_change_for_a_former_incarnation_is_fenced(box: Box) -> None:
    first = await put(box.store, new("a"))
    await box.store.apply([Change(replace(first, version=2), 1, forgotten=True)])
    assert await box.store.get(["a"]) == {}
    second = await put(box.store, new("a"))
    assert second.incarnation > first.incarnation
    late = Change(replace(first, version=2, step="late"), 1)
    assert await box.store.apply([late]) == [Fenced(second)]
    assert (await box.store.get(["a"]))["a"].step is None


async def test_a_change_for_a_forgotten_job_is_fenced_without_a_known_job(box: Box) -> None:
    first = await put(box.store, new("a"))
    await box.store.apply([Change(replace(first, version=2), 1, forgotten=True)])
    assert await box.store.apply([Change(replace(first, version=3), 2)]) == [Fenced(None)]


async def test_totals_add_up_over_commits_and_restarts(box: Box) -> None:
    name, labels = "removit_job_duration_seconds", (("mode", "params"),)
    counter = Delta("removit_jobs_finished_total", (("state", "done"),))
    await load(box.store)
    for version in range(1, 4):
        change = Change(
            None, deltas=(counter, Delta(name, labels, 2.5, 1)), admitted=(("mode", "params"),)
        )
        await box.store.apply([change, change] if version == 1 else [change])
    snapshot = await load(await box.reopen(), START + 3600)
    numbers = {(one.name, one.bucket): one.amount for one in snapshot.totals}
    assert numbers == {
        ("removit_jobs_finished_total", COUNTER): 4,
        (name, 1): 4,
        (name, SUM): 10.0,
    }
    assert list(snapshot.admitted) == [("mode", "params")]


@pytest.mark.parametrize(
    ("later", "changes", "resumed"),
    [
        (3600.0, {}, True),
        (3601.0, {}, False),
        (-50.0, {}, True),
        (10.0, {"layout": "two"}, False),
    ],
)
async def test_totals_begin_at_zero_after_a_long_stop_or_with_another_layout(
    box: Box, later: float, changes: dict[str, Any], resumed: bool
) -> None:
    await load(box.store)
    await box.store.apply([Change(None, deltas=(Delta("x_total", ()),))])
    snapshot = await load(await box.reopen(), START + later, **changes)
    assert bool(snapshot.totals) is resumed
    assert bool((await load(await box.reopen(), START + later, **changes)).totals) is resumed


async def test_a_store_that_never_gave_a_sign_of_life_begins_at_zero(box: Box) -> None:
    await box.store.apply([Change(None, deltas=(Delta("x_total", ()),))])
    assert list((await load(box.store)).totals) == []


async def test_a_sign_of_life_keeps_the_totals_and_the_healthy_time(box: Box) -> None:
    await load(box.store)
    await box.store.apply([Change(None, deltas=(Delta("x_total", ()),))])
    await box.store.stamp(SignOfLife(START + 7000, 123.5))
    snapshot = await load(await box.reopen(), START + 9000)
    assert snapshot.totals
    assert snapshot.healthy_time == 123.5


async def test_loading_returns_pending_and_recently_finished_jobs(box: Box) -> None:
    await put(box.store, new("pending"))
    await put(box.store, new("old", state=JobState.DONE, finished_at=START - 100))
    await put(box.store, new("late", state=JobState.FAILED, finished_at=START - 10))
    snapshot = await load(box.store, finished_after=START - 50)
    assert [one.job_id for one in snapshot.jobs] == ["pending", "late"]
    assert dict(snapshot.by_state) == {"pending": 1, "done": 1, "failed": 1}


async def test_loading_returns_the_jobs_with_a_recheck_due(box: Box) -> None:
    for state in JobState:
        if state is not JobState.PENDING:
            await put(box.store, new(state.value, state=state, finished_at=START - 100))
    await put(box.store, new("once", state=JobState.EXPIRED, finished_at=START - 100, rechecks=1))
    await put(box.store, new("twice", state=JobState.FAILED, finished_at=START - 100, rechecks=2))
    await put(box.store, new("ancient", state=JobState.FAILED, finished_at=START - 500))
    due = RecheckDue(2, START - 400)
    snapshot = await load(box.store, finished_after=START - 50, recheck=due)
    asked_again = {"failed", "not_found", "expired", "once"}
    assert {one.job_id for one in snapshot.jobs} == asked_again


async def test_the_final_answer_is_kept_byte_for_byte(box: Box) -> None:
    final = FinalAnswer(500, "text/html", b"\x00<html>\xff")
    first = await put(box.store, new("a"))
    assert await box.store.final_answer("a") is None
    second = await put(box.store, Change(replace(first, version=2), 1, final=final))
    await put(box.store, Change(replace(second, version=3), 2))
    assert await (await box.reopen()).final_answer("a") == final
    assert await box.store.final_answer("b") is None


async def test_pages_are_newest_first_and_continue_at_the_cursor(box: Box) -> None:
    for name in "abcde":
        await put(box.store, new(name))
    first = await box.store.page(PageRequest(2))
    assert [one.job_id for one in first.items] == ["e", "d"]
    second = await box.store.page(PageRequest(2, first.next))
    await put(box.store, new("f"))
    last = await box.store.page(PageRequest(2, second.next))
    assert [one.job_id for one in (*second.items, *last.items)] == ["c", "b", "a"]
    assert last.next is None
    everything = await box.store.page(PageRequest(6))
    assert (len(everything.items), everything.next) == (6, None)


@pytest.mark.parametrize(
    ("job_filter", "names"),
    [
        (JobFilter(), "cba"),
        (JobFilter(state="failed"), "c"),
        (JobFilter(source="config"), "b"),
        (JobFilter(mode="params"), "c"),
        (JobFilter(key="sku"), "a"),
        (JobFilter(labels={"shop": "eu"}), "ba"),
        (JobFilter(labels={"shop": "eu", "team": "x"}), "b"),
        (JobFilter(state="failed", key="sku"), ""),
        (JobFilter(variation='a "b"'), "b"),
        (JobFilter(warning='a "b"'), "c"),
        (JobFilter(warning="none"), ""),
    ],
)
async def test_lists_are_filtered(box: Box, job_filter: JobFilter, names: str) -> None:
    await put(box.store, new("a", key="sku", labels={"shop": "eu"}))
    labels = {"shop": "eu", "team": "x"}
    await put(
        box.store, new("b", source=Source.CONFIG, labels=labels, reported_ignored=('a "b"', "c"))
    )
    failed = {"state": JobState.FAILED, "finished_at": START, "mode": "params"}
    failed["reported_warnings"] = {'a "b"': ("no value",)}
    await put(box.store, new("c", **failed))
    page = await box.store.page(PageRequest(9, job_filter=job_filter))
    assert "".join(one.job_id for one in page.items) == names


async def test_history_continues_after_an_id_and_is_filtered(box: Box) -> None:
    await put(box.store, new("a"))
    await put(box.store, new("b"))
    changed = Event(EventType.UPSTREAM_CHANGED, None, START, {"from": "well", "to": "down"})
    await box.store.apply([Change(None, events=(changed,))])
    first, second, third = await (await box.reopen()).history(HistoryRequest(10))
    assert [one.event.job_id for one in (first, second, third)] == ["a", "b", None]
    assert third.event == changed
    assert await box.store.history(HistoryRequest(1, after=first.id)) == [second]
    assert await box.store.history(HistoryRequest(2, newest=True)) == [second, third]
    assert await box.store.history(HistoryRequest(2, after=second.id, newest=True)) == [third]
    assert await box.store.history(HistoryRequest(9, job_id="b")) == [second]
    assert await box.store.history(HistoryRequest(9, type="upstream_changed")) == [third]
    ignored = Event(EventType.VARIATION_IGNORED, None, START, {"variation": "clipping"})
    await box.store.apply([Change(None, events=(ignored,))])
    [fourth] = await box.store.history(HistoryRequest(9, variation="clipping"))
    assert fourth.event == ignored
    assert await box.store.history(HistoryRequest(9, variation="compose")) == []


async def test_history_of_a_forgotten_job_still_names_it(box: Box) -> None:
    first = await put(box.store, new("a"))
    gone = (event(EventType.FORGOTTEN),)
    await box.store.apply([Change(replace(first, version=2), 1, gone, forgotten=True)])
    events = await box.store.history(HistoryRequest(9))
    assert [one.event.job_id for one in events] == ["a", "a"]


async def test_pruning_drops_old_finished_jobs_and_old_events_in_slices(box: Box) -> None:
    old = {"state": JobState.DONE, "finished_at": START - 100}
    for name in ("old1", "old2", "old3", "kept"):
        await put(box.store, new(name, **old))
    await put(box.store, new("fresh", state=JobState.DONE, finished_at=START))
    await put(box.store, new("pending"))

    async def prune() -> Pruned:
        return await box.store.prune(PruneRequest(START - 50, ["kept"], 2, limit=2))

    assert await prune() == Pruned({JobState.DONE: 2}, more=True)
    assert await prune() == Pruned({JobState.DONE: 1}, more=True)
    while (last := await prune()).more:
        assert last.jobs == {}
    left = await box.store.page(PageRequest(9))
    assert [one.job_id for one in left.items] == ["pending", "fresh", "kept"]
    events = await box.store.history(HistoryRequest(9))
    assert [one.event.job_id for one in events] == ["fresh", "pending"]
    assert await box.store.final_answer("old1") is None


async def test_a_pruned_id_may_be_registered_again(box: Box) -> None:
    await put(box.store, new("a", state=JobState.DONE, finished_at=START - 100))
    await box.store.prune(PruneRequest(START, [], 100, limit=9))
    assert (await put(box.store, new("a"))).pending


async def test_a_text_is_kept_under_its_name_and_replaced(box: Box) -> None:
    await box.store.keep("pacing", "first")
    await box.store.keep("pacing", "né\nw")
    await box.store.keep("other", "")
    assert (await load(await box.reopen())).kept == {"pacing": "né\nw", "other": ""}
