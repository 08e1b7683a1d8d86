"""The upstream's contract, served from memory: same bodies, same errors, fewer calls."""

import asyncio
import contextlib
import itertools
import json
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from conftest import BEARER, KEY, Open, Site, break_store, grows, until
from failing_store import FailingStore
from multidict import CIMultiDict
from prometheus_client.metrics import MetricWrapperBase
from yarl import URL

from exporter import EXPORTER, Config, Exporter, create_app
from exporter.clock import SystemClock
from exporter.polling import unregistered
from exporter.simulator import Script, Simulator
from exporter.web import status as status_module

UNKNOWN_ID = "019cdc54-2673-dc32-b9e5-6e1d36cc9e8a"


async def ask(site: Site, job_id: str | None, **headers: str) -> tuple[int, bytes, Any]:
    """Ask as a client of the upstream does; return status, body and headers."""
    parameters = {} if job_id is None else {"job_id": job_id}
    return await get(site, parameters, {"X-API-Key": KEY} | headers)


async def get(
    site: Site, query: dict[str, str], headers: Mapping[str, str]
) -> tuple[int, bytes, Any]:
    async with site.client.get("/api/v1/status", params=query, headers=headers) as response:
        return response.status, await response.read(), response.headers


async def upstream_says(simulator: Simulator, job_id: str) -> bytes:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{simulator.url}/api/v1/status",
            params={"job_id": job_id},
            headers={"X-API-Key": KEY},
        ) as response,
    ):
        return await response.read()


async def test_bodies_are_the_upstreams_byte_for_byte(site: Site, simulator: Simulator) -> None:
    odd = b'{ "state":"pending",\n "progress" : 33.0, "job_id": "%s", "new": [1] }'
    pending, done = simulator.add(Script.stuck(0.0)), simulator.add(Script.sound(0))
    body = odd % pending.encode()
    with simulator.faults.override(pending, 200, body, "application/json; charset=utf-8"):
        await site.put(pending)
        status, got, headers = await ask(site, pending)
        assert (status, got) == (200, body)
        assert headers["Content-Type"] == "application/json; charset=utf-8"
    await site.put(done)
    await site.ends(done, "done")
    assert (await ask(site, done))[:2] == (200, await upstream_says(simulator, done))


async def test_the_series_that_count_an_answer_are_looked_up_once(
    open_site: Open, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[tuple[object, ...]] = []
    original = MetricWrapperBase.labels

    def labels(self: MetricWrapperBase, *values: object) -> MetricWrapperBase:
        looked_up.append(values)
        return original(self, *values)

    monkeypatch.setattr(MetricWrapperBase, "labels", labels)
    site, done = await open_site(), simulator.add(Script.sound(0))
    await site.put(done)
    await site.ends(done, "done")
    for _ in range(3):
        assert (await ask(site, done))[0] == 200
    counted = [values for values in looked_up if {"/api/v1/status", "final"} & {*values}]
    assert counted == [("final",), ("/api/v1/status", "GET", 200), ("/api/v1/status",)]


async def test_an_id_with_escapes_or_with_other_parameters_is_the_same_job(
    open_site: Open, simulator: Simulator
) -> None:
    # The default rules of ids would hide a query that is read wrongly: these admit more.
    site = await open_site(registration={"job_id_pattern": r"[^\s/\x00]{1,64}"})
    done = simulator.add(Script.sound(0))
    await site.put(done)
    await site.ends(done, "done")
    plain = (await ask(site, done))[:2]
    escaped = f"%{ord(done[0]):02x}{done[1:]}"
    for query in (f"job_id={escaped}", f"&job_id={done}", f"job_id={done}&other=1"):
        url = URL(f"{site.url}/api/v1/status?{query}", encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers={"X-API-Key": KEY}) as response,
        ):
            assert (response.status, await response.read()) == plain


async def test_a_finished_job_is_answered_from_the_store_after_a_restart(
    open_site: Open, simulator: Simulator
) -> None:
    first = await open_site()
    ended = {
        "done": simulator.add(Script.warned(0.0)),
        "not_found": UNKNOWN_ID,
        "invalid": "no-uuid",
    }
    for state, job_id in ended.items():
        await first.put(job_id)
        await first.ends(job_id, state)
    before = {job_id: await ask(first, job_id) for job_id in ended.values()}
    assert [answer[0] for answer in before.values()] == [200, 404, 422]
    await first.client.close()
    with simulator.faults.outage():
        second = await open_site(metrics={"per_job": {"linger": "0s"}})
        for job_id, (status, body, _) in before.items():
            assert (await ask(second, job_id))[:2] == (status, body)


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}],
)
async def test_without_the_upstreams_key_it_is_401_in_the_upstreams_words(
    site: Site, headers: dict[str, str]
) -> None:
    status, body, answered = await get(site, {"job_id": UNKNOWN_ID}, headers)
    assert status == 401
    assert answered["WWW-Authenticate"] == 'Bearer realm="removit"'
    assert json.loads(body) == {"error": "unauthorized", "message": "API key invalid"}


async def test_both_ways_of_sending_the_key_are_accepted(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        assert (await get(site, {"job_id": job_id}, headers))[0] == 200


async def test_the_registration_token_is_not_accepted_as_the_key(site: Site) -> None:
    assert (await get(site, {"job_id": UNKNOWN_ID}, BEARER))[0] == 401


@pytest.mark.parametrize("query", [{}, {"job_id": ""}, {"job_id": "a/b"}, {"job_id": "x" * 200}])
async def test_a_missing_or_malformed_id_is_422(site: Site, query: dict[str, str]) -> None:
    status, body, _ = await get(site, query, {"X-API-Key": KEY})
    assert status == 422
    assert set(json.loads(body)["details"]) == {"job_id"}


async def ask_at_once(
    site: Site, simulator: Simulator, times: int, job_id: str
) -> list[tuple[int, bytes, Any]]:
    """Ask so often that all ask before the upstream answers any."""
    handler = site.client.server.handler
    assert handler is not None
    before = handler.requests_count
    with simulator.faults.stall():
        asking = [asyncio.create_task(ask(site, job_id)) for _ in range(times)]
        await until(lambda: handler.requests_count == before + times)
    return await asyncio.gather(*asking)


async def test_an_unknown_id_is_asked_about_once_and_registered_if_the_upstream_knows_it(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        status={"max_age": "60s", "max_stale": "60s"}, upstream={"timeout": "60s"}
    )
    pending, done = simulator.add(Script.stuck(0.0)), simulator.add(Script.sound(0))
    for job_id in (pending, done):
        answers = await ask_at_once(site, simulator, 20, job_id)
        assert {(status, body) for status, body, _ in answers} == {
            (200, await upstream_says(simulator, job_id))
        }
        assert (await site.job(job_id))["source"] == "status"
    await site.ends(done, "done")
    assert simulator.ledger.jobs[done].polls == 2  # one is this test's own
    assert await site.value('removit_jobs_registered_total{source="status"}') == 2
    page = await site.metrics()
    assert 'removit_jobs_first_seen_final_total{state="done",upstream="removit"} 1.0' in page
    assert await site.value('removit_exporter_status_served_total{result="learned"}') == 40


async def test_the_404_of_an_unknown_id_is_passed_on_and_remembered_but_not_registered(
    site: Site, simulator: Simulator
) -> None:
    for _ in range(5):
        status, body, headers = await ask(site, UNKNOWN_ID)
        assert (status, json.loads(body)) == (404, {"error": "not_found"})
    assert re.fullmatch("removit-exporter; hit; ttl=[0-4]", headers["Cache-Status"])
    assert simulator.ledger.requests["GET", "/api/v1/status", 404] == 1
    assert (await ask(site, "no-uuid"))[0] == 422
    async with site.client.get("/api/v1/jobs") as response:
        assert (await response.json())["jobs"] == []


async def test_an_id_that_stays_unregistered_is_asked_about_once_in_max_age(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        registration={"max_pending": 1}, status={"max_age": "60s", "max_stale": "60s"}
    )
    await site.put(simulator.add(Script.stuck(0.0)))
    await until(lambda: site.exporter.health.state == "well")
    pending, failing = simulator.add(Script.stuck(0.0)), simulator.add(Script.failing(0.0))
    for job_id, status, hit in ((pending, 200, "hit; ttl="), (failing, 500, "hit")):
        _, first, headers = await ask(site, job_id)
        said = f"removit-exporter; fwd=uri-miss; fwd-status={status}; stored"
        assert headers["Cache-Status"] == said
        for _ in range(20):
            assert (answer := await ask(site, job_id))[:2] == (status, first)
            assert answer[2]["Cache-Status"].startswith(f"removit-exporter; {hit}")
        assert simulator.ledger.jobs[job_id].polls == 1
        async with site.client.get(f"/api/v1/jobs/{job_id}") as response:
            assert response.status == 404


async def test_the_5xx_of_an_unregistered_id_is_not_repeated_once_the_upstream_is_not_well(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(status={"max_age": "60s", "max_stale": "60s"})
    failing = simulator.add(Script.failing(0.0))
    jobs = [simulator.add(Script.stuck(0.0)) for _ in range(8)]
    for job_id in jobs:
        await site.put(job_id)
    await until(lambda: site.exporter.health.state == "well")
    assert (await ask(site, failing))[0] == 500
    with simulator.faults.outage():
        await until(lambda: site.exporter.health.state == "down")
        status, body, _ = await ask(site, failing)
        assert (status, json.loads(body)["error"]) == (503, "exporter_unavailable")


async def test_setting_the_wall_clock_back_does_not_change_ages(
    open_site: Open, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unregistered, "UNKNOWN_SECONDS", 0.05)
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(polling=slow, status={"max_age": "50ms"})
    clock = site.exporter.clock
    assert isinstance(clock, SystemClock)
    clock._wall = lambda: time.time() - 3600.0
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)

    async def asked_three_times() -> bool:
        await ask(site, job_id)
        assert (await ask(site, UNKNOWN_ID))[0] == 404
        not_found = simulator.ledger.requests["GET", "/api/v1/status", 404]
        return simulator.ledger.jobs[job_id].polls >= 3 and not_found >= 3

    await until(asked_three_times)


async def test_unknown_ids_get_what_other_requests_leave_of_the_rate_limit(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        upstream={"rate": 5, "burst": 1, "timeout": "500ms"},
        polling={"min_interval": "100ms", "max_interval": "100ms"},
    )
    names = [simulator.add(Script.stuck(0.0)) for _ in range(5)]
    for name in names:
        await site.put(name)
    floods = [ask(site, f"019cdc54-2673-dc32-b9e5-{at:012x}") for at in range(50)]
    answers = await asyncio.gather(*floods)
    assert {status for status, *_ in answers} <= {404, 503}
    assert [status for status, *_ in answers].count(503) >= 45
    await until(lambda: all(simulator.ledger.jobs[name].polls >= 2 for name in names))
    assert site.exporter.poller._asks.last == 0  # nobody waits for them any more


@contextlib.asynccontextmanager
async def strangers(site: Site, simulator: Simulator) -> AsyncIterator[Callable[[], int]]:
    """Thirty who ask about ids that nobody knows, one after the other; how many were answered."""
    numbers = itertools.count()

    async def flood() -> None:
        while True:
            name = f"019cdc54-2673-dc32-b9e5-{next(numbers):012x}"
            async with site.client.get("/probe", params={"job_id": name}) as response:
                await response.read()

    floods = [asyncio.create_task(flood()) for _ in range(30)]
    try:
        yield lambda: simulator.ledger.requests["GET", "/api/v1/status", 404]
    finally:
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)


@pytest.mark.parametrize("limits", [{"burst": 5}, {"burst": 100, "concurrency": 2}])
async def test_unknown_ids_do_not_delay_the_refresh_of_a_registered_job(
    open_site: Open, simulator: Simulator, limits: dict[str, int]
) -> None:
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(upstream={"rate": 20, **limits}, polling=slow, status={"max_age": "1ms"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: simulator.ledger.jobs[job_id].polls == 1)
    async with strangers(site, simulator) as answered:
        with simulator.faults.slow(0.1):
            for polls in range(1, 4):
                await grows(answered, by=20)  # and what the burst held is spent
                await ask(site, job_id)
                assert simulator.ledger.jobs[job_id].polls == polls + 1


async def test_with_a_burst_of_one_unknown_ids_and_registered_jobs_take_turns(
    open_site: Open, simulator: Simulator
) -> None:
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(
        upstream={"rate": 20, "burst": 1}, polling=slow, status={"max_age": "1ms"}
    )
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)

    async def refreshed() -> bool:
        await ask(site, job_id)
        return simulator.ledger.jobs[job_id].polls >= 10

    async with strangers(site, simulator) as answered:
        await until(lambda: answered() >= 10)
        await until(refreshed)
        before = answered()
        await until(lambda: answered() > before)


async def test_callers_share_one_call_and_an_old_answer_is_refreshed_first(
    open_site: Open, simulator: Simulator
) -> None:
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(polling=slow, status={"max_age": "1ms"}, upstream={"timeout": "60s"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: site.exporter.registry.jobs[job_id].answered)
    answers = await ask_at_once(site, simulator, 50, job_id)
    assert {status for status, *_ in answers} == {200}
    assert simulator.ledger.jobs[job_id].polls == 2
    assert {h["Cache-Status"] for *_, h in answers} == {
        "removit-exporter; fwd=stale; fwd-status=200; stored"
    }
    assert {h["Age"] for *_, h in answers} == {"0"}


async def test_a_scheduled_poll_also_answers_clients_that_wait_to_ask(
    open_site: Open, simulator: Simulator
) -> None:
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(polling=slow, upstream={"rate": 10, "burst": 1, "timeout": "60s"})
    poller = site.exporter.poller
    for _ in range(20):  # so that nobody is asked before all are there
        poller.admission.bucket.take(time.monotonic())
    jobs = [simulator.add(Script.stuck(60)) for _ in range(4)]
    for job_id in jobs:
        await site.put(job_id)
    # Asks and due jobs take turns: while the first is asked about, another is polled.
    replies = await asyncio.gather(*(poller.ask(job_id, "client", 60.0) for job_id in jobs))
    assert [reply.http_status for reply in replies] == [200] * 4
    assert [simulator.ledger.jobs[job_id].polls for job_id in jobs] == [1] * 4


async def test_a_young_answer_costs_no_call(open_site: Open, simulator: Simulator) -> None:
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(polling=slow, status={"max_age": "60s"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await ask(site, job_id)
    for _ in range(20):
        *_, headers = await ask(site, job_id)
        assert headers["Cache-Status"].startswith("removit-exporter; hit; ttl=")
    assert simulator.ledger.jobs[job_id].polls == 1


@pytest.mark.parametrize(
    ("header", "calls"),
    [
        ("no-cache", 2),
        ("no-store, No-Cache", 2),
        ("max-age=0", 2),
        ('max-age="0"', 2),
        ("max-age=60, max-age=0", 2),
        ("max-age=60", 1),
        ("max-age=-1", 1),
        ("max-age", 1),
        ("max-age=\u0663", 1),
        ("no-cache-please", 1),
        ("", 1),
    ],
)
async def test_a_request_may_ask_for_a_younger_answer(
    open_site: Open, simulator: Simulator, header: str, calls: int
) -> None:
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(polling=slow, status={"max_age": "60s"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await ask(site, job_id)
    await ask(site, job_id, **{"Cache-Control": header})
    assert simulator.ledger.jobs[job_id].polls == calls


async def test_beyond_the_rate_limit_the_older_answer_is_served_with_its_age(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        upstream={"rate": 0.01, "burst": 1}, status={"max_age": "1ms", "max_stale": "60s"}
    )
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: simulator.ledger.jobs[job_id].polls == 1)
    await until(lambda: site.exporter.poller.answers.get(job_id))
    await asyncio.sleep(0.005)  # older than max_age
    status, _, headers = await ask(site, job_id)
    assert status == 200
    assert headers["Cache-Status"].startswith("removit-exporter; hit; ttl=-")
    assert await site.value('removit_exporter_status_served_total{result="stale"}') == 1


async def test_a_client_that_has_the_answer_gets_304(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    _, body, headers = await ask(site, job_id)
    etag = headers["ETag"]
    for offered in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        status, empty, again = await ask(site, job_id, **{"If-None-Match": offered})
        assert (status, empty, again["ETag"]) == (304, b"", etag)
        assert "Age" in again
    assert (await ask(site, job_id, **{"If-None-Match": '"other"'}))[:2] == (200, body)


async def test_every_line_of_validators_is_read(site: Site, simulator: Simulator) -> None:
    job_id, key = simulator.add(Script.stuck(0.0)), ("X-API-Key", KEY)
    await site.put(job_id)
    _, _, headers = await ask(site, job_id)
    for last, expected in ((headers["ETag"], 304), ('"b"', 200), ("", 200)):
        lines = CIMultiDict([key, ("If-None-Match", '"a"'), ("If-None-Match", last)])
        assert (await get(site, {"job_id": job_id}, lines))[0] == expected


async def with_an_answer(open_site: Open, simulator: Simulator, **status: str) -> tuple[Site, str]:
    """Open an exporter whose one job was answered once, and is seldom polled."""
    slow = {"min_interval": "60s", "max_interval": "60s"}
    site = await open_site(polling=slow, status=status)
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: site.exporter.poller.answers.get(job_id))
    return site, job_id


async def test_clients_cause_no_more_requests_about_a_failing_job_than_about_others(
    open_site: Open, simulator: Simulator
) -> None:
    slow = {"min_interval": "20s", "max_interval": "60s"}
    never_answered, answered = simulator.add(Script.stuck(0.0)), simulator.add(Script.stuck(0.0))
    site = await open_site(polling=slow, status={"max_age": "30s", "max_stale": "60s"})
    with simulator.faults.override(never_answered, 500, b"{}"):
        for job_id in (never_answered, answered):
            await site.put(job_id)
        await until(lambda: len(site.exporter.poller.schedule.polls(answered)) == 1)
        await until(lambda: len(site.exporter.poller.schedule.polls(never_answered)) == 1)
        told = [(await ask(site, never_answered)) for _ in range(10)]
    assert {status for status, _, _ in told} == {503}
    due = site.exporter.poller.schedule.due_in(never_answered)
    assert all(1 <= int(headers["Retry-After"]) <= due + 10 for _, _, headers in told)
    assert [(await ask(site, answered))[0] for _ in range(10)] == [200] * 10
    for job_id in (never_answered, answered):
        assert len(site.exporter.poller.schedule.polls(job_id)) == 1


async def test_a_client_waits_for_an_answer_that_is_being_stored(
    open_site: Open, simulator: Simulator
) -> None:
    store = FailingStore()
    site, job_id = await open_site(store=store), simulator.add(Script.stuck(0.0))
    with simulator.faults.slow(0.3):
        await site.put(job_id)
        store.gate.clear()
        await until(lambda: site.exporter.poller.schedule.polls(job_id))
    asked = asyncio.create_task(ask(site, job_id))
    await asyncio.wait({asked}, timeout=0.3)  # it is not answered before, on any machine
    store.gate.set()
    assert (await asked)[0] == 200


async def test_retry_after_about_one_job_applies_to_clients_as_well(
    open_site: Open, simulator: Simulator
) -> None:
    waits = {"min_interval": "150s", "max_interval": "150s", "max_retry_after": "5m"}
    site = await open_site(polling=waits, status={"max_age": "1ms", "max_stale": "60s"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    good = (await ask(site, job_id))[1]
    with simulator.faults.override(job_id, 503, b"{}", headers={"Retry-After": "120"}):
        assert (await ask(site, job_id))[:2] == (200, good)
    asked = len(site.exporter.poller.schedule.polls(job_id))
    assert [(await ask(site, job_id))[:2] for _ in range(5)] == [(200, good)] * 5
    assert len(site.exporter.poller.schedule.polls(job_id)) == asked
    site.change_config("status", max_stale=0.001)
    assert (await ask(site, job_id))[0] == 200  # older than may be told
    assert len(site.exporter.poller.schedule.polls(job_id)) == asked + 1


async def test_a_refresh_that_finds_the_end_is_not_reported_as_a_hit(
    open_site: Open, simulator: Simulator
) -> None:
    site, job_id = await with_an_answer(open_site, simulator, max_age="1ms")
    body = json.dumps({"job_id": job_id, "state": "done", "status": "done", "mode": "clipping"})
    with simulator.faults.override(job_id, 200, body.encode()):
        said = [(await ask(site, job_id))[2]["Cache-Status"] for _ in range(2)]
    forwarded = "removit-exporter; fwd=stale; fwd-status=200; stored"
    assert said == [forwarded, "removit-exporter; hit"]


async def test_a_fresh_answer_that_the_client_did_not_accept_is_reported_as_its_request(
    open_site: Open, simulator: Simulator
) -> None:
    site, job_id = await with_an_answer(open_site, simulator, max_age="60s")
    *_, headers = await ask(site, job_id, **{"Cache-Control": "no-cache"})
    assert headers["Cache-Status"] == "removit-exporter; fwd=request; fwd-status=200; stored"


async def test_the_first_answer_about_a_registered_job_is_reported_as_a_miss(
    site: Site, simulator: Simulator
) -> None:
    handler = site.client.server.handler
    assert handler is not None
    job_id = simulator.add(Script.stuck(0.0))
    with simulator.faults.stall():
        await site.put(job_id)
        before = handler.requests_count
        asking = asyncio.create_task(ask(site, job_id))
        await until(lambda: handler.requests_count > before)
    *_, headers = await asking
    assert headers["Cache-Status"] == "removit-exporter; fwd=uri-miss; fwd-status=200; stored"


async def test_an_expired_answer_about_an_unregistered_id_is_reported_as_stale(
    site: Site, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unregistered, "UNKNOWN_SECONDS", 0.0)
    said = [(await ask(site, UNKNOWN_ID))[2]["Cache-Status"] for _ in range(2)]
    forwarded = [f"removit-exporter; fwd={why}; fwd-status=404" for why in ("uri-miss", "stale")]
    assert said == [f"{one}; stored" for one in forwarded]


async def test_an_answer_lives_no_longer_than_until_the_next_poll_of_its_job(
    open_site: Open, simulator: Simulator
) -> None:
    site, job_id = await with_an_answer(open_site, simulator, max_age="1h", max_stale="2h")
    await until(lambda: not site.exporter.poller.is_in_flight(job_id))
    *_, headers = await ask(site, job_id)
    ttl = headers["Cache-Status"].removeprefix("removit-exporter; hit; ttl=")
    due_in = site.exporter.poller.schedule.due_in(job_id)
    assert due_in - 1 < int(ttl) < 70


async def test_a_refresh_without_a_usable_answer_is_reported_as_neither_hit_nor_stored(
    open_site: Open, simulator: Simulator
) -> None:
    site, job_id = await with_an_answer(open_site, simulator, max_age="1ms")
    with simulator.faults.override(job_id, 500, b"{}"):
        status, _, headers = await ask(site, job_id)
    assert status == 200
    assert headers["Cache-Status"] == "removit-exporter; fwd=stale; fwd-status=500"


async def test_in_an_outage_the_last_answer_is_served_and_later_an_unmistakable_503(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(status={"max_age": "10ms", "max_stale": "1s"})
    jobs = [simulator.add(Script.stuck(0.0)) for _ in range(8)]
    for job_id in jobs:
        await site.put(job_id)
        await ask(site, job_id)
    body = (await ask(site, jobs[0]))[1]
    with simulator.faults.outage(503, "html"):
        await until(lambda: site.exporter.health.state == "down")
        status, stale, _ = await ask(site, jobs[0])
        assert (status, stale) in ((200, body), (503, stale))

        async def unavailable() -> bool:
            return (await ask(site, jobs[0]))[0] == 503

        await until(unavailable)
        for job_id in (jobs[0], UNKNOWN_ID):
            status, gone, headers = await ask(site, job_id)
            assert (status, json.loads(gone)["error"]) == (503, "exporter_unavailable")
            assert int(headers["Retry-After"]) >= 1
    for job_id in jobs:
        assert (await site.job(job_id))["state"] == "pending"


async def test_in_an_outage_the_last_answer_is_served_at_once_while_others_wait_to_ask(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        upstream={"timeout": "5m"}, status={"max_age": "1ms", "max_stale": "60s"}
    )
    poller = site.exporter.poller
    jobs = [simulator.add(Script.stuck(0.0)) for _ in range(8)]
    for job_id in jobs:
        await site.put(job_id)
        await ask(site, job_id)
    with simulator.faults.outage(503, "html"):
        await until(lambda: site.exporter.health.state == "down")
        before = asyncio.create_task(poller.ask(jobs[0], "client", 300.0))
        await until(lambda: jobs[0] in poller._asks or jobs[0] in poller._flights)
        status, *_ = await asyncio.wait_for(ask(site, jobs[0]), 60)
        assert status == 200
    # By a trial while it lasted, or after it.
    assert (await asyncio.wait_for(before, 60)).http_status in (200, 503)


async def test_a_suspected_job_keeps_its_good_answer_and_a_failed_one_gets_the_5xx(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        status={"max_age": "1ms", "max_stale": "1ms"}, judgement={"failed_after": "400ms"}
    )
    job_id, witness = simulator.add(Script.stuck(0.0)), simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    _, good, _ = await ask(site, job_id)
    await site.put(witness)
    with simulator.faults.override(job_id, 500, b'{"error": "its own words"}'):
        seen = list[tuple[int, bytes]]()

        async def failed() -> bool:
            seen.append((await ask(site, job_id))[:2])
            return seen[-1][0] == 500

        await until(failed)
    assert seen[-1] == (500, b'{"error": "its own words"}')
    assert set(seen[:-1]) == {(200, good)}


async def test_a_5xx_about_a_job_without_any_answer_is_not_served_before_the_verdict(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.failing(0.0))
    await site.put(job_id)
    status, body, _ = await ask(site, job_id)
    assert (status, json.loads(body)["error"]) == (503, "exporter_unavailable")


async def test_an_expired_job_keeps_its_last_good_answer(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling={"give_up_after": "400ms"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await site.ends(job_id, "expired")
    status, body, headers = await ask(site, job_id)
    assert (status, json.loads(body)["state"]) == (200, "pending")
    assert headers["Cache-Status"] == "removit-exporter; hit"


async def test_an_expired_job_without_a_good_answer_gets_the_last_one_of_any_kind(
    open_site: Open, simulator: Simulator
) -> None:
    job_id, body = simulator.add(Script.stuck(0.0)), b"<html>no status</html>"
    with simulator.faults.override(job_id, 200, body, "text/html"):
        first = await open_site(polling={"give_up_after": "300ms"})
        await first.put(job_id)
        await first.ends(job_id, "expired")
        assert (await ask(first, job_id))[:2] == (200, body)
        await first.client.close()
        second = await open_site(metrics={"per_job": {"linger": "0s"}})
        assert (await ask(second, job_id))[:2] == (200, body)


async def test_a_key_that_the_upstream_rejects_is_answered_401_in_its_words(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    with simulator.faults.revoked_key():
        await until(lambda: site.exporter.health.state == "key_rejected")
        for asked in (job_id, UNKNOWN_ID):
            status, body, _ = await ask(site, asked)
            assert (status, json.loads(body)["error"]) == (401, "unauthorized")
    await until(lambda: site.exporter.health.circuit().closed)
    assert (await ask(site, job_id))[0] == 200


async def test_wait_answers_at_the_next_change(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(status={"max_age": "60s", "max_stale": "60s"})
    job_id = simulator.add(Script.sound(1.5))
    await site.put(job_id)
    _, body, headers = await ask(site, job_id)
    seen, key = [body], {"X-API-Key": KEY}
    while json.loads(seen[-1])["state"] == "pending":
        status, body, headers = await get(
            site,
            {"job_id": job_id, "wait": "60s"},
            key | {"If-None-Match": headers["ETag"]},
        )
        assert status == 200
        seen.append(body)
    assert len(set(seen)) == len(seen)  # each answer tells something new
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert (await get(site, {"job_id": job_id, "wait": "60s"}, key))[0] == 200
    assert loop.time() - before < 30  # what has ended does not change


async def test_wait_answers_a_client_with_an_older_answer_at_once_and_ends_in_time(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(status={"max_age": "60s", "max_stale": "60s"})
    job_id, key = simulator.add(Script.stuck(0.0)), {"X-API-Key": KEY}
    await site.put(job_id)
    _, body, headers = await ask(site, job_id)
    old = key | {"If-None-Match": '"an older one"'}
    assert (await get(site, {"job_id": job_id, "wait": "60s"}, old))[:2] == (200, body)
    same = key | {"If-None-Match": headers["ETag"]}
    assert (await get(site, {"job_id": job_id, "wait": "50ms"}, same))[0] == 304


async def test_a_wait_that_runs_out_reports_the_true_age_and_refreshes_an_old_answer(
    open_site: Open, simulator: Simulator
) -> None:
    site, job_id = await with_an_answer(open_site, simulator, max_age="100ms", max_stale="60s")
    key = {"X-API-Key": KEY}
    query = {"job_id": job_id, "wait": "500ms"}
    _, _, headers = await get(site, query, key)
    assert simulator.ledger.jobs[job_id].polls >= 2  # it was older than max_age by then
    assert "fwd=stale" in headers["Cache-Status"]
    with simulator.faults.outage():
        query["wait"] = "1200ms"
        _, _, headers = await get(site, query, key)
    assert int(headers["Age"]) >= 1


@pytest.mark.parametrize("accepted", ["no-cache", "max-age=0"])
async def test_the_answer_after_a_wait_is_no_older_than_the_client_accepts(
    open_site: Open, simulator: Simulator, accepted: str
) -> None:
    site, job_id = await with_an_answer(open_site, simulator, max_age="60s", max_stale="60s")
    before = simulator.ledger.jobs[job_id].polls
    key = {"X-API-Key": KEY, "Cache-Control": accepted}
    await get(site, {"job_id": job_id, "wait": "200ms"}, key)
    assert simulator.ledger.jobs[job_id].polls == before + 2  # before the wait, and after it


@pytest.fixture
async def plain_url(make_config: Callable[..., Config]) -> AsyncIterator[tuple[str, Exporter]]:
    """An exporter as the command serves it: nobody cancels a handler whose client goes away."""
    config = make_config(status={"max_age": "60s", "max_stale": "60s"})
    app = create_app(config)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", app[EXPORTER]
    await runner.cleanup()


async def test_a_client_that_leaves_frees_its_place_among_the_limited_waits(
    plain_url: tuple[str, Exporter], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(status_module, "MAX_WAITING", 10)
    url, exporter = plain_url
    job_id = simulator.add(Script.stuck(0.0))
    query = {"job_id": job_id, "wait": "5m"}
    async with aiohttp.ClientSession(url, headers={"X-API-Key": KEY}) as session:

        async def wait() -> int:
            async with session.get("/api/v1/status", params=query) as response:
                return response.status

        async with session.get("/api/v1/status", params={"job_id": job_id}) as response:
            assert response.status == 200
        gone = [asyncio.create_task(wait()) for _ in range(10)]
        bells = exporter.poller.answers.changes._waiting

        def waiting() -> int:
            return bells[job_id][1] if job_id in bells else 0

        await until(lambda: waiting() == 10)
        assert await wait() == 503  # no room
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        await until(lambda: waiting() == 0)
        stays = asyncio.create_task(wait())
        await until(lambda: waiting() == 1)
        body = json.dumps({"job_id": job_id, "state": "pending", "progress": 77})
        with simulator.faults.override(job_id, 200, body.encode()):
            assert await asyncio.wait_for(stays, 60) == 200


@pytest.mark.parametrize("wait", ["soon", "6m", "-1s"])
async def test_a_wait_that_is_invalid_or_too_long_is_422(site: Site, wait: str) -> None:
    status, body, _ = await get(site, {"job_id": UNKNOWN_ID, "wait": wait}, {"X-API-Key": KEY})
    assert status == 422
    assert set(json.loads(body)["details"]) == {"wait"}


async def test_a_wait_ends_when_the_exporter_stops(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(status={"max_age": "60s", "max_stale": "60s"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await ask(site, job_id)
    query = {"job_id": job_id, "wait": "5m"}
    waiting = asyncio.create_task(get(site, query, {"X-API-Key": KEY}))
    await until(lambda: len(site.exporter.poller.answers.changes) == 1)
    site.exporter.begin_stop()
    assert (await asyncio.wait_for(waiting, 60))[0] == 200


async def test_a_store_that_cannot_be_read_is_503_for_jobs_outside_memory(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    assert (await ask(site, job_id))[0] == 200
    await break_store(site)
    assert (await ask(site, job_id))[0] == 200
    status, body, _ = await ask(site, UNKNOWN_ID)
    assert (status, json.loads(body)["error"]) == (503, "exporter_unavailable")


async def test_an_internal_error_is_503_and_not_a_500_that_reads_as_a_failed_job(
    site: Site, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(job_id: str) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(site.exporter.context.status_cache, "get", broken)
    status, body, headers = await ask(site, UNKNOWN_ID)
    assert (status, json.loads(body)["error"]) == (503, "exporter_unavailable")
    assert headers["Retry-After"]
    assert await site.value('removit_exporter_status_served_total{result="unavailable"}') == 1


EXAMPLE = (Path(__file__).parent.parent / "data" / "status_example.py").read_text()
"""The Python example of the vendor's reference page, byte for byte."""


async def run_example(url: str, job_id: str, key: str = KEY) -> tuple[int, Any]:
    """Run the page's example with nothing but another base URL and job_id."""
    code = EXAMPLE.replace("https://api.removit.eu", url).replace(UNKNOWN_ID, job_id)
    code += "import json\nprint(json.dumps([response.status_code, data]))\n"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        env={"REMOVIT_API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    status, data = json.loads(out)
    return status, data


async def test_the_vendors_example_works_with_only_the_base_url_changed(
    site: Site, simulator: Simulator
) -> None:
    jobs = {
        "pending": simulator.add(Script.stuck(0)),
        "one": simulator.add(Script.sound(0, delivery_mode="final_url")),
        "many": simulator.add(Script.warned(0)),
        "failing": simulator.add(Script.failing(0)),
    }
    witness = simulator.add(Script.stuck(0.0))
    for job_id in (jobs["failing"], witness):
        await site.put(job_id)
    await site.ends(jobs["failing"], "failed")

    for told in (jobs["pending"], jobs["one"], jobs["many"], jobs["failing"], "no-uuid"):
        assert await run_example(site.url, told) == await run_example(simulator.url, told)
    status, data = await run_example(site.url, jobs["pending"])
    assert (status, data["state"]) == (200, "pending")
    assert (await run_example(site.url, jobs["one"]))[1]["final_url"]
    many = (await run_example(site.url, jobs["many"]))[1]
    assert many["final_urls"]
    assert many["ignored_variations"]
    assert (await run_example(site.url, jobs["failing"]))[0] == 500
    assert (await run_example(site.url, "no-uuid"))[0] == 422
    assert await run_example(site.url, str(uuid.uuid4())) == (404, {"error": "not_found"})
    refused = await run_example(site.url, jobs["pending"], key="wrong")
    assert refused == await run_example(simulator.url, jobs["pending"], key="wrong")
    assert refused[0] == 401
