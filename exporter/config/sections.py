"""The sections of the config: every key with its type, meaning and default.

The meanings are attribute docstrings, from which `docs/configuration.md` and the schema are made.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..core.pacing.next_poll import JITTER_SHARE
from .credentials import SecretSource
from .values import (
    PER_JOB_NAMES,
    Address,
    Count,
    Duration,
    FilePath,
    HttpUrl,
    LabelName,
    ProxyUrl,
    RoutePrefix,
    Share,
    Size,
    StatusCodes,
    Wait,
)


class Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        validate_default=False,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        """Admit a section whose keys are all commented out."""
        return {} if value is None else value


class Upstream(Section):
    """The upstream API: one base URL with one key."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = "removit"
    """The value of the label `upstream` on every series."""
    base_url: HttpUrl = "https://api.removit.eu"
    """Base URL of the API, without `/api/v1`."""
    auth: Literal["x-api-key", "bearer"] = "x-api-key"
    """Header for the API key: `X-API-Key: <key>`, or `Authorization: Bearer <key>`."""
    api_key_file: FilePath | None = None
    """File that contains the API key. It may change while the exporter runs."""
    api_key_env: Annotated[str, Field(min_length=1)] | None = "REMOVIT_API_KEY"
    """Environment variable that contains the API key if no file is given."""
    timeout: Wait = 10.0
    """Total timeout of one request."""
    connect_timeout: Wait = 5.0
    """Timeout for connecting."""
    connection_max_age: Wait = 300.0
    """Maximum age of a connection that is used again. Then the name is looked up anew."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Maximum number of concurrent requests."""
    rate: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    """Maximum number of requests per second."""
    burst: Annotated[int, Field(ge=1, le=100_000)] = 20
    """How many requests may be sent at once after an idle period."""
    upload_timeout: Wait = 600.0
    """Total timeout of one upload that is passed through."""
    max_upload_bytes: Annotated[Size, Field(ge=1024, le=1024**4)] = 1024**3
    """Maximum size of an upload that is passed through."""
    proxy_url: ProxyUrl | None = None
    """HTTP proxy for requests to the upstream. It may contain a password, which is never shown.
    Defaults to `HTTPS_PROXY` or `HTTP_PROXY` of the environment, except for hosts in `NO_PROXY`."""
    heartbeat: Wait = 300.0
    """After this long without a request, a control request is made, so that trouble shows early."""
    ca_file: FilePath | None = None
    """Certificates (PEM) to trust instead of the system's. Read again when the file changes."""

    @field_validator("api_key_env")
    @classmethod
    def _without_dollar(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("$"):
            name = value.strip("${}")
            raise ValueError(f'expected the variable\'s name, "{name}", got "{value}"')
        return value

    @field_validator("base_url")
    @classmethod
    def _without_path_of_the_api(cls, value: str) -> str:
        path = urlsplit(value).path
        at = f"{path}/".casefold().find("/api/v1/")
        if at >= 0:
            right = value[: len(value) - len(path)] + path[:at]
            raise ValueError(f'the exporter adds /api/v1 itself; expected "{right}"')
        return value

    @property
    def proxy(self) -> str | None:
        """The proxy's URL with its password."""
        return self.proxy_url.reveal() if self.proxy_url else None

    @property
    def proxy_password(self) -> str | None:
        """The password in the proxy's URL, still percent-encoded."""
        return urlsplit(self.proxy).password if self.proxy else None

    def key_source(self, environ: Mapping[str, str] = os.environ) -> SecretSource:
        """Return where the API key comes from."""
        return SecretSource(self.api_key_file, self.api_key_env, environ)


class Polling(Section):
    """How often jobs are polled."""

    call_cost: Wait = 0.5
    """The delay in seeing a job's end that is worth one call saved: more means fewer calls."""
    min_interval: Wait = 1.0
    """The shortest wait between two polls of a job."""
    max_interval: Wait = 60.0
    """The longest wait between two polls of a job; a tenth more is less than `stalled_after`."""
    progress_max_age: Duration = 15.0
    """Progress is read at least this often, or after a fifth of the job's age; `0s`: no limit."""
    stalled_after: Wait = 600.0
    """A pending job without progress for this long counts in `removit_jobs_stalled`."""
    overdue_factor: Annotated[float, Field(ge=1, le=1000)] = 3.0
    """A job pending longer than this many times its mode's p99 counts in `removit_jobs_overdue`."""
    overdue_samples: Count = 50
    """Minimum number of `done` jobs before a mode's usual duration is known."""
    give_up_after: Wait = 86400.0
    """A job not ended after this long, counted only while the upstream is well, is `expired`."""
    max_retry_after: Wait = 300.0
    """The longest wait that a `Retry-After` may impose."""
    recheck_after: list[Wait] = [
        60.0,
        600.0,
        1800.0,
        3600.0,
        7200.0,
        14400.0,
        28800.0,
        57600.0,
    ]
    """When an inferred end is rechecked, counted from that end."""
    key_retry: Wait = 60.0
    """How often a rejected key is retried."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_interval > self.max_interval:
            raise ValueError("min_interval is longer than max_interval")
        if self.max_interval * (1 + JITTER_SHARE) >= self.stalled_after:
            # Progress would be seen too seldom: sound jobs would count as stalled.
            raise ValueError("a tenth more than max_interval is not below stalled_after")
        if list(self.recheck_after) != sorted(self.recheck_after):
            raise ValueError("recheck_after: expected ascending times")
        return self


class Judgement(Section):
    """The thresholds of the rules of judgement."""

    failed_after: Wait = 30.0
    """`failed`: minimum duration of the run of 5xx."""
    failed_answers: Count = 3
    """`failed`: minimum number of 5xx in a row."""
    chance: Annotated[float, Field(gt=0, lt=1)] = 1e-9
    """`failed`: the probability that such a run is mere chance must be below this."""
    gateway_codes: StatusCodes = frozenset({502, 503, 504, *range(520, 531)})
    """5xx that a gateway may have answered; a 5xx whose body is not JSON always counts as one."""
    gateway_failed_after: Wait = 120.0
    """`failed` by such answers: minimum duration of a run twice as long, with a strong witness."""
    weak_answers: Count = 10
    """`failed` with no other pending job of the mode answered 2xx: minimum number of answers."""
    weak_after: Wait = 600.0
    """`failed` with no other pending job of the mode answered 2xx: minimum duration of the run."""
    control: list[Literal["finished", "random", "bare"]] = ["finished", "random", "bare"]
    """What control requests may ask about: a finished job, a random id, or no id at all."""
    not_found_answers: Count = 3
    """`not_found`: minimum number of 404 in a row."""
    not_found_grace: Wait = 300.0
    """`not_found`: minimum duration of the run, for a job that was never answered 2xx."""
    lost_jobs: Count = 5
    """Minimum number of known jobs turning 404/422 together to count as lost upstream."""
    lost_share: Share = 0.2
    """Minimum share of the jobs asked in `lost_window` that they must make up as well."""
    lost_window: Wait = 300.0
    """The window in which lost jobs are counted."""
    lost_after: Wait = 600.0
    """`not_found` for a job that was answered 2xx before: minimum duration of the run."""
    outage_jobs: Count = 5
    """An outage: minimum number of jobs asked."""
    outage_share: Share = 0.5
    """An outage: more than this share of the jobs asked get a 5xx or an unreadable answer."""
    outage_window: Wait = 60.0
    """The window in which an outage is judged."""


class KnownValues(Section):
    """Label values to start at 0, in addition to the documented ones."""

    mode: list[str] = []
    """Modes to start at 0."""
    step: list[str] = []
    """Steps to start at 0."""
    variation: list[str] = []
    """Variations to start at 0."""


class PerJob(Section):
    """The per-job series."""

    enabled: bool = True
    """Whether there are per-job series at all."""
    exclude: list[Literal[PER_JOB_NAMES]] = []  # type: ignore[valid-type]
    """Per-job metrics to leave out, by name."""
    after: Duration = 0.0
    """Minimum age of a job before it has series."""
    linger: Duration = 300.0
    """How long a job keeps its series after its end."""
    linger_failed: Duration = 3600.0
    """How long a failed job keeps its series after its end."""
    max_jobs: Annotated[int, Field(ge=0, le=1_000_000)] = 2000
    """Maximum number of jobs with series; the oldest pending and the newest failed are kept."""


class Metrics(Section):
    """What `/metrics` contains."""

    group_labels: Annotated[list[LabelName], Field(max_length=2)] = []
    """Up to two registration labels by which totals are split. A change resets the counters."""
    const_labels: dict[LabelName, str] = {}
    """Labels added to every series."""
    max_label_values: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Maximum distinct values of an upstream-defined label; further ones become `other`."""
    known_values: KnownValues = KnownValues()
    """Label values to start at 0, in addition to the documented ones."""
    per_job: PerJob = PerJob()
    """The per-job series."""


class Storage(Section):
    """Where jobs are stored, and for how long."""

    path: FilePath = Path("removit-exporter.db")
    """The SQLite file."""
    retention: Wait = 7 * 86400.0
    """How long finished jobs are kept."""
    history_events: Annotated[int, Field(ge=0, le=10**9)] = 100_000
    """Maximum number of events that are kept."""
    counter_resume_within: Duration = 3600.0
    """Counters, and bad states of the upstream, outlast a stop of at most this long."""

    @field_validator("path")
    @classmethod
    def _a_file(cls, value: Path) -> Path:
        if value.name.startswith(":memory:"):
            raise ValueError("expected a file: a database in memory would be lost with the process")
        return value


class Status(Section):
    """The upstream's contract, served from memory."""

    max_age: Wait = 10.0
    """An answer is served until the job's next poll is due, and up to this age."""
    max_stale: Wait = 300.0
    """Maximum age of an answer served while the upstream cannot be asked."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_age > self.max_stale:
            raise ValueError("max_age is longer than max_stale")
        return self


class Sd(Section):
    """Jobs as targets, in the format of Prometheus's `http_sd`."""

    min_age: Duration = 900.0
    """Jobs that have been pending longer than this are targets."""
    max_targets: Annotated[int, Field(ge=0, le=10_000)] = 100
    """Maximum number of targets: the oldest ones."""


class Web(Section):
    """The exporter's own server."""

    listen_address: Address = "127.0.0.1:10977"
    """Address to listen on."""
    external_url: HttpUrl | None = None
    """The URL under which the exporter is reachable from outside."""
    route_prefix: RoutePrefix | None = None
    """Path prefix of every route. Defaults to the path of `external_url`."""

    @property
    def prefix(self) -> str:
        """The path before every route: `route_prefix`, or the path of `external_url`."""
        if self.route_prefix is not None:
            return self.route_prefix
        return urlsplit(self.external_url).path.rstrip("/") if self.external_url else ""


class Log(Section):
    """The log; `format` is json unless stderr is a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum level that is logged."""
    format: Literal["json", "console"] | None = None
    """Output format: `json` or `console`. Defaults to `console` on a terminal, else `json`."""
