"""Builders that the tests share: times, replies, jobs, the default thresholds, and fuzzing."""

import os
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, settings

from exporter.core.contract import parse_reply
from exporter.core.events import Event, EventType, Now
from exporter.core.job import Job, Source
from exporter.core.registration import register
from exporter.core.reply import Kind, Reply, ReplyState, Status, transport_failure

FUZZ = int(os.environ.get("FUZZ", "1"))
"""How many times as many examples as usual; `make fuzz` sets it."""


def fuzzed(examples: int) -> settings:
    """Return the settings of a test that `make fuzz` runs for longer (mark it with `fuzz`)."""
    return settings(
        max_examples=examples * FUZZ,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


JOB_ID = "019cdc54-2673-dc32-b9e5-6e1d36cc9e8a"
START = 1_800_000_000.0
"""A time since 1970 at which the tests begin."""


@dataclass(frozen=True)
class Judgement:
    """The defaults of the config's `judgement`."""

    failed_after: float = 30.0
    failed_answers: int = 3
    chance: float = 1e-9
    gateway_codes: frozenset[int] = frozenset({502, 503, 504, *range(520, 531)})
    gateway_failed_after: float = 120.0
    weak_answers: int = 10
    weak_after: float = 600.0
    control: tuple[str, ...] = ("finished", "random", "bare")
    not_found_answers: int = 3
    not_found_grace: float = 300.0
    lost_jobs: int = 5
    lost_share: float = 0.2
    lost_window: float = 300.0
    lost_after: float = 600.0
    outage_jobs: int = 5
    outage_share: float = 0.5
    outage_window: float = 60.0


@dataclass(frozen=True)
class Polling:
    """The defaults of the config's `polling`."""

    call_cost: float = 0.5
    progress_max_age: float = 15.0
    min_interval: float = 1.0
    max_interval: float = 60.0
    stalled_after: float = 600.0
    overdue_factor: float = 3.0
    overdue_samples: int = 50
    give_up_after: float = 86400.0
    max_retry_after: float = 300.0
    recheck_after: tuple[float, ...] = (
        60.0,
        600.0,
        1800.0,
        3600.0,
        7200.0,
        14400.0,
        28800.0,
        57600.0,
    )
    key_retry: float = 60.0


@dataclass(frozen=True)
class Limits:
    """The defaults of the config's `upstream`, as far as they limit requests."""

    rate: float = 10.0
    burst: int = 20
    concurrency: int = 8
    heartbeat: float = 300.0


@dataclass(frozen=True)
class PollingConfig:
    """The sections of the config that decide on requests."""

    upstream: Limits = field(default_factory=Limits)
    polling: Polling = field(default_factory=Polling)
    judgement: Judgement = field(default_factory=Judgement)


@dataclass(frozen=True)
class PerJob:
    """The defaults of the config's `metrics.per_job`."""

    enabled: bool = True
    exclude: tuple[str, ...] = ()
    after: float = 0.0
    linger: float = 300.0
    linger_failed: float = 3600.0
    max_jobs: int = 10_000


def now(seconds: float = 0.0, well: float | None = None) -> Now:
    """Return a time `seconds` after START; the upstream was healthy for as long, or for `well`."""
    return Now(START + seconds, 1000.0 + seconds, seconds if well is None else well)


def job(job_id: str = JOB_ID, at: float = 0.0, **changes: Any) -> Job:
    """A job just registered."""
    made, _ = register(job_id, Source.API, now(at))
    return replace(made, **changes)


def answered(job_id: str = JOB_ID, **changes: Any) -> Job:
    """A pending job that had a good answer at the beginning."""
    return job(job_id, first_answer_at=START, last_polled_at=START, **changes)


def ok(state: str = "pending", **fields: Any) -> Reply:
    """A readable 2xx; the fields of `Status` as keywords."""
    values: dict[str, Any] = {
        "job_id": None,
        "step": "pending_compose" if state == "pending" else "done",
        "mode": "params",
        "progress": 33 if state == "pending" else 100,
        "final_url": None if state == "pending" else "https://cdn.example.com/a.webp",
        "final_urls": {},
        "warnings": {},
        "ignored_variations": (),
    }
    status = Status(state=ReplyState(state), **(values | fields))
    return Reply(Kind.OK, 200, status=status)


API_ERRORS = {404: b'{"error": "not_found"}', 422: b'{"error": "validation"}'}


def error(http_status: int, body: bytes | None = None, **headers: str) -> Reply:
    """An error answer, of the API's own unless it has a body; header names with `_` for `-`."""
    if body is None:
        body = API_ERRORS.get(http_status, b'{"error": "x"}')
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_reply(http_status, named, body)


def timeout() -> Reply:
    """No answer in time."""
    return transport_failure("timeout")


def types(events: list[Event]) -> list[str]:
    """The types of events, as text."""
    return [event.type.value for event in events]


def only(events: list[Event], kind: EventType) -> Event:
    """The one event of a type."""
    [event] = [event for event in events if event.type is kind]
    return event
