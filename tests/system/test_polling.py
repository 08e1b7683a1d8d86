"""Real polls over loopback: what the upstream does, and what becomes of the jobs."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import KEY, Open, Site, until
from failing_store import FailingStore

from exporter.housekeeping import Chore
from exporter.simulator import Script, Simulator
from exporter.storage.store import HistoryRequest


async def total(site: Site, name: str) -> float:
    """Add up a family's samples."""
    page = await site.metrics()
    lines = [line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def state(site: Site) -> str:
    page = await site.metrics()
    [line] = [
        line for line in page.splitlines() if "upstream_state{" in line and line[-3:] == "1.0"
    ]
    return line.split('state="')[1].split('"')[0]


async def test_a_job_is_followed_from_its_registration_to_its_result(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.4, "params"))
    shown = await site.put(job_id)
    assert (shown["state"], shown["progress"], shown["mode"]) == ("pending", None, None)
    done = await site.ends(job_id, "done")
    assert (done["mode"], done["step"], done["progress"]) == ("params", "done", 100)
    assert set(done["final_urls"]) == {"background", "compose", "shadowTop", "clipping"}
    kinds = [event["type"] for event in done["events"]]
    assert kinds[:2] == ["registered", "first_answer"]
    assert kinds[-1] == "finished"
    assert done["polls"][-1]["code"] == "200"

    async def is_polled_no_more() -> bool:
        return (await site.job(job_id))["next_poll_at"] is None

    await until(is_polled_no_more)  # at once, or when the request that brought the result ends
    assert await site.value('removit_jobs_finished_total{mode="params",state="done"}') == 1


async def test_warnings_and_ignored_variations_count_once_however_often_they_come(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.warned(600.0, early_warnings=True))
    entry = simulator.ledger.jobs[job_id]
    entry.uploaded_at -= 300.0  # it warns by now
    await site.put(job_id)
    await until(lambda: entry.polls >= 3)
    entry.uploaded_at -= 300.0
    done = await site.ends(job_id, "done")
    assert done["ignored_variations"] == ["shadow_wall"]
    for name in ("ignored_variations", "warnings"):
        series = f'removit_job_{name}_total{{mode="params",variation="shadow_wall"}}'
        assert await site.value(series) == 1


@pytest.mark.parametrize("body", ["json", "html", "empty"])
async def test_a_failed_job_is_told_from_an_outage_by_a_witness(
    site: Site, simulator: Simulator, body: str
) -> None:
    failing = simulator.add(Script.failing(0.1, failure_body=body))
    await site.put(failing)

    async def answers() -> int:
        return simulator.ledger.jobs[failing].polls

    while await answers() < 12:  # far more than the three that a verdict takes
        await asyncio.sleep(0.01)
    assert (await site.job(failing))["suspected"]
    witness = simulator.add(Script.stuck(0.1))
    await site.put(witness)
    failed = await site.ends(failing, "failed")
    assert f"while job {witness} was answered 2xx" in failed["evidence"]
    assert (await site.job(witness))["state"] == "pending"


async def test_a_job_that_was_never_found_and_one_that_is_malformed(
    site: Site, simulator: Simulator
) -> None:
    lost = simulator.add(Script.lost())
    await site.put(lost)
    await site.put("no-uuid")
    assert "404" in (await site.ends(lost, "not_found"))["evidence"]
    assert "422" in (await site.ends("no-uuid", "invalid"))["evidence"]


async def test_a_job_that_shows_late_is_not_lost(site: Site, simulator: Simulator) -> None:
    with simulator.faults.late_visibility(0.1):
        job_id = simulator.add(Script.sound(0.3))
    await site.put(job_id)
    await site.ends(job_id, "done")


async def test_a_job_that_never_ends_expires(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(polling={"give_up_after": "500ms"})
    job_id = simulator.add(Script.stuck(0.1))
    await site.put(job_id)
    assert "no end in" in (await site.ends(job_id, "expired"))["evidence"]


async def test_a_verdict_is_overturned_by_a_better_answer(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling={"recheck_after": ["500ms", "2s", "8s", "30s"]})
    job_id = simulator.add(Script.sound(0.3))
    with simulator.faults.override(job_id, 404, b'{"error": "not_found"}'):
        await site.put(job_id)
        await site.ends(job_id, "not_found")

    async def done() -> bool:
        return bool((await site.job(job_id))["state"] == "done")

    await until(done, 60.0)
    assert await site.value('removit_verdicts_overturned_total{from="not_found"}') == 1
    assert await total(site, "removit_jobs_finished_total") == 2
    kinds = [event["type"] for event in (await site.job(job_id))["events"]]
    assert kinds.count("overturned") == 1


async def test_unauthorized_suspends_all_polling(
    open_site: Open, simulator: Simulator, tmp_path: Any
) -> None:
    site = await open_site(polling={"key_retry": "1h"})
    for _ in range(20):
        await site.put(simulator.add(Script.stuck(0.1)))
    with simulator.faults.revoked_key():
        await until(lambda: site.exporter.health.state == "key_rejected")
        rejected = simulator.ledger.requests["GET", "/api/v1/status", 401]
        assert rejected <= 21  # those under way, and one control
        assert await site.value("removit_api_key_valid") == 0
        shown = await site.client.get("/api/v1/jobs")
        jobs = (await shown.json())["jobs"]
        assert {job["state"] for job in jobs} == {"pending"}
        assert {job["next_poll_reason"] for job in jobs} == {"key_rejected"}
        (tmp_path / "api.key").write_text(KEY + "-renewed")
        simulator.api_key = KEY + "-renewed"
        # A changed key is tried at once, but it is revoked as well.
        await until(lambda: simulator.ledger.requests["GET", "/api/v1/status", 401] == rejected + 1)
    (tmp_path / "api.key").write_text(KEY + "-again")
    simulator.api_key = KEY + "-again"
    await until(lambda: site.exporter.health.state == "well")
    assert await site.value("removit_api_key_valid") == 1


async def test_a_key_that_changes_while_the_former_is_tried_is_tried_at_once(
    open_site: Open, simulator: Simulator, tmp_path: Path
) -> None:
    site = await open_site(polling={"key_retry": "1h"})
    await site.put(simulator.add(Script.stuck(0.1)))
    simulator.api_key = KEY + "-renewed"
    await until(lambda: site.exporter.health.state == "key_rejected")
    with simulator.faults.slow(1.5):  # a changed key is looked for each second
        (tmp_path / "api.key").write_text(KEY + "-mistyped")
        await until(lambda: site.exporter.poller.in_flight)
        (tmp_path / "api.key").write_text(KEY + "-renewed")
        await until(lambda: site.exporter.health.state == "well")


async def test_a_rejected_key_is_tried_again_and_polling_goes_on(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.5))
    with simulator.faults.revoked_key():
        await site.put(job_id)
        await until(lambda: site.exporter.health.state == "key_rejected")
    await site.ends(job_id, "done")


async def test_an_outage_fails_no_job_and_polls_rarely(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling={"max_interval": "1s"}, judgement={"outage_window": "300ms"})
    jobs = [simulator.add(Script.sound(0.6)) for _ in range(10)]
    with simulator.faults.outage(body="html"):
        for job_id in jobs:
            await site.put(job_id)
        await until(lambda: site.exporter.health.state == "down")
        assert await site.value("removit_up") == 0
        before = simulator.ledger.requests["GET", "/api/v1/status", 503]
        await asyncio.sleep(1.0)
        polled = simulator.ledger.requests["GET", "/api/v1/status", 503] - before
        assert polled <= 8  # one trial at a time, each later than the last
        assert await total(site, "removit_jobs_finished_total") == 0
    for job_id in jobs:
        await site.ends(job_id, "done")
    assert await site.value('removit_jobs_finished_total{mode="clipping",state="failed"}') == 0


@pytest.mark.parametrize("fault", ["dropped_connection", "cut_body", "garbage", "oversized"])
async def test_what_cannot_be_read_leaves_the_job_as_it_is(
    site: Site, simulator: Simulator, fault: str
) -> None:
    job_id = simulator.add(Script.sound(0.2))
    with getattr(simulator.faults, fault)():
        await site.put(job_id)

        async def tried() -> bool:
            shown = await site.job(job_id)
            assert shown["state"] == "pending"
            return len(shown["polls"]) >= 3

        await until(tried)
    await site.ends(job_id, "done")


async def test_nobody_listening_is_a_connection_error_and_no_verdict(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.2))
    async with simulator.faults.refused():
        await site.put(job_id)

        async def tried() -> bool:
            polls = (await site.job(job_id))["polls"]
            assert {poll["code"] for poll in polls} <= {"connection"}
            return len(polls) >= 3

        await until(tried)
    await site.ends(job_id, "done")


async def test_a_stalled_upstream_is_timed_out(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(upstream={"timeout": "200ms"})
    job_id = simulator.add(Script.sound(0.2))
    with simulator.faults.stall():
        await site.put(job_id)

        async def timed_out() -> bool:
            return "timeout" in [poll["code"] for poll in (await site.job(job_id))["polls"]]

        await until(timed_out)
    await site.ends(job_id, "done")


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_429_makes_all_wait(site: Site, simulator: Simulator, as_date: bool) -> None:
    jobs = [simulator.add(Script.sound(0.2)) for _ in range(5)]
    with simulator.faults.throttled(retry_after=240, as_date=as_date):
        await site.put(jobs[0])
        await until(lambda: site.exporter.health.state == "throttled")
        for job_id in jobs:
            await site.put(job_id)
        shown = await site.job(jobs[1])
        assert (shown["next_poll_reason"], shown["polls"]) == ("retry_after", [])
        assert simulator.ledger.requests["GET", "/api/v1/status", 429] == 1


@pytest.mark.parametrize("as_date", [False, True])
async def test_after_a_429_polling_goes_on_at_a_lower_rate(
    site: Site, simulator: Simulator, as_date: bool
) -> None:
    job_id = simulator.add(Script.sound(0.2))
    with simulator.faults.throttled(retry_after=2, as_date=as_date):
        await site.put(job_id)
        await until(lambda: site.exporter.health.state == "throttled")
    await site.ends(job_id, "done")
    rate = await site.value("removit_exporter_rate_limit_per_second")
    assert rate is not None
    assert rate < 500


async def test_a_job_that_goes_from_done_back_to_pending_stays_done(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.1))
    await site.put(job_id)
    done = await site.ends(job_id, "done")
    body = b'{"job_id": "%s", "state": "pending", "progress": 5}' % job_id.encode()
    with simulator.faults.override(job_id, 200, body):
        reply = await site.exporter.poller.ask(job_id, "client", 5.0)
        assert reply.status is not None
        assert reply.status.state == "pending"
    after = await site.job(job_id)
    assert (after["state"], after["finished_at"]) == ("done", done["finished_at"])
    assert (after["next_poll_at"], after["progress"]) == (None, 100)
    assert await total(site, "removit_verdicts_overturned_total") == 0
    assert await total(site, "removit_jobs_finished_total") == 1


async def test_an_id_used_again_with_another_mode_keeps_its_mode_until_it_is_a_new_job(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.1, "params"))
    await site.put(job_id)
    await until(lambda: site.exporter.registry.jobs[job_id].mode == "params")
    body = b'{"job_id": "%s", "state": "done", "mode": "clipping", "final_url": "https://x"}'
    with simulator.faults.override(job_id, 200, body % job_id.encode()):
        assert (await site.ends(job_id, "done"))["mode"] == "params"
        assert await site.value('removit_jobs_finished_total{mode="params",state="done"}') == 1
        assert await site.value('removit_jobs_pending{mode="params"}') == 0
        deleted = await site.client.delete(f"/api/v1/jobs/{job_id}")
        assert deleted.status == 204
        again = await site.put(job_id)
        assert (again["mode"], again["state"]) == (None, "pending")
        assert (await site.ends(job_id, "done"))["mode"] == "clipping"
    assert await site.value('removit_jobs_finished_total{mode="clipping",state="done"}') == 1


async def test_each_rung_of_the_control_is_counted_and_can_be_switched_off(
    open_site: Open, simulator: Simulator
) -> None:
    for rungs in (["finished", "random", "bare"], ["random", "bare"], ["bare"]):
        site = await open_site(
            upstream={"heartbeat": "100ms"},
            judgement={"control": rungs},
            storage={"path": f"{rungs[0]}.db"},
        )
        job_id = simulator.add(Script.sound(0.05))
        await site.put(job_id)
        await site.ends(job_id, "done")
        counted = f'removit_exporter_control_requests_total{{rung="{rungs[0]}"}}'

        async def made(site: Site = site, counted: str = counted) -> bool:
            return (await site.value(counted) or 0) >= 2

        await until(made)
        for other in {"finished", "random", "bare"} - set(rungs):
            series = f'removit_exporter_control_requests_total{{rung="{other}"}}'
            assert not await site.value(series)
        labels = f'code="{422 if rungs == ["bare"] else 200 if "finished" in rungs else 404}"'
        name = "removit_upstream_requests_total"
        assert await site.value(f'{name}{{{labels},endpoint="status",purpose="control"}}')
        await site.client.close()


async def test_a_suspect_upstream_that_is_well_again_as_time_goes_by_is_told(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(judgement={"outage_window": "1s", "chance": 1e-9})
    witness = simulator.add(Script.stuck(0.1))
    failing = [simulator.add(Script.failing(0.1)) for _ in range(6)]
    for job_id in (witness, *failing):
        await site.put(job_id)

    async def told() -> bool:
        history = await site.exporter.store.history(HistoryRequest(99, type="upstream_changed"))
        states = [one.event.data["to"] for one in history]
        return "suspect" in states and states[-1] == "well"

    await until(told)


async def test_whoever_asks_meanwhile_shares_the_request(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.stuck(0.1))
    poller = site.exporter.poller
    with simulator.faults.slow(0.2):
        replies = await asyncio.gather(*(poller.ask(job_id, "client", 5.0) for _ in range(50)))
    assert {reply.code for reply in replies} == {"200"}
    assert simulator.ledger.jobs[job_id].polls == 1
    assert job_id not in site.exporter.registry.jobs


async def test_asking_shares_the_scheduled_poll_and_feeds_the_job(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.1))
    with simulator.faults.slow(0.2):
        await site.put(job_id)
        await until(lambda: site.exporter.poller.in_flight)
        reply = await site.exporter.poller.ask(job_id, "client", 5.0)
        assert reply.status is not None
        assert simulator.ledger.jobs[job_id].polls <= 1
    assert simulator.ledger.most_at_once_per_job == 1
    assert (await site.job(job_id))["step"] is not None


async def test_the_rate_limit_holds_for_all_requests_together(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(upstream={"rate": 20, "burst": 5})
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(30):
        await site.put(simulator.add(Script.stuck(0.1)))
    await until(lambda: simulator.ledger.requests["GET", "/api/v1/status", 200] >= 35)
    assert 5 + 20 * (loop.time() - started) + 1 >= 35
    assert await total(site, "removit_exporter_poll_lag_seconds_count") >= 30


async def test_a_late_answer_for_a_forgotten_job_is_fenced(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.01))
    with simulator.faults.slow(0.3):
        await site.put(job_id)
        await until(lambda: site.exporter.poller.in_flight)
        response = await site.client.delete(f"/api/v1/jobs/{job_id}")
        assert response.status == 204
        again = await site.put(job_id)
        assert (again["state"], again["last_polled_at"]) == ("pending", None)
        await until(lambda: simulator.ledger.jobs[job_id].polls >= 1)
    done = await site.ends(job_id, "done")
    kinds = [event["type"] for event in done["events"]]
    assert kinds.count("finished") == 1
    assert await site.value('removit_jobs_forgotten_total{reason="deleted"}') == 1


async def test_upstream_changes_are_in_the_history(site: Site, simulator: Simulator) -> None:
    await site.put(simulator.add(Script.sound(0.1)))
    await until(lambda: site.exporter.health.state == "well")

    async def recorded() -> list[Any]:
        return await site.exporter.store.history(HistoryRequest(99, type="upstream_changed"))

    [stored] = await until(recorded)
    assert stored.event.data == {"from": "unknown", "to": "well", "code": "200"}
    assert await state(site) == "well"


async def test_the_final_answer_is_kept_byte_for_byte(site: Site, simulator: Simulator) -> None:
    body = b'{"state":\n "done", "final_url": "https://cdn.example.com/a", "odd": [1, 2.0]}  '
    job_id = simulator.add(Script.stuck(0.1))
    with simulator.faults.override(job_id, 200, body, "application/json"):
        await site.put(job_id)
        await site.ends(job_id, "done")
    kept = await site.exporter.store.final_answer(job_id)
    assert kept is not None
    assert (kept.http_status, kept.body) == (200, body)
    assert kept.content_type.startswith("application/json")


async def test_a_final_answer_too_long_to_keep_is_kept_as_it_was_read(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.1))
    result = "https://cdn.example.com/a"
    document = {"job_id": job_id, "state": "done", "final_url": result, "note": "x" * 70_000}
    with simulator.faults.override(job_id, 200, json.dumps(document).encode()):
        await site.put(job_id)
        await site.ends(job_id, "done")
    kept = await site.exporter.store.final_answer(job_id)
    assert kept is not None
    shown = json.loads(kept.body)
    assert (shown["job_id"], shown["state"]) == (job_id, "done")
    assert shown["final_url"] == result


async def test_a_store_that_cannot_be_written_refuses_registrations_and_counts_on(
    open_site: Open, simulator: Simulator
) -> None:
    store = FailingStore()
    site = await open_site(store=store)
    job_id = simulator.add(Script.sound(0.3))
    await site.put(job_id)
    store.broken = True
    refused = await site.client.put("/api/v1/jobs/other")
    assert (refused.status, (await refused.json())["error"]) == (503, "exporter_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    await site.ends(job_id, "done")
    assert await site.value("removit_exporter_store_writable") == 0
    assert await site.value('removit_jobs_finished_total{mode="clipping",state="done"}') == 1
    ready = await site.client.get("/-/ready")
    assert ready.status == 200  # restarting would not help
    store.broken = False

    async def writable() -> bool:
        return await site.value("removit_exporter_store_writable") == 1

    await until(writable)
    await site.put("other")
    assert (await store.get([job_id]))[job_id].state == "done"


async def test_an_ask_that_waits_when_the_exporter_stops_gets_its_answer(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(upstream={"concurrency": 1})
    poller = site.exporter.poller
    with simulator.faults.stall():
        first = asyncio.create_task(poller.ask(simulator.add(Script.stuck()), "client", 9.0))
        await until(lambda: poller.in_flight)
        second = asyncio.create_task(poller.ask(simulator.add(Script.stuck()), "client", 9.0))
        await asyncio.sleep(0)
        await poller.close(grace=0.1)
        assert ((await first).failure, (await second).failure) == ("not_asked", "not_asked")


async def test_other_limits_hold_from_the_moment_they_are_set(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(upstream={"rate": 0.01, "burst": 1})
    for _ in range(5):
        await site.put(simulator.add(Script.stuck(0.1)))
    await until(lambda: simulator.ledger.requests["GET", "/api/v1/status", 200] == 1)
    site.change_config("upstream", rate=500.0, burst=50)
    await until(lambda: simulator.ledger.requests["GET", "/api/v1/status", 200] >= 20)


async def test_a_chore_that_fails_is_logged_and_the_others_go_on(
    site: Site, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise PermissionError("nobody may look there")

    chores = site.exporter.housekeeping._chores
    site.exporter.housekeeping._chores = [Chore(1, "job_files", fail), *chores]
    await until(lambda: "chore failed" in caplog.text)
    assert site.exporter.housekeeping.alive
    async with site.client.get("/-/healthy") as response:
        assert response.status == 200


async def test_a_task_that_ends_by_an_error_of_ours_makes_it_unhealthy(site: Site) -> None:
    poller = site.exporter.poller
    assert poller._task is not None
    poller._task.cancel()
    await until(lambda: not poller.alive)
    async with site.client.get("/-/healthy") as response:
        assert response.status == 503
        assert "poller" in (await response.json())["message"]
