"""Reloads of the config while the exporter runs."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import KEY, Open, Site, until, until_ready
from system_ports import free_port

from exporter.config import ConfigFile
from exporter.simulator import Script, Simulator

Write = Callable[..., ConfigFile]
OK = "removit_exporter_config_last_reload_successful"
SINCE = "removit_exporter_config_last_reload_success_timestamp_seconds"


async def reload(site: Site) -> tuple[int, dict[str, Any]]:
    async with site.client.post("/-/reload") as response:
        return response.status, await response.json()


async def test_limits_jobs_and_labels_change_and_nothing_else_does(
    open_site: Open, write_config: Write, simulator: Simulator
) -> None:
    one, two, three = (simulator.add(Script.stuck()) for _ in range(3))
    file = write_config(jobs=[one, two], registration={"allowed_labels": ["shop"]})
    site = await open_site(config_file=file)
    await site.put(three, labels={"shop": "eu"})
    assert await site.value(OK) == 1
    started = await site.value(SINCE)
    assert started is not None
    write_config(
        jobs=[two],
        registration={"allowed_labels": ["colour"], "max_pending": 2},
        polling={"max_interval": "25ms", "stalled_after": "28ms"},
        metrics={"per_job": {"max_jobs": 1}, "max_label_values": 3},
    )
    assert await reload(site) == (200, {"reloaded": True, "needs_restart": []})
    assert set(site.exporter.registry.jobs) == {two, three}
    assert await site.value('removit_jobs_forgotten_total{reason="config"}') == 1
    refused = await site.client.put("/api/v1/jobs/more")
    assert refused.status == 503
    page = await site.metrics()
    assert 'shop="eu"' not in page
    assert await site.value("removit_exporter_series_left_out_jobs") == 1

    async def all_stalled() -> bool:
        return await site.value('removit_jobs_stalled{mode="clipping"}') == 2

    await until(all_stalled)
    since = await site.value(SINCE)
    assert since is not None
    assert since >= started


async def test_a_bad_config_changes_nothing_and_reports_all_errors(
    open_site: Open, write_config: Write, tmp_path: Path
) -> None:
    site = await open_site(config_file=write_config(jobs=["a"]))
    before = site.exporter.config()
    (tmp_path / "config.yaml").write_text("polling:\n  min_interval: soon\nnonsense: 1\n")
    status, body = await reload(site)
    assert (status, body["error"]) == (422, "validation")
    assert [line.rpartition("config.yaml")[2].split(" ")[0] for line in body["details"]["config"]]
    assert len(body["details"]["config"]) >= 2
    assert site.exporter.config() is before
    assert await site.value(OK) == 0
    (tmp_path / "config.yaml").unlink()
    assert (await reload(site))[0] == 422
    write_config(jobs=["a"])
    assert (await reload(site))[0] == 200
    assert await site.value(OK) == 1


async def test_keys_that_need_a_restart_keep_their_value_with_a_warning(
    open_site: Open, write_config: Write
) -> None:
    site = await open_site(config_file=write_config())
    write_config(
        upstream={"name": "other", "rate": 77},
        metrics={"const_labels": {"zone": "b"}},
        storage={"path": "other.db", "retention": "1h"},
        web={"listen_address": "127.0.0.1:1"},
    )
    held = ["upstream.name", "metrics.const_labels", "storage.path", "web.listen_address"]
    assert await reload(site) == (200, {"reloaded": True, "needs_restart": held})
    config = site.exporter.config()
    assert (config.upstream.name, config.upstream.rate) == ("removit", 77)
    assert (config.storage.path.name, config.storage.retention) == ("jobs.db", 3600)
    assert 'upstream="other"' not in await site.metrics()


async def test_a_constant_label_cannot_become_a_registration_label_without_a_restart(
    open_site: Open, write_config: Write
) -> None:
    site = await open_site(config_file=write_config(metrics={"const_labels": {"env": "prod"}}))
    write_config(registration={"allowed_labels": ["env"]})
    status, body = await reload(site)
    assert status == 422
    assert body["details"]["config"] == [
        "registration.allowed_labels: 'env' is taken by metrics.const_labels,"
        " which keeps its value until a restart",
        "restart the exporter to change metrics.const_labels",
    ]
    assert site.exporter.config().registration.allowed_labels == []


async def test_another_key_file_is_used_at_once(
    open_site: Open, write_config: Write, simulator: Simulator, tmp_path: Path
) -> None:
    site = await open_site(config_file=write_config(polling={"key_retry": "1h"}))
    job_id = simulator.add(Script.sound(0.2))
    simulator.api_key = KEY + "-new"
    await site.put(job_id)
    await until(lambda: site.exporter.health.state == "key_rejected")
    (tmp_path / "new.key").write_text(KEY + "-new")
    write_config(upstream={"api_key_file": "new.key"}, polling={"key_retry": "1h"})
    assert (await reload(site))[0] == 200
    await site.ends(job_id, "done")
    assert {KEY, KEY + "-new"} <= site.exporter.secrets.known  # neither is in a log line


async def test_a_changed_file_is_reloaded_once_its_stamp_is_stable(
    open_site: Open, write_config: Write, tmp_path: Path
) -> None:
    site = await open_site(config_file=write_config(jobs=["a"]))
    look = site.exporter.reloader.check
    write_config(jobs=["b"])
    await look()
    assert "b" not in site.exporter.registry.jobs
    await look()
    assert "b" in site.exporter.registry.jobs
    (tmp_path / "config.yaml").write_text("- no")
    await look()
    await look()
    assert await site.value(OK) == 0
    await look()
    (tmp_path / "config.yaml").unlink()
    await look()
    assert "b" in site.exporter.registry.jobs


async def test_an_embedded_exporter_without_a_file_cannot_reload(site: Site) -> None:
    status, body = await reload(site)
    assert (status, body["error"]) == (409, "conflict")
    await site.exporter.reloader.check()


async def test_a_hundred_reloads_good_and_bad_while_a_thousand_jobs_are_polled(
    open_site: Open, write_config: Write, simulator: Simulator, tmp_path: Path
) -> None:
    named = [simulator.add(Script.stuck()) for _ in range(50)]
    told = [simulator.add(Script.stuck()) for _ in range(950)]
    file = write_config(jobs=named, job_files=["jobs.d/*"])
    (tmp_path / "jobs.d").mkdir()
    site = await open_site(config_file=file)
    answer = await site.client.post("/api/v1/jobs", json=[{"job_id": name} for name in told])
    assert answer.status == 200
    failed = 0
    for at in range(100):
        if at % 3 == 1:
            (tmp_path / "config.yaml").write_text(
                ("jobs: {", "rate: 1", "jobs: [a/b]")[at // 3 % 3]
            )
        else:
            write_config(
                jobs=named,
                job_files=["jobs.d/*"],
                upstream={"rate": 300 + at, "concurrency": 8 + at % 9},
                polling={"min_interval": f"{20 + at}ms"},
                registration={"allowed_labels": [f"label{at % 4}"]},
            )
        status, _ = await reload(site)
        failed += status == 422
        assert status == (422 if at % 3 == 1 else 200)
        assert await site.value(OK) == (0 if at % 3 == 1 else 1)
    assert failed == 33
    jobs = simulator.ledger.jobs
    await until(lambda: min(jobs[name].polls for name in (*named, *told)) >= 2, 60)
    assert set(site.exporter.registry.jobs) == {*named, *told}
    assert simulator.ledger.most_at_once_per_job == 1
    for reason in ("deleted", "config", "file"):
        assert await site.value(f'removit_jobs_forgotten_total{{reason="{reason}"}}') == 0
    assert await site.value('removit_jobs_registered_total{source="api"}') == 950
    assert await site.value('removit_jobs_registered_total{source="config"}') == 50


@pytest.mark.parametrize("good", [True, False])
async def test_sighup_reads_the_config_again(
    write_config: Write, simulator: Simulator, tmp_path: Path, good: bool
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address}, log={"level": "error"})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "run"),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        async with aiohttp.ClientSession() as session:
            await until_ready(address)
            if good:
                write_config(
                    web={"listen_address": address}, log={"level": "info"}, jobs=["told-by-hup"]
                )
            else:
                (tmp_path / "config.yaml").write_text("jobs: 1")
            process.send_signal(signal.SIGHUP)

            async def reloaded() -> bool:
                async with session.get(f"http://{address}/api/v1/jobs") as response:
                    jobs = (await response.json())["jobs"]
                async with session.get(f"http://{address}/metrics") as response:
                    failed = f'{OK}{{upstream="removit"}} 0.0' in await response.text()
                return failed is not good and bool(jobs) is good

            await until(reloaded)
    finally:
        process.terminate()
        _, err = await process.communicate()
    assert process.returncode == 0
    assert ("config reloaded" if good else "config rejected") in err.decode()
