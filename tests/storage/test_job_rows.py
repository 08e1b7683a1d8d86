"""Rows whose pages are whole and whose content is not: one of them costs no other."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Open
from support import START, job

from exporter.core.events import Event, EventType
from exporter.core.job import Job, JobState
from exporter.storage.job_rows import PARSED_AT_ONCE, read_jobs
from exporter.storage.records import dump_job
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import (
    Accepted,
    Change,
    Fenced,
    HistoryRequest,
    JobFilter,
    LoadRequest,
    PageRequest,
    PruneRequest,
    Snapshot,
)

DONE: dict[str, Any] = {"state": JobState.DONE, "finished_at": START}


async def opened(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    return store


async def put(store: SqliteStore, name: str, **changes: Any) -> Job:
    made = job(name, version=1, **changes)
    event = Event(EventType.REGISTERED, name, START, {"name": name})
    [result] = await store.apply([Change(made, 0, (event,))])
    assert isinstance(result, Accepted)
    return replace(made, incarnation=result.incarnation)


def spoil(tmp_path: Path, column: str, value: object, name: str = "b") -> None:
    """Damage one job's row, by another connection."""
    database = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    # Written as text: SQLite does not check that it is valid UTF-8.
    changed = database.execute(
        f"UPDATE jobs SET {column} = CAST(? AS TEXT) WHERE job_id = ?", (value, name)
    )
    assert changed.rowcount == 1
    database.close()


def rows(tmp_path: Path, query: str) -> list[Any]:
    database = sqlite3.connect(tmp_path / "jobs.db")
    found = database.execute(query).fetchall()
    database.close()
    return found


async def load(store: SqliteStore) -> Snapshot:
    return await store.load(LoadRequest(START, START - 60, 3600.0, "one"))


DAMAGE = (
    b'{"source":"api","registered_at":17',
    b'{"source":"api","registered_at":1767225600.0,"step":"\xff\xfe"}',
    b'{"source":"apx","registered_at":1767225600.0}',
    b'{"source":"api","registered_at":1767225600.0,"stbp":"queued"}',
    b'{"registered_at":1767225600.0}',
    b'{"source":"api"}',
    b'{"source":"api","registered_at":1767225600.0,"told_by":3}',
    b"[1]",
    b"",
)


@pytest.mark.parametrize("document", DAMAGE)
async def test_at_start_a_damaged_row_is_set_aside_and_all_others_are_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, document: bytes
) -> None:
    store = await opened(tmp_path)
    for name in "abc":
        await put(store, name)
    await store.close()
    spoil(tmp_path, "document", document)
    store = await opened(tmp_path)
    assert not list(tmp_path.glob("*damaged*"))
    loaded = await load(store)
    assert [one.job_id for one in loaded.jobs] == ["a", "c"]
    assert loaded.by_state == {JobState.PENDING: 2}
    [told] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "damaged and was set aside" in told.getMessage()
    assert vars(told)["job_id"] == "b"
    again = await put(store, "b")
    assert (await store.get("abc"))["b"] == again
    await store.prune(PruneRequest(START + 9, keep=(), history_events=0, limit=100))
    await store.close()
    assert rows(tmp_path, "SELECT CAST(document AS BLOB) FROM jobs WHERE forgotten = 2") == [
        (document,)
    ]


async def test_the_line_about_a_damaged_row_names_the_upstream_and_is_counted(
    open_site: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(tmp_path)
    await put(store, "b")
    await store.close()
    spoil(tmp_path, "document", b"{")
    site = await open_site()
    [told] = [record for record in caplog.records if "damaged and was set aside" in record.msg]
    assert (told.name, vars(told)["upstream"]) == ("removit_exporter", "removit")
    assert await site.value('removit_exporter_log_events_total{level="error"}') == 1


async def test_at_start_a_damaged_state_is_read_from_the_document(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await put(store, "a")
    made = await put(store, "b")
    await store.close()
    spoil(tmp_path, "state", b"pen\xffing")
    store = await opened(tmp_path)
    loaded = await load(store)
    assert [one.job_id for one in loaded.jobs] == ["a", "b"]
    assert isinstance((await store.apply([Change(replace(made, version=2), 1)]))[0], Accepted)
    assert (await load(store)).by_state == {JobState.PENDING: 2}
    await store.close()


async def test_at_start_a_damaged_id_costs_that_job_only(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    for name in "abc":
        await put(store, name)
    await store.close()
    spoil(tmp_path, "job_id", b"\xe2\x28")
    store = await opened(tmp_path)
    assert [one.job_id for one in (await load(store)).jobs] == ["a", "c"]
    assert [stored.event.type for stored in await store.history(HistoryRequest(9))] == (
        [EventType.REGISTERED] * 3
    )
    await store.close()


async def test_reading_a_damaged_row_sets_it_aside_and_its_id_may_be_registered_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(tmp_path)
    await put(store, "a", **DONE)
    await put(store, "b", **DONE)
    spoil(tmp_path, "document", b"{")
    assert list(await store.get(["a", "b"])) == ["a"]
    assert "damaged and was set aside" in caplog.text
    again = await put(store, "b")
    assert await store.get(["b"]) == {"b": again}
    await store.close()


async def test_a_list_leaves_out_a_damaged_row_and_logs_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(tmp_path)
    for name in "abcd":
        await put(store, name, labels={"shop": "one"})
    spoil(tmp_path, "document", b"{", "c")
    for job_filter in (JobFilter(), JobFilter(), JobFilter(labels={"shop": "one"})):
        names, following = list[str](), None
        while names == [] or following is not None:
            page = await store.page(PageRequest(2, following, job_filter))
            following = page.next
            names += [one.job_id for one in page.items]
        assert names == ["d", "b", "a"]
    assert caplog.text.count("left out of a list") == 1
    await store.close()


async def test_the_next_change_of_a_resident_job_repairs_its_damaged_row(
    tmp_path: Path,
) -> None:
    store = await opened(tmp_path)
    made = await put(store, "b")
    spoil(tmp_path, "document", b"{")
    await store.page(PageRequest(9))
    after = replace(made, version=2, step="moved")
    [result] = await store.apply([Change(after, 1)])
    assert isinstance(result, Accepted)
    assert await store.get(["b"]) == {"b": after}
    await store.close()


async def test_a_change_fenced_by_a_damaged_row_does_not_fail_the_others(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    made = await put(store, "b")
    spoil(tmp_path, "document", b"{")
    stale, fresh = Change(replace(made, version=9), 8), Change(job("a", version=1), 0)
    first, second = await store.apply([stale, fresh])
    assert first == Fenced(None)
    assert isinstance(second, Accepted)
    await store.close()


def test_whole_documents_are_parsed_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    loads = json.loads

    def counted(text: str) -> Any:
        parsed.append(text)
        return loads(text)

    monkeypatch.setattr(json, "loads", counted)
    document = dump_job(job("a")).encode()
    jobs, damaged = read_jobs((b"%d" % at, at, 1, document) for at in range(2 * PARSED_AT_ONCE))
    assert [one.incarnation for one in jobs] == list(range(2 * PARSED_AT_ONCE))
    assert (damaged, len(parsed)) == ([], 2)
