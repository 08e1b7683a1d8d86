"""Each fault of the simulator against the real server: what the metrics, the log and the job say.

The simulator's time stops until a test lets it go on, so that jobs are pending while a fault
is looked at, and done when it is over: none of them may be blamed for it.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import KEY, Open, Site, until

from exporter.simulator import FAULTS, Script, Simulator, parse_fault

JOBS = 6
SECTIONS: dict[str, Any] = {
    "polling": {"max_interval": "100ms"},
    "judgement": {"outage_window": "500ms", "chance": 1e-9, "not_found_grace": "10m"},
}


class Time:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Seen:
    """Observations while a fault lasts.

    `samples` are series with the least value, `gauges` with the very value; `logged` are events
    with some of their fields, and no others are logged at warning or above; `job` is part of what
    the job's own view says, `codes` are among its polls' codes.
    """

    state: str
    samples: tuple[str, ...] = ()
    gauges: Mapping[str, float] = field(default_factory=dict)
    logged: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    job: Mapping[str, Any] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    told_before: bool = True
    timeout: str = "20s"
    """`upstream.timeout`: only a fault that lets requests time out needs a short one."""


def requests(code: str) -> str:
    return f'removit_upstream_requests_total{{code="{code}",endpoint="status",purpose="poll"}}'


def errors(code: str, error: str) -> str:
    labels = f'code="{code}",endpoint="status",error="{error}"'
    return f"removit_upstream_errors_total{{{labels}}}"


def drift(kind: str) -> str:
    return f'removit_contract_drift_total{{kind="{kind}"}}'


DOWN = {"removit_up": 0.0, "removit_api_key_valid": 1.0}
WELL = {"removit_up": 1.0, "removit_api_key_valid": 1.0}
WAITS = {"state": "pending", "suspected": False, "next_poll_reason": "upstream_down"}
SUSPECTED = {"state": "pending", "suspected": True}
FOUND_DOWN = ("upstream down", {"state": "down"})
NO_ANSWER: tuple[str, dict[str, Any]] = ("no answer from the upstream", {})


def unreadable(kind: str) -> Seen:
    return Seen(
        "down",
        samples=(requests("invalid_body"), drift(kind)),
        gauges=DOWN,
        logged=(("contract drift", {"kind": kind}), FOUND_DOWN),
        job=WAITS,
        codes=("200", "invalid_body"),
    )


FAULT_BY_FAULT: dict[str, Seen] = {
    "outage": Seen(
        "down",
        samples=(requests("503"), errors("503", "server_error")),
        gauges=DOWN,
        logged=(FOUND_DOWN,),
        job=SUSPECTED | {"next_poll_reason": "upstream_down"},
        codes=("200", "503"),
    ),
    "outage=500": Seen(
        "down",
        samples=(requests("500"),),
        gauges=DOWN,
        logged=(FOUND_DOWN,),
        job=SUSPECTED,
        codes=("500",),
    ),
    "partial-outage=0.2": Seen(
        "well",
        samples=(requests("500"), requests("200")),
        gauges=WELL,
        job={"state": "pending"},
        codes=("200", "500"),
    ),
    "stall": Seen(
        "down",
        samples=(requests("timeout"),),
        gauges=DOWN,
        logged=(NO_ANSWER, FOUND_DOWN),
        job=WAITS,
        codes=("200", "timeout"),
        timeout="1s",
    ),
    "dropped-connection": Seen(
        "down",
        samples=(requests("connection"),),
        gauges=DOWN,
        logged=(NO_ANSWER, FOUND_DOWN),
        job=WAITS,
        codes=("200", "connection"),
    ),
    "cut-body": unreadable("cut_short"),
    "garbage": unreadable("not_json"),
    "oversized": unreadable("too_large"),
    "misrouted": unreadable("not_json"),
    "throttled": Seen(
        "throttled",
        samples=(requests("429"),),
        gauges=WELL,
        job={"state": "pending", "suspected": False, "next_poll_reason": "retry_after"},
        logged=(("upstream throttled", {"state": "throttled"}),),
    ),
    "revoked-key": Seen(
        "key_rejected",
        samples=(requests("401"), errors("401", "unauthorized")),
        gauges={"removit_up": 1.0, "removit_api_key_valid": 0.0},
        logged=(("key rejected", {"state": "key_rejected"}),),
        job={"state": "pending", "suspected": False, "next_poll_reason": "key_rejected"},
    ),
    "forbidden": Seen(
        "blocked",
        samples=(requests("403"),),
        gauges=DOWN,
        logged=(("upstream down", {"state": "blocked"}),),
        job=WAITS,
    ),
    "slow=0.05": Seen(
        "well",
        samples=(
            requests("200"),
            'removit_upstream_request_duration_seconds_count{endpoint="status"}',
        ),
        gauges=WELL,
        job={"state": "pending", "suspected": False, "next_poll_reason": "schedule"},
        codes=("200",),
    ),
    "late-visibility=5": Seen(
        "well",
        samples=(requests("404"), errors("404", "not_found")),
        gauges=WELL | {'removit_jobs_suspected{mode="unknown"}': JOBS},
        job=SUSPECTED | {"progress": None},
        codes=("404",),
        told_before=False,
    ),
    "forgets": Seen(
        "well",
        samples=(requests("404"),),
        gauges=WELL | {'removit_jobs_suspected{mode="clipping"}': JOBS},
        job=SUSPECTED | {"progress": 0},
        codes=("200", "404"),
    ),
    "no-credits": Seen(  # it concerns uploads; polls go on
        "well",
        samples=(requests("200"),),
        gauges=WELL,
        job={"state": "pending", "suspected": False},
        codes=("200",),
    ),
}


def test_every_fault_is_looked_at() -> None:
    assert {name.partition("=")[0] for name in FAULT_BY_FAULT} == set(FAULTS)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def simulator(time: Time) -> AsyncIterator[Simulator]:
    async with Simulator(api_key=KEY, seed=1, clock=time) as made:
        yield made


async def register(site: Site, simulator: Simulator) -> list[str]:
    jobs = [simulator.add(Script.sound(10.0)) for _ in range(JOBS)]
    for job_id in jobs:
        await site.put(job_id)
    return jobs


async def missing(site: Site, jobs: list[str], seen: Seen) -> list[str]:
    """Say what is not (yet) seen."""
    found = []
    state = f'removit_upstream_state{{state="{seen.state}"}}'
    for series, value in {state: 1.0, **seen.gauges}.items():
        if (is_ := await site.value(series)) != value:
            found.append(f"{series} is {is_}, not {value}")
    for series in seen.samples:
        if not await site.value(series):
            found.append(f"{series} counts nothing")
    views = [await site.job(job_id) for job_id in jobs]
    if not any(seen.job.items() <= view.items() for view in views):
        found.append(f"no job is {seen.job}, but {views[0]}")
    codes = {poll["code"] for view in views for poll in view["polls"]}
    if not set(seen.codes) <= codes:
        found.append(f"of {seen.codes} only {codes} among the polls")
    return found


def log_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [
        record
        for record in caplog.records
        if record.name == "removit_exporter" and record.levelno >= logging.WARNING
    ]


@pytest.mark.parametrize("name", FAULT_BY_FAULT)
async def test_what_is_seen_of_a_fault_and_that_no_job_is_blamed_for_it(
    open_site: Open,
    simulator: Simulator,
    time: Time,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    caplog.set_level(logging.DEBUG, "removit_exporter")
    seen = FAULT_BY_FAULT[name]
    site = await open_site(upstream={"timeout": seen.timeout}, **SECTIONS)
    jobs = await register(site, simulator) if seen.told_before else []
    if jobs:
        await until(lambda: all(site.exporter.registry.jobs[name].answered for name in jobs))
    fault: AbstractContextManager[None] = parse_fault(name)(simulator.faults)
    with fault:
        jobs = jobs or await register(site, simulator)
        lacking: list[str] = []

        async def complete() -> bool:
            lacking[:] = await missing(site, jobs, seen)
            return not lacking

        try:
            await until(complete)
        except pytest.fail.Exception:
            pytest.fail("\n".join(lacking))
        logged = [(record.msg, record.__dict__) for record in log_lines(caplog)]
        logged = [(event, data) for event, data in logged if event != "upstream suspected"]
        assert {event for event, _ in logged} == {event for event, _ in seen.logged}
        for event, fields in seen.logged:
            assert any(e == event and fields.items() <= found.items() for e, found in logged)
    time.now += 100.0
    for job_id in jobs:
        await site.ends(job_id, "done")
    assert await site.value('removit_jobs_finished_total{mode="clipping",state="done"}') == JOBS
    assert site.exporter.health.state == "well"
    finished = [record.__dict__ for record in caplog.records if record.msg == "job finished"]
    assert [record["state"] for record in finished] == ["done"] * JOBS
    ups = {"upstream down": "upstream up", "key rejected": "key accepted"}
    for event, _ in seen.logged:
        if event in ups:
            assert ups[event] in caplog.text
