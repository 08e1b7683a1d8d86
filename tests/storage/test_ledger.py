"""The failure ledger in every store: which keys are open, held against a plain reading of the rule.

The rule: a key is open from its last job's bad end until a later job of it is done, or someone
acknowledges it.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support import START, job

from exporter.core.job import Job, JobState
from exporter.core.ledger import LedgerChange, ledger_step, open_failure
from exporter.storage.memory import MemoryStore
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import (
    Accepted,
    Change,
    FailuresRequest,
    LoadRequest,
    PruneRequest,
    Store,
)

BAD = [JobState.FAILED, JobState.NOT_FOUND, JobState.INVALID, JobState.EXPIRED]


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = SqliteStore(tmp_path / "a.db") if request.param == "sqlite" else MemoryStore()
    await made.open()
    yield made
    await made.close()


async def move(store: Store, before: Job | None, after: Job) -> tuple[Job, LedgerChange | None]:
    expected = before.version if before else 0
    after = replace(after, version=expected + 1)
    change = Change(after, expected, ledger=ledger_step(before, after))
    [result] = await store.apply([change])
    assert isinstance(result, Accepted)
    return replace(after, incarnation=result.incarnation), result.ledger


async def add(store: Store, name: str, **fields: Any) -> Job:
    return (await move(store, None, job(name, **({"key": "sku"} | fields))))[0]


async def end(store: Store, before: Job, state: JobState) -> tuple[Job, LedgerChange | None]:
    after = replace(before, state=state, finished_at=START + 9, evidence="because")
    return await move(store, before, after)


async def open_keys(store: Store) -> list[tuple[str, str]]:
    found = (await store.failures(FailuresRequest(100))).items
    return [(failure.key, failure.job_id) for failure in found]


@pytest.mark.parametrize("state", BAD)
async def test_a_bad_end_opens_the_key(store: Store, state: JobState) -> None:
    ended, change = await end(store, await add(store, "a", labels={"shop": "eu"}), state)
    page = await store.failures(FailuresRequest(1))
    [entry] = page.items
    assert (entry, page.next) == (open_failure(ended), None)
    assert (entry.key, entry.state, entry.evidence) == ("sku", state, "because")
    assert change == LedgerChange(opened=entry)


async def test_a_good_end_opens_nothing(store: Store) -> None:
    for key in ("sku", None):
        _, change = await end(store, await add(store, f"job of {key}", key=key), JobState.DONE)
        assert (await open_keys(store), change) == ([], None)


async def test_a_job_without_a_key_counts_under_its_id(store: Store) -> None:
    failed, _ = await end(store, await add(store, "a", key=None), JobState.FAILED)
    assert await open_keys(store) == [("a", "a")]
    await end(store, failed, JobState.DONE)
    assert await open_keys(store) == []


async def test_a_later_job_with_the_id_as_its_key_closes_the_entry(store: Store) -> None:
    await end(store, await add(store, "a", key=None), JobState.FAILED)
    _, change = await end(store, await add(store, "b", key="a"), JobState.DONE)
    assert await open_keys(store) == []
    assert change is not None
    assert [one.job_id for one in change.closed] == ["a"]


async def test_a_later_job_that_is_done_closes_the_key_and_one_that_fails_takes_its_place(
    store: Store,
) -> None:
    first = await add(store, "first")
    second, third = await add(store, "second"), await add(store, "third")
    await end(store, first, JobState.FAILED)
    _, change = await end(store, second, JobState.EXPIRED)
    assert await open_keys(store) == [("sku", "second")]
    assert change is not None
    assert [one.job_id for one in change.closed] == ["first"]
    assert change.opened is not None
    assert change.opened.job_id == "second"
    _, change = await end(store, third, JobState.DONE)
    assert await open_keys(store) == []
    assert change is not None
    assert change.opened is None


async def test_an_earlier_job_changes_nothing_once_a_later_one_has_ended(
    store: Store,
) -> None:
    early, late = await add(store, "early"), await add(store, "late")
    await end(store, late, JobState.DONE)
    assert (await end(store, early, JobState.FAILED))[1] is None
    assert await open_keys(store) == []
    early, late = await add(store, "early2"), await add(store, "late2")
    await end(store, late, JobState.FAILED)
    assert (await end(store, early, JobState.DONE))[1] is None
    assert await open_keys(store) == [("sku", "late2")]


async def test_an_overturned_verdict_withdraws_its_failure(store: Store) -> None:
    failed, _ = await end(store, await add(store, "a"), JobState.FAILED)
    again, change = await move(store, failed, replace(failed, state=JobState.PENDING))
    assert await open_keys(store) == []
    assert change is not None
    await end(store, again, JobState.DONE)
    assert await open_keys(store) == []


async def test_a_key_that_comes_after_the_bad_end_opens_as_well(store: Store) -> None:
    await end(store, await add(store, "earlier", key="late"), JobState.FAILED)
    failed, _ = await end(store, await add(store, "a", key=None), JobState.FAILED)
    assert await open_keys(store) == [("a", "a"), ("late", "earlier")]
    _, change = await move(store, failed, replace(failed, key="late"))
    assert await open_keys(store) == [("late", "a")]
    assert change is not None
    assert [one.key for one in change.closed] == ["a", "late"]


async def test_acknowledging_closes_once(store: Store) -> None:
    await end(store, await add(store, "a"), JobState.FAILED)
    closed = await store.acknowledge("sku")
    assert closed is not None
    assert [one.job_id for one in closed.closed] == ["a"]
    assert await store.acknowledge("sku") is None
    assert await open_keys(store) == []


async def test_open_keys_outlive_their_jobs_and_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    await store.open()
    await end(store, await add(store, "a", labels={"shop": "eu"}), JobState.FAILED)
    [failed] = (await store.get(["a"])).values()
    await store.apply([Change(replace(failed, version=3), 2, forgotten=True)])
    assert await store.get(["a"]) == {}
    await store.close()
    store = SqliteStore(tmp_path / "a.db")
    await store.open()
    assert await open_keys(store) == [("sku", "a")]
    snapshot = await store.load(LoadRequest(START, 0.0, 1.0, "x"))
    assert list(snapshot.unresolved) == [({"shop": "eu"}, 1)]
    await store.close()


async def test_a_job_is_not_pruned_while_its_entry_is_open(store: Store) -> None:
    for name in "abc":
        await end(store, await add(store, name, key=None), JobState.FAILED)
    prune = PruneRequest(START + 99, keep=[], history_events=0, limit=2)
    assert (await store.prune(prune)).jobs == {}
    assert await store.acknowledge("b") is not None
    assert (await store.prune(prune)).jobs == {JobState.FAILED: 1}
    assert sorted(await store.get(["a", "b", "c"])) == ["a", "c"]


async def test_past_the_limit_the_oldest_entries_are_dropped(store: Store) -> None:
    for name in "abc":
        await end(store, await add(store, name, key=None), JobState.FAILED)
    pruned = await store.prune(PruneRequest(0.0, [], 99, limit=9, open_failures=2))
    assert [one.key for one in pruned.failures] == ["a"]
    assert await open_keys(store) == [("c", "c"), ("b", "b")]


async def test_open_failures_come_in_pages_newest_first_and_by_key(store: Store) -> None:
    for name in "abcde":
        await end(store, await add(store, name, key=f"k{name}"), JobState.FAILED)
    first = await store.failures(FailuresRequest(2))
    assert [one.key for one in first.items] == ["ke", "kd"]
    second = await store.failures(FailuresRequest(3, first.next))
    assert ([one.key for one in second.items], second.next) == (["kc", "kb", "ka"], None)
    [one] = (await store.failures(FailuresRequest(9, key="kb"))).items
    assert one.job_id == "b"


class LedgerMachine(RuleBasedStateMachine):
    """Both stores against the rule, read plainly from all that happened."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[tuple[Job, Job]] = []
        self.acknowledged: dict[str, int] = {}
        self.loop = asyncio.new_event_loop()

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.sqlite = SqliteStore(Path(self.folder.name) / "jobs.db")
        self.stores: list[Store] = [self.sqlite, MemoryStore()]
        self.loop.run_until_complete(self.sqlite.open())

    def teardown(self) -> None:
        self.loop.run_until_complete(self.sqlite.close())
        self.loop.close()
        self.folder.cleanup()

    def _move(self, before: Job | None, after: Job) -> Job:
        both = [self.loop.run_until_complete(move(store, before, after)) for store in self.stores]
        assert both[0] == both[1]
        return both[0][0]

    @rule(key=st.sampled_from("ab"))
    def register(self, key: str) -> None:
        made = self._move(None, job(f"job-{len(self.jobs)}", key=key))
        self.jobs.append((made, made))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), state=st.sampled_from([JobState.DONE, JobState.FAILED, JobState.PENDING]))
    def becomes(self, data: st.DataObject, state: JobState) -> None:
        at = data.draw(st.integers(0, len(self.jobs) - 1))
        former = self.jobs[at][1]
        if former.state in (state, JobState.DONE):
            return
        after = replace(former, state=state, finished_at=START + at)
        self.jobs[at] = (former, self._move(former, after))
        self._compare()

    @rule(key=st.sampled_from("ab"))
    def acknowledge(self, key: str) -> None:
        both = [self.loop.run_until_complete(store.acknowledge(key)) for store in self.stores]
        assert both[0] == both[1]
        self._compare()

    def _compare(self) -> None:
        first, second = (
            self.loop.run_until_complete(store.failures(FailuresRequest(99)))
            for store in self.stores
        )
        assert first == second
        for entry in first.items:
            of_key = [one for _, one in self.jobs if one.key == entry.key]
            [ended] = [one for one in of_key if one.job_id == entry.job_id]
            assert ended.state is JobState.FAILED
            later = [one for one in of_key if one.incarnation > ended.incarnation]
            assert JobState.DONE not in {one.state for one in later}


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestLedger = LedgerMachine.TestCase
