"""A gateway answers instead of the API: no job is blamed, and the reason is shown everywhere."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from batches import Answer, now, recovers, undecided, upload, watched
from simulated_scrapes import value
from simulated_time import MINUTE, SimulatedUpstream, pass_time, simulate, states

from exporter import Exporter
from exporter.simulator.script import Script
from exporter.web.summary import SummaryRoute

STRAY: dict[str, tuple[Answer, str, str]] = {
    "nginx": (
        (404, b"<html><h1>404 Not Found</h1></html>"),
        "not_json",
        "404 <html><h1>404 Not Found</h1></html>",
    ),
    "an ingress": ((404, b"404 page not found\n"), "not_json", "404 404 page not found"),
    "a framework": (
        (404, b'{"detail": "Not Found"}'),
        "wrong_type",
        '404 {"detail": "Not Found"}',
    ),
    "a firewall": ((422, b"<html>bad"), "not_json", "422 <html>bad"),
    "another service": (
        (200, b'{"service": "catalogue"}'),
        "missing_field",
        "200 missing_field: state",
    ),
}
"""Each with the drift's kind that the metric and the log name, and the reason that people read."""


async def upstream_of_summary(exporter: Exporter) -> dict[str, Any]:
    """Return what `/api/v1/summary` says of the upstream, as the head of the page shows it."""
    request = make_mocked_request("GET", "/api/v1/summary")
    response = await SummaryRoute(exporter.context).summary(request)
    assert isinstance(response.body, bytes)
    upstream: dict[str, Any] = json.loads(response.body)["upstream"]
    return upstream


@pytest.mark.parametrize("stray", STRAY)
def test_a_gateway_that_misroutes_for_ten_minutes_ends_no_job_and_the_reason_is_shown(
    tmp_path: Path, stray: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "removit_exporter")
    answer, kind, reason = STRAY[stray]

    async def misrouted() -> None:
        upstream = SimulatedUpstream()
        async with watched(upstream, tmp_path) as (exporter, shown):
            old = {f"old-{at}": Script.sound(90.0) for at in range(100)}
            await upload(upstream, exporter, old, 0.5)
            start = now()
            upstream.fault = lambda job_id: answer
            new = {f"new-{at}": Script.sound(60.0) for at in range(100)}
            await upload(upstream, exporter, new, 4.0)
            await pass_time(start + 10 * MINUTE - now())
            assert shown.after("down", start) <= MINUTE
            assert await undecided(exporter)
            assert value(exporter, "removit_jobs_suspected") == 0
            asked = {"endpoint": "status", "code": "invalid_body"}
            assert value(exporter, "removit_upstream_requests_total", **asked) > 5
            assert value(exporter, "removit_contract_drift_total", kind=kind) > 0
            assert value(exporter, "removit_upstream_state", state="down") == 1
            found = await upstream_of_summary(exporter)
            assert found["failure"] == {"reason": "invalid_body", "detail": reason}
            assert (found["state"], found["up"]) == ("down", False)
            await recovers(upstream, exporter)
            assert len(await states(exporter)) == 200
            assert value(exporter, "removit_jobs_finished_total") == 200
            assert value(exporter, "removit_jobs_finished_total", state="done") == 200
            assert (await upstream_of_summary(exporter))["failure"] is None

    simulate(misrouted)
    [down] = [record.__dict__ for record in caplog.records if record.msg == "upstream down"]
    assert (down["levelname"], down["code"]) == ("ERROR", "invalid_body")
    drifts = [record.__dict__ for record in caplog.records if record.msg == "contract drift"]
    assert (kind, reason.removeprefix(f"200 {kind}: ")) in {
        (drift["kind"], drift["detail"]) for drift in drifts
    }
    assert len(drifts) <= 3  # one line an hour for each kind and text
    assert "upstream up" in {record.msg for record in caplog.records}
