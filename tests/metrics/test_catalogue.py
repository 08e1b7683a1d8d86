"""The catalogue has all names of metrics, and every page follows it."""

import gzip
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Open, Site, program, until
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.values import RESERVED_LABELS
from exporter.core.job import JobState
from exporter.core.tally import BUCKETS, LabelBounds, Tally
from exporter.metrics.catalogue import FAMILIES, LABEL_NAMES, Kind, Part
from exporter.simulator import Script, Simulator

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
SUFFIXES = ("_total", "_info", "_bucket", "_count", "_sum", "_created")
GENERAL = {"upstream", "env"}


async def busy(open_site: Open, simulator: Simulator) -> Site:
    """An exporter with nearly every kind of event."""
    site = await open_site(
        registration={"allowed_labels": ["shop"]},
        metrics={"group_labels": ["shop"], "const_labels": {"env": "test"}},
    )
    seen = simulator.add(Script.sound(0.0))
    body = b'{"job_id": "%s", "state": "pending", "status": "queued", "mode": "clipping"}'
    with simulator.faults.override(seen, 200, body % seen.encode()):  # seen before its end
        await site.put(seen, labels={"shop": 'e"u\\\n'}, key="sku")
        await until(lambda: site.exporter.registry.jobs[seen].answered)
    for script in (
        Script.warned(0.1),
        Script.resultless(0.1),
        Script.failing(0.1),
        Script.stuck(0.1),
        Script.lost(),
        Script.explicit(0.1),
    ):
        await site.put(simulator.add(script), labels={"shop": 'e"u\\\n'}, key="sku")
    await site.put("no-uuid")
    await until(lambda: site.exporter.registry.pending == 1)
    return site


def stripped(name: str) -> str:
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def test_families_differ_without_their_suffixes() -> None:
    names = [stripped(name) for name in FAMILIES]
    assert sorted(names) == sorted(set(names))


def test_names_follow_prometheus() -> None:
    for name, family in FAMILIES.items():
        assert name.startswith("removit_")
        assert name.endswith("_total") is (family.kind is Kind.COUNTER)
        assert family.help.endswith(".")
        assert "job" not in family.labels


def test_every_label_of_the_catalogue_is_reserved() -> None:
    assert LABEL_NAMES <= RESERVED_LABELS


def test_the_tallys_series_are_the_catalogues() -> None:
    assert set(BUCKETS) <= set(FAMILIES)
    for delta in Tally(LabelBounds(50)).zeros({}):
        assert {name for name, _ in delta.labels} == set(FAMILIES[delta.name].labels)


async def test_both_formats_parse_and_keep_to_the_catalogue(
    open_site: Open, simulator: Simulator
) -> None:
    site = await busy(open_site, simulator)
    text = await site.metrics()
    async with site.client.get("/metrics", headers=OPENMETRICS) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        openmetrics = await response.text()
    assert openmetrics.endswith("# EOF\n")
    families = list(parse_openmetrics(openmetrics))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    own = {family.base: family for family in FAMILIES.values()}
    for family in families:
        known = own[family.name]
        assert family.type == known.kind
        assert family.documentation == known.help
        for sample in family.samples:
            labels = set(sample.labels) - GENERAL - {"le"}
            wanted = set(known.labels) | ({"shop"} if known.grouped else set())
            if known.name == "removit_job_info":
                wanted |= {"shop"}
                labels |= {"key", "shop"}
            assert labels == wanted, sample
            assert not sample.name.endswith("_created")
            assert sample.labels["upstream"] == "removit"
            assert sample.labels["env"] == "test"
    assert {family.name for family in parse_text(text)} >= {
        family.base for family in FAMILIES.values() if family.kind is not Kind.COUNTER
    }
    [missing] = [set(own) - set(names)]
    assert missing == set(), "families that never showed"


async def test_label_values_come_out_escaped(open_site: Open, simulator: Simulator) -> None:
    site = await busy(open_site, simulator)
    page = await site.metrics()
    assert 'shop="e\\"u\\\\\\n"' in page
    infos = [family for family in parse_text(page) if family.name == "removit_job_info"]
    assert 'e"u\\\n' in {sample.labels.get("shop") for sample in infos[0].samples}


async def test_exemplars_name_the_job(open_site: Open, simulator: Simulator) -> None:
    site = await busy(open_site, simulator)
    async with site.client.get("/metrics", headers=OPENMETRICS) as response:
        families = {family.name: family for family in parse_openmetrics(await response.text())}
    for name in ("removit_jobs_finished", "removit_job_warnings", "removit_job_duration_seconds"):
        exemplars = [sample.exemplar for sample in families[name].samples if sample.exemplar]
        assert exemplars
        assert {*exemplars[0].labels} == {"job_id"}


async def test_promtool_has_no_complaints(open_site: Open, simulator: Simulator) -> None:
    promtool = program("promtool", "prometheus")
    site = await busy(open_site, simulator)
    result = subprocess.run(
        [promtool, "check", "metrics"],
        input=await site.metrics(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


async def test_parts_of_the_page_add_up_to_the_whole(site: Site) -> None:
    async def names(**parameters: str) -> set[str]:
        return {family.name for family in parse_text(await site.metrics(**parameters))}

    parts = [await names(**{"collect[]": part}) for part in Part]
    assert set.union(*parts) == await names()
    assert sum(map(len, parts)) == len(await names())
    async with site.client.get("/metrics?collect[]=all") as response:
        assert response.status == 422
        assert "expected one of" in (await response.text())


@pytest.mark.parametrize(
    ("accept", "packed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0", False),
        ("identity", False),
        ("", False),
    ],
)
async def test_gzip_is_used_if_it_is_accepted(site: Site, accept: str, packed: bool) -> None:
    headers = {"Accept-Encoding": accept}
    async with site.client.session.get(
        site.url + "/metrics", headers=headers, auto_decompress=False
    ) as response:
        body = await response.read()
    assert (response.headers.get("Content-Encoding") == "gzip") is packed
    page = gzip.decompress(body) if packed else body
    assert b"removit_up" in page


@pytest.mark.parametrize("format_", ["application/openmetrics-text", "text/plain"])
async def test_names_are_the_same_whatever_escaping_is_asked_for(site: Site, format_: str) -> None:
    await site.put("a")
    for escaping in ("dots", "values", "underscores", "allow-utf-8"):
        headers = {"Accept": f"{format_};version=1.0.0;escaping={escaping};q=0.5"}
        async with site.client.get("/metrics", headers=headers) as response:
            page = await response.text()
            used = response.headers["Content-Type"].partition("escaping=")[2]
        assert used == (escaping if escaping == "allow-utf-8" else "underscores")
        assert "\nremovit_job_state{" in page
        assert "\nremovit_upstream_state{" in page
        assert "removit__" not in page


async def test_head_has_no_body_and_an_odd_accept_gets_the_text_format(site: Site) -> None:
    async with site.client.head("/metrics") as response:
        assert (response.status, await response.read()) == (200, b"")
    headers = {"Accept": "application/openmetrics-text; version=x.y"}
    async with site.client.get("/metrics", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain")


async def test_a_former_state_disappears_in_the_same_scrape(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.3))
    await site.put(job_id)
    seen = set()

    async def ended() -> bool:
        page = await site.metrics()
        states = [line for line in page.splitlines() if line.startswith("removit_job_state{")]
        assert len(states) == 1
        seen.add(states[0].split('state="')[1].split('"')[0])
        return "done" in seen

    await until(ended)
    assert seen == {"pending", "done"}


async def test_per_job_series_end_after_linger(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(metrics={"per_job": {"linger": "100ms"}})
    job_id = simulator.add(Script.sound(0.05))
    await site.put(job_id)
    await site.ends(job_id, "done")

    async def gone() -> bool:
        return job_id not in await site.metrics()

    await until(gone)
    await until(lambda: job_id not in site.exporter.registry.jobs)
    assert (await site.job(job_id))["state"] == "done"


async def test_max_jobs_keeps_the_oldest_pending_and_counts_the_others(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(metrics={"per_job": {"max_jobs": 2}})
    for _ in range(5):
        await site.put(simulator.add(Script.stuck(0.1)))
    page = await site.metrics()
    assert page.count("removit_job_info{") == 2
    assert await site.value("removit_exporter_series_left_out_jobs") == 3


async def test_series_of_jobs_can_be_switched_off_whole_or_by_name(open_site: Open) -> None:
    site = await open_site(metrics={"per_job": {"exclude": ["removit_job_info"]}})
    await site.put("a")
    page = await site.metrics()
    assert "removit_job_info" not in page
    assert "removit_job_state{" in page
    off = await open_site(metrics={"per_job": {"enabled": False}}, storage={"path": "off.db"})
    await off.put("a")
    assert "removit_job_" not in "".join(
        line for line in (await off.metrics()).splitlines() if 'job_id="' in line
    )


async def test_known_label_values_start_at_zero(site: Site) -> None:
    for state in JobState:
        if state is not JobState.PENDING:
            series = f'removit_jobs_finished_total{{mode="params",state="{state}"}}'
            assert await site.value(series) == 0
    series = 'removit_job_ignored_variations_total{mode="params",variation="shadow_wall"}'
    assert await site.value(series) == 0


async def test_an_id_too_long_for_an_exemplar_has_none(site: Site) -> None:
    job_id = "x" * 125
    await site.put(job_id)
    await site.ends(job_id, "invalid")
    async with site.client.get("/metrics", headers=OPENMETRICS) as response:
        page = await response.text()
    list(parse_openmetrics(page))
    assert f'# {{job_id="{job_id}"}}' not in page


def test_the_documentation_matches_the_catalogue() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "exporter.metrics"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    written = Path(__file__).parent.parent.parent / "docs" / "metrics.md"
    assert written.read_text() == made, "run: make docs"


async def test_gauges_follow_the_jobs(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(polling={"stalled_after": "300ms"})
    job_id = simulator.add(Script.stuck(0.05))
    failing = simulator.add(Script.failing(0.05))
    before = time.time()
    await site.put(job_id)
    await site.ends((await site.put(simulator.add(Script.sound(0.1))))["job_id"], "done")
    await until(lambda: site.exporter.registry.jobs[job_id].step == "pending_clipping")
    assert await site.value('removit_jobs_pending{mode="clipping"}') == 1
    assert await site.value('removit_jobs_pending_by_step{step="pending_clipping"}') == 1
    oldest = await site.value(
        'removit_oldest_pending_registered_timestamp_seconds{mode="clipping"}'
    )
    assert oldest == pytest.approx(before, abs=5)

    async def stalled() -> bool:
        return await site.value('removit_jobs_stalled{mode="clipping"}') == 1

    await until(stalled)
    await site.put(failing)

    async def suspected() -> bool:
        found = await site.value('removit_jobs_suspected{mode="clipping"}')
        unknown = await site.value('removit_jobs_suspected{mode="unknown"}')
        return 1 in (found, unknown)

    await until(suspected)
    await site.ends(failing, "failed")
