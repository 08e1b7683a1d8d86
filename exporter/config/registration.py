"""The section `registration`, and the check of a registration by its rules."""

import functools
import re
from typing import Annotated

from pydantic import Field, field_validator

from .sections import Section
from .values import (
    CONTROL,
    MAX_ID_CHARS,
    MAX_KEY_CHARS,
    RESERVED_LABELS,
    Count,
    FilePath,
    LabelName,
    Size,
    hint_of_quotes,
    show,
)


class ConfiguredJob(Section):
    """A job named in the config."""

    job_id: str
    """The job's id."""
    labels: dict[str, str] = {}
    """Its registration labels."""
    key: str | None = None
    """Your own name for what it produces."""


class RegistrationRules(Section):
    """Rules for registrations."""

    token_file: FilePath | None = None
    """File with the token that writing takes. By default one is created next to the database."""
    allowed_labels: list[LabelName] = []
    """Label names that jobs may have. On uploads the header is `Removit-Exporter-Label-<name>`."""
    job_id_pattern: str = "[A-Za-z0-9._~-]{1,128}"
    """Regular expression that a whole job id must match."""
    max_labels: Annotated[int, Field(ge=0, le=64)] = 16
    """Maximum number of labels of one job."""
    max_label_bytes: Annotated[Size, Field(ge=1, le=64 * 1024)] = 256
    """Maximum length of a label value."""
    max_body_bytes: Annotated[Size, Field(ge=1024, le=1024**3)] = 1024 * 1024
    """Maximum length of a request body. NDJSON may be of any length."""
    max_pending: Count = 100_000
    """With this many jobs pending, new ones are refused."""

    @field_validator("job_id_pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        for probe in ("", "a/b", "a b", "a\nb", "a\x00b"):
            if pattern.fullmatch(probe):
                raise ValueError(f"must not match {probe!r}: ids are used in paths and labels")
        return value

    def check(self, job_id: object, labels: object, key: object) -> dict[str, list[str]]:
        """Return the errors of a registration by field; empty if it is valid."""
        found: dict[str, list[str]] = {}
        if (wrong := self.check_id(job_id)) is not None:
            found["job_id"] = [wrong]
        found |= self._check_labels(labels)
        if key is not None and (wrong := check_key(key)) is not None:
            found["key"] = [wrong]
        return found

    def check_id(self, job_id: object) -> str | None:
        """Return what is wrong with a job's id; None if it is valid."""
        if not isinstance(job_id, str):
            return f"expected a string, got {show(job_id)}{hint_of_quotes(job_id)}"
        if len(job_id) > MAX_ID_CHARS or not _compiled(self.job_id_pattern).fullmatch(job_id):
            admitted = f"registration.job_id_pattern: {self.job_id_pattern}"
            return f"{show(job_id)} does not match {admitted}"
        if CONTROL.search(job_id):
            return f"{show(job_id)} contains a character that ids cannot have"
        return None

    def _check_labels(self, labels: object) -> dict[str, list[str]]:
        if not isinstance(labels, dict):
            return {"labels": ['expected an object such as {"shop": "eu"}']}
        if len(labels) > self.max_labels:
            return {"labels": [f"{len(labels)} labels; at most {self.max_labels} are allowed"]}
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
            return f"expected a string, got {show(value)}{hint_of_quotes(value)}"
        if "\x00" in value or not _is_text(value):
            return "contains a character that labels cannot have"
        if len(value.encode()) > self.max_label_bytes:
            return f"longer than {self.max_label_bytes} bytes"
        return None


@functools.lru_cache(16)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def check_key(key: object) -> str | None:
    """Return what is wrong with a key; None if it is valid."""
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
