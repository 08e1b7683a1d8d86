"""Registration at volume: NDJSON in, acknowledgements and refusals out, line by line."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import AUTHORIZATION, AsTheCommand, Open, Site, until
from failing_store import FailingStore, held
from hypothesis import given
from hypothesis import strategies as st
from support import fuzzed

from exporter import stop
from exporter.simulator import Script, Simulator
from exporter.web import bulk
from exporter.web.bulk import BATCH_LINES, MAX_LINE_BYTES, CutShortError, read_lines

HEADERS = {"Content-Type": "application/x-ndjson"}


def body(*documents: Any) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


async def send(site: Site, data: Any) -> list[dict[str, Any]]:
    async with site.client.post("/api/v1/jobs", data=data, headers=HEADERS) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) async for line in response.content]


async def test_a_stream_with_broken_chunks_is_not_reported_as_done(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "IDLE_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection(site.client.host, site.client.port)
    line = b'{"job_id": "a"}\n'
    writer.write(
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
        + AUTHORIZATION
        + b"Content-Type: application/x-ndjson\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(line), line)
    )
    await asyncio.wait_for(reader.readuntil(b'{"acknowledged_through": 1'), 60)
    writer.write(b"no number\r\n")
    told = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 60)
    assert b'"done"' not in told
    writer.close()


async def test_good_lines_are_registered_and_bad_ones_are_reported_by_number(
    open_site: Open,
) -> None:
    site = await open_site(registration={"allowed_labels": ["shop"]})
    await site.put("known", key="sku-1")
    lines = [
        b'{"job_id": "a", "labels": {"shop": "eu"}, "registered_at": "2026-03-11T09:57:08Z"}',
        b"",
        b'{"job_id": "b/c"}',
        b"{nonsense",
        b'{"job_id": "known", "key": "sku-2"}',
        b"[]",
        b'{"job_id": "' + b"x" * MAX_LINE_BYTES + b'"}',
        b'{"job_id": "known"}',
        b'{"job_id": "d", "labels": {"colour": "red"}, "extra": 1}\r',
        b"\xff",
        b'{"job_id": "\\ud800", "\\udfff": 1}',
        b'{"job_id": "last"}',
    ]
    answers = await send(site, b"\n".join(lines))
    refused = {one["line"]: one for one in answers if "line" in one}
    assert {at: one["error"] for at, one in refused.items()} == {
        3: "validation",
        4: "malformed",
        5: "conflict",
        6: "validation",
        7: "too_large",
        9: "validation",
        10: "malformed",
        11: "validation",
    }
    assert "job_id" in refused[3]["details"]
    assert "column" in refused[4]["message"]
    assert refused[5]["details"]["key"] == ["registered as 'sku-1', cannot become 'sku-2'"]
    assert set(refused[9]["details"]) == {"labels.colour", "extra"}
    assert answers[-1] == {"done": True, "registered": 2, "known": 1, "refused": 8}
    acknowledged = [one for one in answers if "acknowledged_through" in one][-1]
    assert acknowledged == {"acknowledged_through": 12, "registered": 2, "known": 1}
    assert (await site.job("a"))["labels"] == {"shop": "eu"}
    assert (await site.job("a"))["registered_at"] == "2026-03-11T09:57:08.000Z"
    assert await site.value('removit_exporter_registrations_refused_total{reason="invalid"}') == 7
    assert await site.value('removit_exporter_registrations_refused_total{reason="conflict"}') == 1


async def test_each_batch_is_acknowledged_while_the_sender_is_still_sending(site: Site) -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield body({"job_id": "first"})
        await gate.wait()
        yield body({"job_id": "second"})

    async with site.client.post("/api/v1/jobs", data=slow(), headers=HEADERS) as response:
        first = json.loads(await response.content.readline())
        assert first == {"acknowledged_through": 1, "registered": 1, "known": 0}
        assert "first" in site.exporter.registry.jobs
        assert "second" not in site.exporter.registry.jobs
        gate.set()
        rest = [json.loads(line) async for line in response.content]
    assert rest[-1] == {"done": True, "registered": 2, "known": 0, "refused": 0}


async def test_a_sender_that_disconnects_loses_nothing_that_was_acknowledged(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        at = 0
        while True:
            yield body(*({"job_id": f"job-{at + n}"} for n in range(100)))
            at += 100

    async with site.client.post("/api/v1/jobs", data=endless(), headers=HEADERS) as response:
        acknowledged = 0
        while acknowledged < 1000:
            acknowledged = json.loads(await response.content.readline())["acknowledged_through"]
        response.close()
    jobs = site.exporter.registry.jobs
    assert all(f"job-{at}" in jobs for at in range(acknowledged))
    assert (await site.put("another"))["job_id"] == "another"


async def test_when_the_registry_is_full_the_jobs_that_fit_are_registered_and_the_answer_ends(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(registration={"max_pending": 3}, upstream={"rate": 0.001, "burst": 1})
    one, a, b, c, d = (simulator.add(Script.stuck()) for _ in range(5))
    await site.put(one)
    names = [a, one, b, a, c, d]
    answers = await send(site, body(*({"job_id": name} for name in names)))
    assert answers == [
        {"acknowledged_through": 4, "registered": 2, "known": 2},
        {
            "error": "full",
            "message": "registration.max_pending: 3 jobs are pending already",
            "retry_after": 5,
        },
    ]
    assert set(site.exporter.registry.jobs) == {one, a, b}
    assert await site.value('removit_exporter_registrations_refused_total{reason="full"}') == 2
    refused = await site.client.put(f"/api/v1/jobs/{c}")
    assert (refused.status, "Retry-After" in refused.headers) == (503, True)


async def test_a_store_that_fails_ends_the_answer_after_the_last_stored_batch(
    open_site: Open,
) -> None:
    store = FailingStore()
    site = await open_site(store=store, upstream={"rate": 0.001, "burst": 1})
    store.left = 2
    answers = await send(site, body(*({"job_id": f"job-{at}"} for at in range(4 * BATCH_LINES))))
    stored = [one.get("acknowledged_through") for one in answers[:2]]
    assert stored == [BATCH_LINES, 2 * BATCH_LINES]
    message = "the store cannot be written at the moment"
    assert answers[2] == {"error": "exporter_unavailable", "message": message, "retry_after": 5}
    assert len(answers) == 3
    assert len(site.exporter.registry.jobs) == 2 * BATCH_LINES


async def test_a_compressed_stream_is_refused_because_a_cut_would_not_be_noticed(
    site: Site,
) -> None:
    packed = gzip.compress(body(*({"job_id": f"job-{at}"} for at in range(1000))))
    headers = HEADERS | {"Content-Encoding": "gzip"}
    async with site.client.post("/api/v1/jobs", data=packed, headers=headers) as response:
        assert response.status == 415
    assert not site.exporter.registry.jobs


async def test_an_empty_body_registers_nothing(site: Site) -> None:
    done = {"done": True, "registered": 0, "known": 0, "refused": 0}
    assert await send(site, b"") == [done]
    assert await send(site, b"\n \n") == [done]


async def test_another_media_type_is_refused(site: Site) -> None:
    async with site.client.post("/api/v1/jobs", data=b"", headers={"Content-Type": "text/csv"}) as (
        response
    ):
        assert response.status == 415
        assert "application/x-ndjson" in (await response.json())["message"]


async def test_jobs_of_a_stream_are_polled(site: Site, simulator: Simulator) -> None:
    names = [simulator.add(Script.sound(0.1)) for _ in range(300)]
    answers = await send(site, body(*({"job_id": name} for name in names)))
    assert answers[-1]["registered"] == 300

    async def all_done() -> bool:
        value = await site.value('removit_jobs_finished_total{mode="clipping",state="done"}')
        return value == 300

    await until(all_done)


class Chunks:
    """A body that comes in given pieces, perhaps cut off."""

    def __init__(self, pieces: list[bytes], cut: bool = False) -> None:
        self._pieces = [*pieces, b""]
        self._cut = cut

    async def readany(self) -> bytes:
        if self._cut and len(self._pieces) == 1:
            raise ConnectionResetError
        return self._pieces.pop(0)


async def gather(content: Chunks, limit: int) -> list[tuple[int, bytes | None]]:
    return [
        (line.number, line.content) async for batch in read_lines(content, limit) for line in batch
    ]


@pytest.mark.fuzz
@fuzzed(100)
@given(st.binary(max_size=300).map(lambda data: data.replace(b"x", b"\n")), st.data())
def test_lines_do_not_depend_on_how_the_body_is_cut_into_pieces(
    whole: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]
    lines = asyncio.run(gather(Chunks(pieces), 20))
    expected = [
        (number, None if len(line) > 20 else line)
        for number, line in enumerate(whole.split(b"\n"), start=1)
        if line.strip() or len(line) > 20
    ]
    assert lines == expected


@pytest.mark.parametrize("rest", [b"", b'{"job_id": "half'])
async def test_a_line_that_is_cut_off_is_dropped(rest: bytes) -> None:
    lines = []
    with contextlib.suppress(CutShortError):
        async for batch in read_lines(Chunks([b"one\ntwo\n" + rest], cut=True), 100):
            lines += [(line.number, line.content) for line in batch]
        pytest.fail("a body that is cut off looks whole")
    assert lines == [(1, b"one"), (2, b"two")]


@pytest.mark.parametrize("stuck", [False, True])
async def test_when_the_exporter_stops_the_answer_ends_after_the_current_batch(
    open_site: Open, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    monkeypatch.setattr(stop, "REQUEST_SECONDS", 0.2)
    site = await open_site(server=AsTheCommand)
    going = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield body({"job_id": "first"})
        await going.wait()
        yield body({"job_id": "second"})
        await asyncio.Event().wait()

    async with site.client.post("/api/v1/jobs", data=endless(), headers=HEADERS) as response:
        first = json.loads(await response.content.readline())
        assert first["acknowledged_through"] == 1
        with contextlib.ExitStack() as slow:
            if stuck:
                store = slow.enter_context(held(site.exporter.store))
                going.set()
                await until(lambda: store.commits)
            assert site.client.server.runner is not None
            stopping = asyncio.create_task(site.client.server.runner.cleanup())
            rest = [json.loads(line) async for line in response.content]
    assert [one.pop("message") for one in rest] == ["the exporter stops"]
    assert rest == [{"error": "exporter_unavailable", "retry_after": 5}]
    await asyncio.wait_for(stopping, 60)
