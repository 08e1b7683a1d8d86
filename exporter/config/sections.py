"""The sections of the config: every key, its type, its meaning and its default.

The meanings are attribute docstrings: `docs/configuration.md` and the JSON Schema are made of them.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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


class Upstream(Section):
    """The API that is watched: one base URL with one key."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = "removit"
    """The value of the label `upstream` on every series."""
    base_url: HttpUrl = "https://api.removit.eu"
    """The API, without `/api/v1`."""
    api_key_file: FilePath | None = None
    """The file that holds the API key. It may change while the exporter runs."""
    api_key_env: Annotated[str, Field(min_length=1)] | None = "REMOVIT_API_KEY"
    """The environment variable that holds the API key where no file is given."""
    timeout: Wait = 10.0
    """How long one request may take in all."""
    connect_timeout: Wait = 5.0
    """How long connecting may take."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Requests under way at once, at most."""
    rate: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    """Requests a second, at most."""
    burst: Annotated[int, Field(ge=1, le=100_000)] = 20
    """How many requests may follow at once after a rest."""
    upload_timeout: Wait = 600.0
    """How long one upload that is passed through may take in all."""
    max_upload_bytes: Annotated[Size, Field(ge=1024, le=1024**4)] = 1024**3
    """The length of an upload that is passed through, at most."""
    proxy_url: ProxyUrl | None = None
    """An HTTP proxy to ask through. It may hold a password, which is never shown."""
    heartbeat: Wait = 300.0
    """After so long without any request a control request is made, so that trouble shows early."""
    ca_file: FilePath | None = None
    """Certificates (PEM) to trust instead of the system's."""

    @property
    def proxy(self) -> str | None:
        """The proxy's URL, password and all."""
        return self.proxy_url.reveal() if self.proxy_url else None

    @property
    def proxy_password(self) -> str | None:
        """The password in the proxy's URL, as it is written there."""
        return urlsplit(self.proxy).password if self.proxy else None

    def key_source(self, environ: Mapping[str, str] = os.environ) -> SecretSource:
        """Return where the API key comes from."""
        return SecretSource(self.api_key_file, self.api_key_env, environ)


class Polling(Section):
    """How often jobs are asked about."""

    min_interval: Wait = 2.0
    """The shortest wait between two polls of a job."""
    max_interval: Wait = 60.0
    """The longest wait between two polls of a job."""
    stalled_after: Wait = 600.0
    """A pending job without progress for so long counts in `removit_jobs_stalled`."""
    overdue_factor: Annotated[float, Field(ge=1, le=1000)] = 3.0
    """A job pending for so many times its mode's usual p99 counts in `removit_jobs_overdue`."""
    overdue_samples: Count = 50
    """What is usual is told from at least so many jobs of the mode that were done."""
    give_up_after: Wait = 86400.0
    """A job without an end for so long, while the upstream was well, is `expired`."""
    max_retry_after: Wait = 300.0
    """The longest wait that a `Retry-After` may ask for."""
    recheck_after: list[Wait] = [60.0, 600.0, 3600.0]
    """When an inferred end is checked again, counted from that end."""
    key_retry: Wait = 60.0
    """How often a rejected key is tried again."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_interval > self.max_interval:
            raise ValueError("min_interval is longer than max_interval")
        if list(self.recheck_after) != sorted(self.recheck_after):
            raise ValueError("recheck_after: expected times that do not fall")
        return self


class Judgement(Section):
    """The thresholds of the rules of judgement."""

    failed_after: Wait = 30.0
    """`failed`: the 5xx in a row last at least so long."""
    failed_answers: Count = 3
    """`failed`: at least so many 5xx in a row."""
    chance: Annotated[float, Field(gt=0, lt=1)] = 1e-9
    """`failed`: the row is so long that chance makes it with a probability below this."""
    gateway_codes: StatusCodes = frozenset({502, 503, 504, *range(520, 531)})
    """5xx that something before the service may have answered, as does one without JSON."""
    gateway_failed_after: Wait = 120.0
    """`failed` by such answers: a row twice as long, over at least this, with a strong witness."""
    weak_answers: Count = 10
    """`failed` when no other pending job of the mode was answered 2xx: so many answers."""
    weak_after: Wait = 600.0
    """`failed` when no other pending job of the mode was answered 2xx: over at least so long."""
    control: list[Literal["finished", "random", "bare"]] = ["finished", "random", "bare"]
    """What control requests may ask about: a finished job, a random id, no id at all."""
    not_found_answers: Count = 3
    """`not_found`: at least so many 404 in a row."""
    not_found_grace: Wait = 300.0
    """`not_found`: they last at least so long, for a job never answered well."""
    lost_jobs: Count = 5
    """So many jobs that turn 404 or 422 together are lost upstream, not ended."""
    lost_share: Share = 0.2
    """The share of the jobs asked in `lost_window` that must do so as well."""
    lost_window: Wait = 300.0
    """The window in which lost jobs are counted."""
    lost_after: Wait = 600.0
    """`not_found` for a job that was answered well before: the answers last so long."""
    outage_jobs: Count = 5
    """An outage is told from at least so many jobs."""
    outage_share: Share = 0.5
    """An outage: more than this share of the jobs asked answer 5xx."""
    outage_window: Wait = 60.0
    """The window in which an outage is judged."""


class KnownValues(Section):
    """Label values to start at 0 beside the documented ones."""

    mode: list[str] = []
    """Modes to start at 0."""
    step: list[str] = []
    """Steps to start at 0."""
    variation: list[str] = []
    """Variations to start at 0."""


class PerJob(Section):
    """The series of single jobs."""

    enabled: bool = True
    """Whether single jobs have series at all."""
    exclude: list[Literal[PER_JOB_NAMES]] = []  # type: ignore[valid-type]
    """Families of single jobs to leave out, by name."""
    after: Duration = 0.0
    """From what age on a job has series."""
    linger: Duration = 300.0
    """How long after its end it keeps them."""
    linger_failed: Duration = 3600.0
    """How long after its end a failed one keeps them."""
    max_jobs: Annotated[int, Field(ge=0, le=1_000_000)] = 2000
    """Jobs with series, at most: the oldest pending and the newest failed are kept."""


class Metrics(Section):
    """What the page of metrics holds."""

    group_labels: Annotated[list[LabelName], Field(max_length=2)] = []
    """Registration labels, two at most, that totals are told apart by."""
    const_labels: dict[LabelName, str] = {}
    """Labels that every series carries."""
    max_label_values: Annotated[int, Field(ge=1, le=10_000)] = 50
    """So many values of a label that the upstream invents; further ones are `other`."""
    known_values: KnownValues = KnownValues()
    """Label values to start at 0, beside the documented ones."""
    per_job: PerJob = PerJob()
    """The series of single jobs."""


class Storage(Section):
    """Where jobs are kept, and for how long."""

    path: FilePath = Path("removit-exporter.db")
    """The SQLite file."""
    retention: Wait = 86400.0
    """For how long finished jobs are kept."""
    history_events: Annotated[int, Field(ge=0, le=10**9)] = 100_000
    """How many events are kept."""
    counter_resume_within: Duration = 3600.0
    """Counters go on after a stop of at most so long, else they begin at 0."""

    @field_validator("path")
    @classmethod
    def _a_file(cls, value: Path) -> Path:
        if value.name.startswith(":memory:"):
            raise ValueError("expected a file: what is kept in memory is lost with the process")
        return value


class Status(Section):
    """The upstream's contract, served from memory."""

    max_age: Wait = 2.0
    """So old an answer is given as it is; an older one is refreshed first."""
    max_stale: Wait = 300.0
    """So old an answer is given while the upstream cannot be asked."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_age > self.max_stale:
            raise ValueError("max_age is longer than max_stale")
        return self


class Sd(Section):
    """Jobs as targets, in the form of Prometheus's `http_sd`."""

    min_age: Duration = 900.0
    """Jobs that are pending longer than this are targets."""
    max_targets: Annotated[int, Field(ge=0, le=10_000)] = 100
    """Targets, at most: the oldest ones."""


class Web(Section):
    """The exporter's own server."""

    listen_address: Address = "127.0.0.1:10977"
    """Address to listen on."""
    external_url: HttpUrl | None = None
    """The URL under which the exporter is reached from outside."""
    route_prefix: RoutePrefix | None = None
    """Path before every route. By default that of `external_url`."""

    @property
    def prefix(self) -> str:
        """The path before every route: `route_prefix`, else the path of `external_url`."""
        if self.route_prefix is not None:
            return self.route_prefix
        return urlsplit(self.external_url).path.rstrip("/") if self.external_url else ""


class Log(Section):
    """What is logged; `format` is json unless stderr is a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on lines are logged."""
    format: Literal["json", "console"] | None = None
    """How lines look: `json`, or `console`. By default `console` on a terminal."""
