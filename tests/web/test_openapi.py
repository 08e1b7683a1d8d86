"""The routes behave as /openapi.json describes them."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import KEY, Open, Site

from exporter.core.events import EventType
from exporter.core.job import JobState, Source
from exporter.core.pacing.next_poll import PollReason
from exporter.simulator import Simulator

CONFIG = Path(__file__).parent.parent / "data" / "schemathesis.toml"
EXAMPLES = 30
"""Requests of each operation and phase; `make fuzz` makes more."""


async def document(site: Site) -> dict[str, Any]:
    async with site.client.get("/openapi.json") as response:
        made: dict[str, Any] = await response.json()
        return made


async def test_every_route_is_described_and_nothing_else(site: Site) -> None:
    described = {
        (method.upper(), path)
        for path, operations in (await document(site))["paths"].items()
        for method in operations
        if method != "parameters"
    }
    routes = {(route.method, route.path.replace(":[^/]+", "")) for route in site.exporter.routes()}
    assert described == routes


async def test_its_enums_are_those_of_the_code(site: Site) -> None:
    schemas = (await document(site))["components"]["schemas"]
    for name, members in (
        ("JobState", list(JobState)),
        ("Source", list(Source)),
        ("EventType", list(EventType)),
        ("PollReason", [*PollReason, None]),
    ):
        assert schemas[name]["enum"] == members


async def test_it_shows_the_limits_of_this_exporters_config(open_site: Open) -> None:
    site = await open_site(
        registration={"allowed_labels": ["shop"], "job_id_pattern": "[a-z]+", "max_labels": 3}
    )
    schemas = (await document(site))["components"]["schemas"]
    assert schemas["JobId"]["pattern"] == "^(?:[a-z]+)$"
    labels = schemas["Registration"]["properties"]["labels"]
    assert labels["properties"] == {"shop": {"type": "string", "maxLength": 256}}
    assert labels["maxProperties"] == 3


@pytest.mark.parametrize(
    ("wait", "admitted"),
    [
        *((wait, True) for wait in ("1ms", "999ms", "9s", "60s", "300s", "1m", "5m", "4m59s")),
        *((wait, False) for wait in ("301s", "999s", "6m", "5m1s", "1h", "m", "soon")),
    ],
)
async def test_it_admits_the_waits_that_the_route_takes(
    site: Site, wait: str, admitted: bool
) -> None:
    parameters = (await document(site))["paths"]["/api/v1/status"]["get"]["parameters"]
    [schema] = [one["schema"] for one in parameters if one["name"] == "wait"]
    assert (re.fullmatch(schema["pattern"], wait) is not None) is admitted
    query = {"job_id": "no-uuid", "wait": wait}
    async with site.client.get("/api/v1/status", params=query, headers={"X-API-Key": KEY}) as got:
        details = (await got.json())["details"]
    assert ("wait" in details) is not admitted


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_schemathesis_finds_nothing(open_site: Open, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the-token")
    async with Simulator(api_key="the-key-that-nobody-may-see", weights={"sound": 1}) as sound:
        site = await open_site(
            upstream={"base_url": sound.url, "rate": 10_000, "burst": 10_000},
            registration={"token_file": "token", "allowed_labels": ["shop"]},
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", f"{site.url}/openapi.json", "--max-examples", str(EXAMPLES)),
            *("--continue-on-failure", "--request-timeout", "30", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
