"""The types of the config's values: durations, sizes, addresses, names.

Durations become seconds, sizes such as `1MiB` become bytes.
"""

import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from ..metrics.catalogue import FAMILIES, LABEL_NAMES, Part
from .credentials import Secret
from .durations import JSON_SCHEMA_PATTERN, parse_duration, write_duration

RESERVED_LABELS: Final = LABEL_NAMES | {"job", "instance", "le", "upstream", "drill", "drill_page"}
"""Label names that Prometheus or the catalogue uses. Registration labels cannot have them."""

PER_JOB_NAMES: Final = tuple(
    family.name for family in FAMILIES.values() if family.part is Part.JOBS
)
MAX_ID_CHARS: Final = 1024
MAX_KEY_CHARS: Final = 256
MAX_WAIT_DAYS: Final = 3650

_SIZE: Final = re.compile(r"(\d{1,15})(B|KiB|MiB|GiB)")
_SIZE_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_CODES: Final = re.compile(r"(5\d\d)(?:-(5\d\d))?")
_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def _duration(value: object) -> float:
    """Read a duration; a bare number is an error that shows how to add the unit."""
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        raise ValueError(f'expected a duration with its unit such as "{value}s", got {value}')
    raise ValueError(f'expected a duration such as "2s", got {show(value)}')


def _wait(seconds: float) -> float:
    if not 0.001 <= seconds <= MAX_WAIT_DAYS * 86400:
        got = write_duration(seconds)
        raise ValueError(f"expected a duration from 1ms to {MAX_WAIT_DAYS}d, got {got}")
    return seconds


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _SIZE_UNITS[match[2]]
    raise ValueError(f'expected a size such as "1MiB", got {show(value)}')


def _http_url(value: object) -> str:
    problem = f'expected a URL such as "https://api.removit.eu", got {show(value)}'
    if not isinstance(value, str):
        raise ValueError(problem)
    try:
        url = urlsplit(value)
        port_is_fine = url.port is None or url.port > 0
        host = url.hostname or ""
        host.encode("idna")  # as the resolver does: this rejects empty and too long labels
    except ValueError:
        raise ValueError(problem) from None
    if url.scheme not in ("http", "https") or not host or " " in host or not port_is_fine:
        raise ValueError(problem)
    if url.username is not None or url.query or url.fragment:
        raise ValueError("expected a URL without user, query and fragment")
    return value.rstrip("/")


def _proxy_url(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError('expected a proxy such as "http://proxy.example:3128"')
    return Secret(value)  # it may contain a password


def _address(value: object) -> str:
    if isinstance(value, str):
        try:
            split_address(value)
        except ValueError:
            pass
        else:
            return value
    raise ValueError(f'expected an address such as "127.0.0.1:10977", got {show(value)}')


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port`, `:port` or `[::1]:port`; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or ":" not in text:
        raise ValueError(text)
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(text)
    return host.strip("[]"), int(port)


def read_route_prefix(value: object) -> str:
    """Check a path prefix; raises ValueError."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f'expected a path such as "/removit", got {show(value)}')
    return value.rstrip("/")


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\x00" in value:
        raise ValueError(f"expected a file's path, got {show(value)}")
    directory = (info.context or {}).get("directory", Path())
    return Path(directory) / value


def _label_name(value: object) -> str:
    if not isinstance(value, str) or not _LABEL_NAME.fullmatch(value):
        raise ValueError(f"expected a label name of letters, digits and _, got {show(value)}")
    if value.startswith("__") or value in RESERVED_LABELS:
        raise ValueError(f"the label name {value!r} is reserved")
    return value


def _status_codes(value: object) -> frozenset[int]:
    if isinstance(value, frozenset):
        return value
    if not isinstance(value, list):
        raise ValueError(f"expected a list such as [502, 520-530], got {show(value)}")
    codes = set[int]()
    for item in value:
        match = _CODES.fullmatch(str(item)) if isinstance(item, int | str) else None
        if match is None:
            raise ValueError(f"expected 5xx codes such as 502 or 520-530, got {show(item)}")
        codes.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(codes)


def write_codes(codes: frozenset[int]) -> list[int | str]:
    """Write codes as in a config file, with more than three in a row as a range."""
    written: list[int | str] = []
    rest = sorted(codes)
    while rest:
        run = next((n for n, code in enumerate(rest) if code != rest[0] + n), len(rest))
        whole: list[int | str] = [f"{rest[0]}-{rest[run - 1]}"] if run > 3 else [*rest[:run]]
        written += whole
        rest = rest[run:]
    return written


def show(value: object) -> str:
    """Return a value as error messages quote it."""
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 80 else text[:79] + "…"


def hint_of_quotes(value: object) -> str:
    """Say how to write a number, a date or a word such as `yes` as a text; else nothing."""
    if value is None or not isinstance(value, (bool, int, float)):
        return ""
    return "; quote it, or YAML reads it as a number or as true or false"


def _written(form: str, pattern: str | None = None) -> WithJsonSchema:
    """Return the JSON Schema of a value; `form` is its name in the docs."""
    schema = {"type": "string", "title": form}
    return WithJsonSchema(schema | ({"pattern": f"^{pattern}$"} if pattern else {}))


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    _written("duration", JSON_SCHEMA_PATTERN),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["integer", "string"], "title": "size"}),
]
HttpUrl = Annotated[str, BeforeValidator(_http_url), _written("URL", "https?://.+")]
ProxyUrl = Annotated[Secret, BeforeValidator(_proxy_url), _written("URL", "https?://.+")]
Address = Annotated[str, BeforeValidator(_address), _written("address", r".*:\d+")]
FilePath = Annotated[Path, BeforeValidator(_path), _written("path")]
LabelName = Annotated[
    str, BeforeValidator(_label_name), _written("label name", _LABEL_NAME.pattern)
]
RoutePrefix = Annotated[str, BeforeValidator(read_route_prefix), _written("path", "/.*")]
StatusCodes = Annotated[
    frozenset[int],
    BeforeValidator(_status_codes),
    WithJsonSchema(
        {
            "type": "array",
            "title": "codes",
            "items": {"type": ["integer", "string"], "pattern": "^5\\d\\d(-5\\d\\d)?$"},
        }
    ),
]
Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
Wait = Annotated[Duration, AfterValidator(_wait)]
