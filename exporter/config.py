"""The config file's types, defaults and cross-checks. Unknown keys are errors, and all errors
come at once, each with file and line.

Durations are written as Prometheus writes them (its "Configuration", `<duration>`) and held as
seconds; sizes as `1MiB`, held as bytes. Relative paths count from the config file.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .config_file import MAX_FILE_BYTES, ConfigError, Document, read_document
from .credentials import Secret, SecretError, SecretSource
from .metrics.catalogue import FAMILIES, LABEL_NAMES, Part

__all__ = [
    "Config",
    "ConfigError",
    "LiveConfig",
    "Secret",
    "SecretSource",
    "load_config",
    "parse_config",
    "parse_duration",
    "split_address",
]

RESERVED_LABELS: Final = LABEL_NAMES | {"job", "instance", "le", "upstream", "drill"}
"""Label names that Prometheus or the catalogue uses; no registration label is called so."""

PER_JOB_NAMES: Final = tuple(
    family.name for family in FAMILIES.values() if family.part is Part.JOBS
)
MAX_ID_CHARS: Final = 1024
MAX_KEY_CHARS: Final = 256

_DURATION: Final = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?"
)
_DURATION_UNITS: Final = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_SIZE: Final = re.compile(r"(\d{1,15})(B|KiB|MiB|GiB)")
_SIZE_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def parse_duration(value: object) -> float:
    """Read a duration as Prometheus writes them, in seconds; raises ValueError."""
    if isinstance(value, str) and value and (match := _DURATION.fullmatch(value)):
        parts = zip(match.groups(), _DURATION_UNITS, strict=True)
        return sum(int(number) * unit for number, unit in parts if number)
    if isinstance(value, float | int) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        raise ValueError(f'expected a duration with its unit such as "{value}s", got {value}')
    raise ValueError(f'expected a duration such as "2s", got {_show(value)}')


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _SIZE_UNITS[match[2]]
    raise ValueError(f'expected a size such as "1MiB", got {_show(value)}')


def _http_url(value: object) -> str:
    problem = f'expected a URL such as "https://api.removit.eu", got {_show(value)}'
    if not isinstance(value, str):
        raise ValueError(problem)
    try:
        url = urlsplit(value)
        port_is_fine = url.port is None or url.port > 0
    except ValueError:
        raise ValueError(problem) from None
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_fine:
        raise ValueError(problem)
    if url.username is not None or url.query or url.fragment:
        raise ValueError("expected a URL without user, query and fragment")
    return value.rstrip("/")


def _proxy_url(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError('expected a proxy such as "http://proxy.example:3128"')
    return Secret(value)  # it may carry a password


def _address(value: object) -> str:
    if isinstance(value, str):
        try:
            split_address(value)
        except ValueError:
            pass
        else:
            return value
    raise ValueError(f'expected an address such as "127.0.0.1:10977", got {_show(value)}')


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port`, `:port` or `[::1]:port`; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or ":" not in text:
        raise ValueError(text)
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(text)
    return host.strip("[]"), int(port)


def _route_prefix(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f'expected a path such as "/removit", got {_show(value)}')
    return value.rstrip("/")


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\x00" in value:
        raise ValueError(f"expected a file's path, got {_show(value)}")
    directory = (info.context or {}).get("directory", Path())
    return Path(directory) / value


def _label_name(value: object) -> str:
    if not isinstance(value, str) or not _LABEL_NAME.fullmatch(value):
        raise ValueError(f"expected a label name of letters, digits and _, got {_show(value)}")
    if value.startswith("__") or value in RESERVED_LABELS:
        raise ValueError(f"the label name {value!r} is reserved")
    return value


def _show(value: object) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 80 else text[:79] + "…"


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(_size)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
ProxyUrl = Annotated[Secret, BeforeValidator(_proxy_url)]
Address = Annotated[str, BeforeValidator(_address)]
FilePath = Annotated[Path, BeforeValidator(_path)]
LabelName = Annotated[str, BeforeValidator(_label_name)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
Wait = Annotated[Duration, Field(ge=0.001, le=10 * 365 * 86400)]


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
            return f"expected a string, got {_show(job_id)}"
        if len(job_id) > MAX_ID_CHARS or not re.fullmatch(self.job_id_pattern, job_id):
            admitted = f"registration.job_id_pattern admits: {self.job_id_pattern}"
            return f"{_show(job_id)} is not what {admitted}"
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
            return f"expected a string, got {_show(value)}"
        if "\x00" in value or not _is_text(value):
            return "contains a character that no label can hold"
        if len(value.encode()) > self.max_label_bytes:
            return f"longer than {self.max_label_bytes} bytes"
        return None


def _check_key(key: object) -> str | None:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARS:
        return f"expected a string of 1 to {MAX_KEY_CHARS} characters"
    if _CONTROL.search(key):
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
    route_prefix: Annotated[str, BeforeValidator(_route_prefix)] | None = None

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


def load_config(
    path: str | Path,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """Read a config file; raises `ConfigError` with everything that is wrong.

    `overrides` are values that win over the file's, by dotted key (`web.listen_address`).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError([f"{path}:1: longer than {MAX_FILE_BYTES} bytes"])
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not UTF-8"]) from None
    return parse_config(
        text, name=str(path), directory=path.parent, environ=environ, overrides=overrides
    )


def parse_config(
    text: str,
    *,
    name: str = "config.yaml",
    directory: Path = Path(),
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """Read a config's text; raises `ConfigError`. The key and the token must be there."""
    document = read_document(text, name)
    for key, value in (overrides or {}).items():
        section, _, field = key.partition(".")
        document.data.setdefault(section, {})[field] = value
    config = None
    try:
        config = Config.model_validate(document.data, context={"directory": directory})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            _note(document, problem, error)
    if config is not None:
        _cross_check(config, document)
        _check_secrets(config, document, environ)
    document.raise_errors()
    assert config is not None  # noqa: S101 - else its errors were raised
    return config


def _note(document: Document, problem: Any, error: ValidationError) -> None:
    """Note one of pydantic's errors in our words."""
    path = tuple(part for part in problem["loc"] if not _is_internal(part))
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        document.error(path, _unknown_key(path), of_key=True)
        return
    if kind == "value_error":
        document.error(path, str(context["error"]))
        return
    expected = _EXPECTED.get(kind)
    message = expected(context) if expected else problem["msg"]
    if kind != "missing":
        message = f"{message}, got {_show(_value_at(document.data, path))}"
    document.error(path, message)


_EXPECTED: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "int_type": lambda _: "expected a whole number",
    "float_type": lambda _: "expected a number",
    "bool_type": lambda _: "expected true or false",
    "string_type": lambda _: "expected a text",
    "list_type": lambda _: "expected a list",
    "dict_type": lambda _: "expected a mapping",
    "model_type": lambda _: "expected a mapping",
    "model_attributes_type": lambda _: "expected a mapping",
    "literal_error": lambda context: f"expected one of {context['expected']}",
    "greater_than": lambda context: f"expected more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"expected at least {context['ge']:g}",
    "less_than_equal": lambda context: f"expected at most {context['le']:g}",
    "missing": lambda _: "is missing",
    "too_long": lambda context: f"expected at most {context['max_length']} of them",
    "string_too_short": lambda _: "expected a text that is not empty",
    "string_too_long": lambda context: f"expected at most {context['max_length']} characters",
}


def _is_internal(part: object) -> bool:
    """Pydantic names the members of a union and a dict's `[key]`; a user did not write those."""
    return isinstance(part, str) and (part == "[key]" or "[" in part)


def _value_at(data: Any, path: tuple[str | int, ...]) -> object:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _unknown_key(path: tuple[str | int, ...]) -> str:
    model: Any = Config
    for part in path[:-1]:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(part)
            model = ConfiguredJob if part == "jobs" else field.annotation if field else None
    fields = getattr(model, "model_fields", None)
    known = list(fields) if fields else []
    close = difflib.get_close_matches(str(path[-1]), known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _cross_check(config: Config, document: Document) -> None:
    """What no section can see alone."""
    allowed = config.registration.allowed_labels
    for at, name in enumerate(config.metrics.group_labels):
        if name not in allowed:
            message = f"{name!r} is not among registration.allowed_labels"
            document.error(("metrics", "group_labels", at), message)
    for at, name in enumerate(allowed):
        if name in config.metrics.const_labels:
            message = f"{name!r} is taken by metrics.const_labels"
            document.error(("registration", "allowed_labels", at), message)
    first: dict[str, tuple[int, ConfiguredJob]] = {}
    for at, job in enumerate(config.jobs):
        details = config.registration.check(job.job_id, job.labels, job.key)
        for field, texts in details.items():
            whole = isinstance(document.data["jobs"][at], str)
            inner = () if whole else tuple(field.split(".", 1))
            document.error(("jobs", at, *inner), "; ".join(texts))
        known_at, known = first.setdefault(job.job_id, (at, job))
        if known != job:
            line = document.line(("jobs", known_at))
            message = f"{job.job_id} is named on line {line} with other labels or another key"
            document.error(("jobs", at), message)


def _check_secrets(config: Config, document: Document, environ: Mapping[str, str]) -> None:
    upstream = config.upstream
    try:
        upstream.key_source(environ).check()
        if upstream.api_key_file is None and upstream.api_key_env is None:
            raise SecretError("neither api_key_file nor api_key_env is given")
    except SecretError as error:
        if upstream.api_key_file is not None:
            document.error(("upstream", "api_key_file"), str(error))
        else:
            document.error(
                ("upstream",), f"no API key: {error}; set it, or give upstream.api_key_file"
            )
    try:
        config.registration.token_source().check()
    except SecretError as error:
        document.error(("registration", "token_file"), str(error))


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
