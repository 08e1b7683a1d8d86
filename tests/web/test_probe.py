"""Probes of one job for Prometheus, and jobs as targets of probes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Open, Site, grows, until
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter.simulator import Script, Simulator

UNKNOWN_ID = "019cdc54-2673-dc32-b9e5-6e1d36cc9e8a"


async def probe(site: Site, job_id: str, **headers: str) -> dict[str, float]:
    """Return the samples of a probe, each by name and labels."""
    async with site.client.get("/probe", params={"job_id": job_id}, headers=headers) as response:
        assert response.status == 200, await response.text()
        text = await response.text()
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in text_families(text)
        for sample in family.samples
    }


async def story(site: Site, job_id: str, **headers: str) -> str:
    query = {"job_id": job_id, "debug": "true"}
    async with site.client.get("/probe", params=query, headers=headers) as response:
        return await response.text()


async def test_a_probe_shows_one_job_and_registers_nothing(
    site: Site, simulator: Simulator
) -> None:
    samples = await probe(site, simulator.add(Script.warned(0.0)))
    assert samples.pop("probe_duration_seconds") > 0
    assert samples == {
        "probe_success": 1,
        "removit_probe_http_status_code": 200,
        "removit_probe_job_state,pending": 0,
        "removit_probe_job_state,done": 1,
        "removit_probe_job_state,failed": 0,
        "removit_probe_job_progress_ratio": 1,
        "removit_probe_warnings": 1,
        "removit_probe_ignored_variations": 1,
    }
    async with site.client.get("/api/v1/jobs") as response:
        assert (await response.json())["jobs"] == []
    code = 'removit_upstream_requests_total{code="200",endpoint="status",purpose="probe"}'
    assert await site.value(code) == 1


async def test_the_docs_list_the_metrics_of_a_probe_with_their_help(
    site: Site, simulator: Simulator
) -> None:
    query = {"job_id": simulator.add(Script.warned(0.0))}
    async with site.client.get("/probe", params=query) as response:
        families = list(text_families(await response.text()))
    page = (Path(__file__).parent.parent.parent / "docs" / "metrics.md").read_text()
    section = page.partition("## Metrics of a probe\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", section, re.MULTILINE)
    assert {(name, meaning) for name, _, meaning in rows} == {
        (family.name, family.documentation) for family in families
    }
    labels = {name: set() if label == "none" else {label} for name, label, _ in rows}
    for family in families:
        assert all(set(sample.labels) == labels[family.name] for sample in family.samples)


async def test_a_pending_job_is_a_success_and_an_error_is_not(
    site: Site, simulator: Simulator
) -> None:
    assert (await probe(site, simulator.add(Script.stuck(0.0))))["probe_success"] == 1
    for job_id, status in ((UNKNOWN_ID, 404), ("no-uuid", 422)):
        samples = await probe(site, job_id)
        assert samples["probe_success"] == 0
        assert samples["removit_probe_http_status_code"] == status
        assert "removit_probe_job_progress_ratio" not in samples


async def test_the_page_is_openmetrics_when_asked_for(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with site.client.get("/probe", params={"job_id": job_id}, headers=accept) as response:
        text = await response.text()
    assert "probe_success" in {family.name for family in openmetrics_families(text)}


async def test_a_probe_ends_before_the_scrape_does(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(upstream={"timeout": "1m"})
    job_id = simulator.add(Script.stuck(0.0))
    timeout = {"X-Prometheus-Scrape-Timeout-Seconds": "0.6"}
    with simulator.faults.stall():
        samples = await probe(site, job_id, **timeout)
        assert samples["probe_success"] == 0
        assert samples["probe_duration_seconds"] < 30.0  # half of the upstream's time-out
        assert "did not answer (timeout)" in await story(site, job_id, **timeout)


async def test_a_probe_keeps_to_the_rate_limit(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(upstream={"rate": 0.01, "burst": 1})
    job_id = simulator.add(Script.stuck(0.0))
    assert (await probe(site, job_id))["probe_success"] == 1
    timeout = {"X-Prometheus-Scrape-Timeout-Seconds": "0.2"}
    assert (await probe(site, job_id, **timeout))["probe_success"] == 0
    assert "the rate limit allowed no request" in await story(site, job_id, **timeout)
    assert simulator.ledger.jobs[job_id].polls == 1


async def test_while_the_upstream_is_down_a_probe_fails_at_once(
    site: Site, simulator: Simulator
) -> None:
    names = [simulator.add(Script.stuck(0.0)) for _ in range(8)]
    for name in names:
        await site.put(name)
    with simulator.faults.outage():
        await until(lambda: site.exporter.health.state == "down")
        samples = await probe(site, names[0])
        assert samples["probe_success"] == 0
        assert "removit_probe_http_status_code" not in samples
        text = await story(site, names[0])
    assert "The upstream is down." in text
    assert "not being asked at the moment" in text


async def test_debug_describes_the_probe_in_words(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.warned(0.0))
    await site.put(job_id)
    await site.ends(job_id, "done")
    text = await story(site, job_id)
    assert f"Probe of job {job_id}" in text
    assert "The exporter tracks it: done" in text
    assert "The job is done at step done, progress 100 %, and that is final." in text
    assert "Warnings of shadow_wall: params not provided" in text
    assert "Ignored variations: shadow_wall" in text
    assert text.endswith("probe_success 1\n")
    with simulator.faults.override(job_id, 200, b'{"state": "exploded", "job_id": 1}'):
        text = await story(site, job_id)
    assert "Deviation from the contract: unknown_state (exploded)" in text
    assert "does not track it" in await story(site, UNKNOWN_ID)


async def test_probes_of_a_failed_job_use_up_none_of_its_rechecks(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling={"recheck_after": ["1h"]})
    await site.put(UNKNOWN_ID)
    await site.ends(UNKNOWN_ID, "not_found")
    for _ in range(3):
        await probe(site, UNKNOWN_ID)
    job = site.exporter.registry.jobs[UNKNOWN_ID]
    assert job.rechecks == 0
    assert (await site.job(UNKNOWN_ID))["next_poll_reason"] == "recheck"


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (401, b'{"error": "unauthorized"}', {}),
        (403, b'{"error": "forbidden"}', {}),
        (403, b"<html>", {}),
        (503, b'{"error": "x"}', {"Retry-After": "120"}),
    ],
)
async def test_an_answer_to_a_probe_does_not_suspend_polling(
    open_site: Open, simulator: Simulator, status: int, body: bytes, headers: dict[str, str]
) -> None:
    site = await open_site(polling={"max_retry_after": "5m"})
    job_id, stranger = simulator.add(Script.stuck(0.0)), simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: site.exporter.health.state == "well")
    with simulator.faults.override(stranger, status, body, headers=headers):
        for _ in range(2):
            samples = await probe(site, stranger)
            assert samples["removit_probe_http_status_code"] == status
            await until(lambda: site.exporter.health.circuit().closed)  # a control has cleared it
            await grows(lambda: simulator.ledger.jobs[job_id].polls)
    async with site.client.get("/api/v1/events", params={"type": "upstream_changed"}) as response:
        changes = [json.loads(line)["data"] for line in (await response.text()).splitlines()]
    assert {change["to"] for change in changes} <= {"well"}


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ({}, {}, "job_id"),
        ({"job_id": "a b"}, {}, "job_id"),
        ({"job_id": "a", "target": "b"}, {}, "target"),
        ({"job_id": "a", "debug": "1"}, {}, "debug"),
        *(
            (
                {"job_id": "a"},
                {"X-Prometheus-Scrape-Timeout-Seconds": value},
                "X-Prometheus-Scrape-Timeout-Seconds",
            )
            for value in ("soon", "-1", "nan", "inf")
        ),
    ],
)
async def test_a_wrong_probe_says_what_is_expected(
    site: Site, query: dict[str, str], headers: dict[str, str], field: str
) -> None:
    async with site.client.get("/probe", params=query, headers=headers) as response:
        assert response.status == 422
        assert set((await response.json())["details"]) == {field}


async def targets(site: Site) -> list[dict[str, Any]]:
    async with site.client.get("/sd/jobs") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        found: list[dict[str, Any]] = json.loads(await response.text())
        return found


async def test_long_running_jobs_are_targets_oldest_first(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        registration={"allowed_labels": ["shop"]}, sd={"min_age": "1h", "max_targets": 2}
    )
    old = [simulator.add(Script.stuck(0.0)) for _ in range(3)]
    for at, name in enumerate(old):
        await site.put(name, registered_at=f"2026-01-0{3 - at}T00:00:00Z", labels={"shop": "eu"})
    await site.put(simulator.add(Script.stuck(0.0)))
    await until(lambda: all(site.exporter.registry.jobs[name].mode for name in old))
    found = await targets(site)
    assert [group["targets"] for group in found] == [[old[2]], [old[1]]]
    labels = found[0]["labels"]
    assert labels.pop("__meta_removit_step")
    assert labels == {
        "__meta_removit_job_id": old[2],
        "__meta_removit_mode": "clipping",
        "__meta_removit_source": "api",
        "__meta_removit_key": "",
        "__meta_removit_label_shop": "eu",
    }


async def test_ended_jobs_are_not_targets(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(sd={"min_age": "0s"})
    job_id = simulator.add(Script.sound(0.0))
    await site.put(job_id)
    await site.ends(job_id, "done")
    assert await targets(site) == []


async def test_the_words_of_a_probe_show_no_control_characters(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    evil = "\x1b[2J\nforged: yes\u202e"
    body = {"job_id": job_id, "state": "pending", "status": evil, "mode": evil}
    with simulator.faults.override(job_id, 200, json.dumps(body).encode()):
        async with site.client.get(f"/probe?job_id={job_id}&debug=true") as response:
            text = await response.text()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not [line for line in text.splitlines() if line.startswith("forged")]
