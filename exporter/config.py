"""The config: every key, its type and its default. Unknown keys are errors.

`config_loading.py` reads the file; a `Config` can as well be made in Python.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .config_types import (
    CONTROL,
    MAX_ID_CHARS,
    MAX_KEY_CHARS,
    PER_JOB_NAMES,
    RESERVED_LABELS,
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
    Wait,
    show,
)
from .credentials import SecretSource


class Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        validate_default=False,
    )


class Upstream(Section):
    """The API that is watched: one base URL with one key."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = "removit"
    base_url: HttpUrl = "https://api.removit.eu"
    api_key_file: FilePath | None = None
    api_key_env: Annotated[str, Field(min_length=1)] | None = "REMOVIT_API_KEY"
    timeout: Wait = 10.0
    connect_timeout: Wait = 5.0
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    rate: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    burst: Annotated[int, Field(ge=1, le=100_000)] = 20
    proxy_url: ProxyUrl | None = None
    ca_file: FilePath | None = None

    @property
    def proxy(self) -> str | None:
        """The proxy's URL, password and all."""
        return self.proxy_url.reveal() if self.proxy_url else None

    def key_source(self, environ: Mapping[str, str] = os.environ) -> SecretSource:
        """Return where the API key comes from."""
        return SecretSource(self.api_key_file, self.api_key_env, environ)


class Polling(Section):
    """How often jobs are asked about."""

    min_interval: Wait = 2.0
    max_interval: Wait = 60.0
    stalled_after: Wait = 600.0
    give_up_after: Wait = 86400.0
    max_retry_after: Wait = 300.0
    recheck_after: list[Wait] = [60.0, 600.0, 3600.0]
    key_retry: Wait = 60.0

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
    failed_answers: Count = 3
    not_found_answers: Count = 3
    not_found_grace: Wait = 300.0
    lost_jobs: Count = 5
    lost_share: Share = 0.2
    lost_window: Wait = 300.0
    lost_after: Wait = 600.0
    outage_jobs: Count = 5
    outage_share: Share = 0.5
    outage_window: Wait = 60.0


class ConfiguredJob(Section):
    """A job that the config names."""

    job_id: str
    labels: dict[str, str] = {}
    key: str | None = None


class Registration(Section):
    """What may be registered, and by whom."""

    token_file: FilePath | None = None
    allowed_labels: list[LabelName] = []
    job_id_pattern: str = "[A-Za-z0-9._~-]{1,128}"
    max_labels: Annotated[int, Field(ge=0, le=64)] = 16
    max_label_bytes: Annotated[Size, Field(ge=1, le=64 * 1024)] = 256
    max_body_bytes: Annotated[Size, Field(ge=1024, le=1024**3)] = 1024 * 1024
    max_pending: Count = 100_000

    @field_validator("job_id_pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        for probe in ("", "a/b", "a b", "a\nb", "a\x00b"):
            if pattern.fullmatch(probe):
                raise ValueError(f"must not admit {probe!r}: ids stand in paths and labels")
        return value

    def token_source(self) -> SecretSource:
        """Return where the token for writing comes from."""
        return SecretSource(self.token_file)

    def check(self, job_id: object, labels: object, key: object) -> dict[str, list[str]]:
        """Say what is wrong with a job to register, by field; empty when nothing is."""
        found: dict[str, list[str]] = {}
        if (wrong := self._check_id(job_id)) is not None:
            found["job_id"] = [wrong]
        found |= self._check_labels(labels)
        if key is not None and (wrong := _check_key(key)) is not None:
            found["key"] = [wrong]
        return found

    def _check_id(self, job_id: object) -> str | None:
        if not isinstance(job_id, str):
            return f"expected a string, got {show(job_id)}"
        if len(job_id) > MAX_ID_CHARS or not re.fullmatch(self.job_id_pattern, job_id):
            admitted = f"registration.job_id_pattern admits: {self.job_id_pattern}"
            return f"{show(job_id)} is not what {admitted}"
        return None

    def _check_labels(self, labels: object) -> dict[str, list[str]]:
        if not isinstance(labels, dict):
            return {"labels": ['expected an object such as {"shop": "eu"}']}
        if len(labels) > self.max_labels:
            return {"labels": [f"{len(labels)} labels; at most {self.max_labels} are admitted"]}
        found = {}
        for name, value in labels.items():
            if (wrong := self._check_label(name, value)) is not None:
                found[f"labels.{str(name)[:128]}"] = [wrong]
        return found

    def _check_label(self, name: object, value: object) -> str | None:
        if name in RESERVED_LABELS or str(name).startswith("__"):
            return "the label name is reserved"
        if name not in self.allowed_labels:
            names = ", ".join(self.allowed_labels) or "none"
            return f"not among registration.allowed_labels, which are: {names}"
        if not isinstance(value, str):
            return f"expected a string, got {show(value)}"
        if "\x00" in value or not _is_text(value):
            return "contains a character that no label can hold"
        if len(value.encode()) > self.max_label_bytes:
            return f"longer than {self.max_label_bytes} bytes"
        return None


def _check_key(key: object) -> str | None:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARS:
        return f"expected a string of 1 to {MAX_KEY_CHARS} characters"
    if CONTROL.search(key):
        return "contains a control character"
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class KnownValues(Section):
    """Label values to start at 0 beside the documented ones."""

    mode: list[str] = []
    step: list[str] = []
    variation: list[str] = []


class PerJob(Section):
    """The series of single jobs."""

    enabled: bool = True
    exclude: list[Literal[PER_JOB_NAMES]] = []  # type: ignore[valid-type]
    after: Duration = 0.0
    linger: Duration = 300.0
    linger_failed: Duration = 3600.0
    max_jobs: Annotated[int, Field(ge=0, le=1_000_000)] = 2000


class Metrics(Section):
    """What the page of metrics holds."""

    group_labels: Annotated[list[LabelName], Field(max_length=2)] = []
    const_labels: dict[LabelName, str] = {}
    max_label_values: Annotated[int, Field(ge=1, le=10_000)] = 50
    known_values: KnownValues = KnownValues()
    per_job: PerJob = PerJob()


class Storage(Section):
    """Where jobs are kept, and for how long."""

    path: FilePath = Path("removit-exporter.db")
    retention: Wait = 86400.0
    history_events: Annotated[int, Field(ge=0, le=10**9)] = 100_000
    counter_resume_within: Duration = 3600.0

    @field_validator("path")
    @classmethod
    def _a_file(cls, value: Path) -> Path:
        if value.name.startswith(":memory:"):
            raise ValueError("expected a file: what is kept in memory is lost with the process")
        return value


class Web(Section):
    """The exporter's own server."""

    listen_address: Address = "127.0.0.1:10977"
    external_url: HttpUrl | None = None
    route_prefix: RoutePrefix | None = None

    @property
    def prefix(self) -> str:
        """The path before every route: `route_prefix`, else the path of `external_url`."""
        if self.route_prefix is not None:
            return self.route_prefix
        return urlsplit(self.external_url).path.rstrip("/") if self.external_url else ""


class Log(Section):
    """What is logged; `format` is json unless stderr is a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] | None = None


class Config(Section):
    """The whole file."""

    upstream: Upstream = Upstream()
    polling: Polling = Polling()
    judgement: Judgement = Judgement()
    jobs: list[ConfiguredJob] = []
    job_files: Annotated[list[FilePath], Field(max_length=100)] = []
    registration: Registration = Registration()
    metrics: Metrics = Metrics()
    storage: Storage = Storage()
    web: Web = Web()
    log: Log = Log()

    @field_validator("jobs", mode="before")
    @classmethod
    def _plain_ids(cls, value: object) -> object:
        """A job without labels and key is written as its id alone."""
        if not isinstance(value, list):
            return value
        return [{"job_id": job} if isinstance(job, str) else job for job in value]


class LiveConfig:
    """The config that is in force, held by reference, and changed in two phases.

    Whoever goes by it subscribes with a `prepare` that checks and makes ready what a new config
    needs, and returns how to switch to it. Preparing may fail, and then nothing has changed;
    switching may not.
    """

    def __init__(self, config: Config) -> None:
        self.current = config
        self._prepares: list[Callable[[Config], Callable[[], None]]] = []

    def subscribe(self, prepare: Callable[[Config], Callable[[], None]]) -> None:
        """Have `prepare` called with each new config; what it returns is called to switch."""
        self._prepares.append(prepare)

    def apply(self, config: Config) -> None:
        """Put a new config in force, wholly or, when any `prepare` raises, not at all."""
        switches = [prepare(config) for prepare in self._prepares]
        self.current = config
        for switch in switches:
            switch()
