"""Reads a config file into a `Config`, and reports all errors at once, with file and line."""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ..ca_file import CaFileError, check_ca_file
from .config import Config
from .credentials import SecretError, read_secret_file
from .document import MAX_FILE_BYTES, ConfigError, Document, read_document
from .files import FileError, read_text
from .registration import ConfiguredJob
from .sections import Section
from .values import hint_of_quotes, show


def load_config(
    path: str | Path,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] | None = None,
    secrets: bool = True,
) -> Config:
    """Read a config file; raises `ConfigError` with all errors.

    Without `secrets` the key and the token need not be there.
    `overrides` are values that win over the file's, by dotted key (`web.listen_address`).
    """
    path = Path(path)
    return parse_config(
        read_config_text(path),
        name=str(path),
        directory=path.parent,
        environ=environ,
        overrides=overrides,
        secrets=secrets,
    )


def read_config_text(path: Path) -> str:
    """Read a file of YAML, at most `MAX_FILE_BYTES` long; raises `ConfigError`."""
    try:
        return read_text(path, MAX_FILE_BYTES)
    except FileError as error:
        raise ConfigError([str(error)]) from None


SomeSection = TypeVar("SomeSection", bound=BaseModel)


def validate(model: type[SomeSection], document: Document, directory: Path) -> SomeSection:
    """Make a model from a document; raises `ConfigError` with all errors.

    Relative paths are relative to `directory`.
    """
    try:
        return model.model_validate(document.data, context={"directory": directory})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            _note(document, problem, model)
        document.raise_errors()
        raise


class ConfigFile:
    """A config file, and the flags that take precedence over it. It can be read repeatedly."""

    def __init__(
        self,
        path: str | Path,
        *,
        environ: Mapping[str, str] = os.environ,
        overrides: Mapping[str, str] | None = None,
        secrets: bool = True,
    ) -> None:
        self.path = Path(path)
        self._environ = environ
        self._overrides = overrides
        self._secrets = secrets

    def load(self) -> Config:
        """See `load_config`."""
        return load_config(
            self.path,
            environ=self._environ,
            overrides=self._overrides,
            secrets=self._secrets,
        )


def parse_config(
    text: str,
    *,
    name: str = "config.yaml",
    directory: Path = Path(),
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] | None = None,
    secrets: bool = True,
) -> Config:
    """Read a config's text; raises `ConfigError`, also if a file that it names cannot be read."""
    document = read_document(text, name)
    for section in [name for name, value in document.data.items() if value is None]:
        if isinstance(getattr(Config(), section, None), Section):
            document.data[section] = {}  # all of its keys are commented out
    for key, value in (overrides or {}).items():
        section, _, field = key.partition(".")
        document.data.setdefault(section, {})[field] = value
        document.flags[section, field] = f"--{key.replace('_', '-')}"
    storage = document.data.setdefault("storage", {})
    if isinstance(storage, dict):  # a default path is below `directory` like one that is given
        storage.setdefault("path", str(Config().storage.path))
    config = validate(Config, document, directory)
    _cross_check(config, document)
    if secrets:
        _check_secrets(config, document, environ)
    document.raise_errors()
    return config


def _note(document: Document, problem: Any, model: type[BaseModel]) -> None:
    """Note an error of pydantic in our words."""
    path = tuple(part for part in problem["loc"] if not _is_internal(part))
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        document.error(path, _unknown_key(model, path), of_key=True)
        return
    if kind == "value_error":
        document.error(path, str(context["error"]))
        return
    expected = _EXPECTED.get(kind)
    message = expected(context) if expected else problem["msg"]
    if kind != "missing":
        value = _value_at(document.data, path)
        message = f"{message}, got {show(value)}"
        message += hint_of_quotes(value) if kind == "string_type" else ""
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
    """Whether pydantic added this part (a union's member, `[key]`), which no user wrote."""
    return isinstance(part, str) and (part == "[key]" or "[" in part)


def _value_at(data: Any, path: tuple[str | int, ...]) -> object:
    for part in path:
        if isinstance(data, (str, int, float)):
            return data  # a plain id, short for {job_id: …}
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _unknown_key(whole: type[BaseModel], path: tuple[str | int, ...]) -> str:
    model: Any = whole
    for part in path[:-1]:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(part)
            model = ConfiguredJob if part == "jobs" else _section_of(field)
    fields = getattr(model, "model_fields", None) or {}
    known = [field.alias or name for name, field in fields.items()]
    key = str(path[-1])
    longer = [name for name in known if name.startswith(f"{key}_")]
    if close := longer or difflib.get_close_matches(key, known, 1):
        return f"unknown key; did you mean {' or '.join(map(repr, close))}?"
    return f"unknown key; known here: {', '.join(known)}"


def _section_of(field: FieldInfo | None) -> Any:
    """Return the model of a field, also of an optional one."""
    annotation = field.annotation if field else None
    models = [one for one in get_args(annotation) if isinstance(one, type)]
    return models[0] if models else annotation


def label_clashes(config: Config) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the conflicts between the lists of labels: place and message."""
    allowed = config.registration.allowed_labels
    for at, name in enumerate(config.metrics.group_labels):
        if name not in allowed:
            yield (
                ("metrics", "group_labels", at),
                f"{name!r} is not among registration.allowed_labels",
            )
    for at, name in enumerate(allowed):
        if name in config.metrics.const_labels:
            yield (
                ("registration", "allowed_labels", at),
                f"{name!r} is taken by metrics.const_labels",
            )


def _cross_check(config: Config, document: Document) -> None:
    """Note errors that involve several sections."""
    for path, message in label_clashes(config):
        document.error(path, message)
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
        if upstream.ca_file is not None:
            check_ca_file(upstream.ca_file)
    except CaFileError as error:
        document.error(("upstream", "ca_file"), str(error))
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
        if config.registration.token_file is not None:
            read_secret_file(config.registration.token_file)
    except SecretError as error:
        document.error(("registration", "token_file"), str(error))
