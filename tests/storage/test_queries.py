"""Events, totals and failures with damaged rows. `test_store.py` tests the queries themselves."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from databases import opened
from support import START, job

from exporter.core.events import Event, EventType
from exporter.core.job import JobState
from exporter.core.ledger import LedgerStep
from exporter.core.tally import Delta
from exporter.storage.store import (
    Accepted,
    Change,
    FailuresRequest,
    HistoryRequest,
    LoadRequest,
)

LOAD = LoadRequest(START, START - 60, 3600.0, "one")


async def test_damaged_events_totals_and_failures_do_not_affect_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(tmp_path / "jobs.db")
    for name in "abc":
        event = Event(EventType.REGISTERED, name, START, {"name": name})
        [result] = await store.apply([Change(job(name, version=1, key=name), 0, (event,))])
        assert isinstance(result, Accepted)
        failed = job(name, version=2, key=name, state=JobState.FAILED, finished_at=START)
        failed = replace(failed, incarnation=result.incarnation)
        delta = Delta("removit_jobs_finished_total", (("mode", name),), 1.0)
        await store.apply([Change(failed, 1, deltas=(delta,), ledger=LedgerStep.OPEN)])
    await store.load(LOAD)
    for name in "abc":
        await store.apply([Change(None, deltas=(Delta("total", (("mode", name),), 1.0),))])
    await store.close()
    database = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    database.execute("UPDATE events SET data = '{' WHERE id = 1")
    database.execute("UPDATE events SET type = 'regist' WHERE id = 2")
    database.execute("""UPDATE totals SET labels = '[["mode' WHERE labels = '[["mode","b"]]'""")
    database.execute("UPDATE failures SET labels = '3', state = 'fai' WHERE key = 'b'")
    database.close()
    store = await opened(tmp_path / "jobs.db")
    loaded = await store.load(LOAD)
    assert {total.labels for total in loaded.totals} == {(("mode", "a"),), (("mode", "c"),)}
    assert "a stored total is damaged" in caplog.text
    assert sum(count for _, count in loaded.unresolved) == 3
    failures = (await store.failures(FailuresRequest(9))).items
    assert [failure.key for failure in failures] == ["c", "b", "a"]
    assert await store.acknowledge("b") is not None
    events = await store.history(HistoryRequest(2))
    assert [(stored.id, stored.event.data) for stored in events] == [(1, {}), (3, {"name": "c"})]
    await store.close()
