"""The summary has the same counts as the metrics."""

from datetime import datetime
from typing import Any

import pytest
from conftest import KEY, NOBODY, Open, Site, until

from exporter.simulator import Script, Simulator
from exporter.web import summary as summary_module


@pytest.fixture(autouse=True)
def counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "KEPT_SECONDS", 0.0)


async def summary(site: Site, **request: Any) -> dict[str, Any]:
    async with site.client.get("/api/v1/summary", **request) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Cache-Control"] == "no-store"
        shown: dict[str, Any] = await response.json()
        return shown


async def test_it_works_before_anything_has_happened(site: Site) -> None:
    found = await summary(site)
    assert found["upstream"]["name"] == "removit"
    assert found["upstream"]["state"] in ("unknown", "well")
    assert set(found["jobs"]["stored"].values()) == {0}
    assert found["modes"] == found["steps"] == {}
    assert found["polling"]["scheduled"] == 0
    assert found["exporter"]["store_writable"] is True
    assert found["exporter"]["config_reload_successful"] is True
    assert datetime.fromisoformat(found["now"]) >= datetime.fromisoformat(found["started_at"])


async def test_counts_are_those_of_the_jobs(site: Site, simulator: Simulator) -> None:
    done = simulator.add(Script.sound(0.0, "clipping"))
    pending = b'{"state": "pending", "status": "queued", "mode": "clipping", "progress": 0}'
    with simulator.faults.override(done, 200, pending):  # its duration counts only then
        await site.put(done)
        await until(lambda: site.exporter.registry.jobs[done].answered)
    await site.ends(done, "done")
    stuck = simulator.add(Script.stuck(0.0, "params"))
    await site.put(stuck)
    await until(lambda: site.exporter.registry.jobs[stuck].mode)
    found = await summary(site)
    assert found["jobs"]["stored"] | {"done": 1, "pending": 1} == found["jobs"]["stored"]
    assert found["modes"]["params"]["pending"] == 1
    assert found["modes"]["params"]["p50"] is None
    assert found["modes"]["clipping"] | {"pending": 0, "done": 1} == found["modes"]["clipping"]
    assert 0 < found["modes"]["clipping"]["p50"] <= found["modes"]["clipping"]["p99"]
    assert sum(found["steps"].values()) == 1
    assert found["upstream"] | {"state": "well", "up": True} == found["upstream"]
    assert found["upstream"]["key_valid"] is True
    assert found["upstream"]["next_try_at"] is None
    assert found["newest_event_id"] == site.exporter.registry.feed.newest_id
    assert found["jobs"]["counted_through"] == found["newest_event_id"]
    assert found["polling"]["scheduled"] + found["polling"]["in_flight"] >= 1


async def test_pending_jobs_with_problems_are_counted(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        polling={"max_interval": "40ms", "stalled_after": "50ms"},
        judgement={"failed_after": "1h", "gateway_failed_after": "1h"},
    )
    stuck, failing = simulator.add(Script.stuck(0.0)), simulator.add(Script.failing(0.0))
    await site.put(stuck)
    await site.put(failing)

    async def both() -> bool:
        jobs = (await summary(site))["jobs"]
        return bool(jobs["stalled"] >= 1 and jobs["suspected"] == 1)

    await until(both)
    assert (await summary(site))["jobs"]["stalled_after"] == 0.05


async def test_an_overdue_job_is_counted_and_its_limit_shown(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling={"overdue_samples": 1, "overdue_factor": 1})
    done = simulator.add(Script.sound(0.0, "clipping"))
    pending = b'{"state": "pending", "status": "queued", "mode": "clipping", "progress": 0}'
    with simulator.faults.override(done, 200, pending):  # its duration counts only then
        await site.put(done)
        await until(lambda: site.exporter.registry.jobs[done].answered)
    await site.ends(done, "done")
    await site.put(simulator.add(Script.stuck(0.0, "clipping")))

    async def overdue() -> bool:
        return bool((await summary(site))["jobs"]["overdue"] == 1)

    await until(overdue)
    assert (await summary(site))["modes"]["clipping"]["overdue_after"] > 0


async def test_a_rejected_key_is_shown_with_the_next_attempt(
    site: Site, simulator: Simulator
) -> None:
    with simulator.faults.revoked_key():
        await site.put(simulator.add(Script.stuck(0.0)))

        async def rejected() -> bool:
            found: bool = (await summary(site))["upstream"]["state"] == "key_rejected"
            return found

        await until(rejected)
        found = (await summary(site))["upstream"]
        assert found["key_valid"] is False
        assert found["next_try_at"] is not None
    assert KEY not in str(found)


async def test_an_answer_that_is_not_the_apis_is_shown_until_the_api_answers(
    site: Site, simulator: Simulator
) -> None:
    stuck = simulator.add(Script.stuck(0.0))

    async def failure(wanted: bool) -> bool:
        return ((await summary(site))["upstream"]["failure"] is not None) is wanted

    with simulator.faults.misrouted():
        await site.put(stuck)
        await until(lambda: failure(True))
        shown = (await summary(site))["upstream"]["failure"]
        assert shown["reason"] == "invalid_body"
        assert shown["detail"].startswith("404 <html><head><title>404 error")
    await until(lambda: failure(False))


async def test_open_keys_of_the_failure_ledger_are_counted(
    site: Site, simulator: Simulator
) -> None:
    await site.put("not-a-uuid", key="sku-1")
    await site.ends("not-a-uuid", "invalid")
    assert (await summary(site))["failures"] == {"open": 1}


async def test_it_says_whether_result_links_are_shown_to_this_reader(site: Site) -> None:
    assert (await summary(site))["results_shown"] is True
    assert (await summary(site, headers=NOBODY))["results_shown"] is False


async def test_many_readers_share_one_count(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "KEPT_SECONDS", 3600.0)
    first = await summary(site)
    await site.put("not-a-uuid")
    second = await summary(site)
    assert second["jobs"] == first["jobs"]
    assert second["newest_event_id"] > first["newest_event_id"]
    assert second["now"] > first["now"]


async def test_it_takes_no_parameters(site: Site) -> None:
    async with site.client.get("/api/v1/summary", params={"mode": "params"}) as response:
        assert response.status == 422
        assert set((await response.json())["details"]) == {"mode"}
