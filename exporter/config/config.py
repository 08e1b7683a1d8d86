"""The whole config: all its sections. Unknown keys are errors.

`loading.py` reads it from a file; a `Config` can also be made in Python.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from .registration import ConfiguredJob, RegistrationRules
from .sections import (
    Judgement,
    Log,
    Metrics,
    Polling,
    Sd,
    Section,
    Status,
    Storage,
    Upstream,
    Web,
)
from .values import FilePath


class Config(Section):
    """The whole file."""

    upstream: Upstream = Upstream()
    """The upstream API: one base URL with one key."""
    polling: Polling = Polling()
    """How often jobs are polled."""
    judgement: Judgement = Judgement()
    """Thresholds for calling a job failed, or the upstream down."""
    jobs: list[ConfiguredJob] = []
    """Jobs to poll: ids, or `{job_id: …, labels: {…}, key: …}`."""
    job_files: Annotated[list[FilePath], Field(max_length=100)] = []
    """Files that name jobs, as globs, in the format of Prometheus's `file_sd`."""
    registration: RegistrationRules = RegistrationRules()
    """Rules for registrations."""
    metrics: Metrics = Metrics()
    """What `/metrics` contains."""
    storage: Storage = Storage()
    """Where jobs are stored, and for how long."""
    status: Status = Status()
    """The upstream's contract, served from memory."""
    sd: Sd = Sd()
    """Jobs as targets for Prometheus."""
    web: Web = Web()
    """The exporter's own server."""
    log: Log = Log()
    """The log."""

    @property
    def token_file(self) -> Path:
        """The file of the token: the one that is named, otherwise one next to the database."""
        path = self.storage.path
        return self.registration.token_file or path.with_name(f"{path.name}.token")

    @field_validator("jobs", mode="before")
    @classmethod
    def _plain_ids(cls, value: object) -> object:
        """Admit an id alone for a job without labels and key."""
        if not isinstance(value, list):
            return [] if value is None else value
        return [job if isinstance(job, dict) else {"job_id": job} for job in value]

    @field_validator("job_files", mode="before")
    @classmethod
    def _empty_list(cls, value: object) -> object:
        """Admit a list whose entries are all commented out."""
        return [] if value is None else value
