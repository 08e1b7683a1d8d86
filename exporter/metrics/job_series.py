"""The lines of one job in the exposition format.

They are written here and not by prometheus-client, which writes whole families only.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from ..core.job import Job
from ..core.tally import UNKNOWN
from .catalogue import FAMILIES, Part


@dataclass(frozen=True, slots=True)
class JobFamily:
    """A per-job family: its help and type as text, and the fields of a job that it shows."""

    name: str
    head: bytes
    fields: Callable[[Job], Any]


class JobLines:
    """Writes the lines of jobs.

    `removit_job_info` has the registration labels that `allowed_labels` admits. All lines have the
    constant labels. Families in `exclude` are left out.
    """

    def __init__(
        self,
        exclude: Collection[str],
        allowed_labels: Collection[str],
        const_labels: Mapping[str, str],
    ) -> None:
        self.families = [
            _family(family.name, family.help)
            for family in FAMILIES.values()
            if family.part is Part.JOBS and family.name not in exclude
        ]
        self._allowed_labels = allowed_labels
        self._const = "".join(f',{name}="{_escape(value)}"' for name, value in const_labels.items())
        self._any_field = attrgetter(*dict.fromkeys(sum(_FIELDS.values(), ())))

    def write(self, family: JobFamily, job: Job) -> bytes:
        """Return a job's line of one family; empty if it has no such sample."""
        labels, value = "", 1.0
        if family.name in _LABELS:
            labels = _pairs(_LABELS[family.name](job, self._allowed_labels))
            if not labels:
                return b""
        else:
            read = _VALUES[family.name](job)
            if read is None:
                return b""
            value = float(read)
        identity = f'{family.name}{{job_id="{_escape(job.job_id)}"'
        return f"{identity}{labels}{self._const}}} {value!r}\n".encode()

    def changed(self, before: Job, after: Job) -> list[int]:
        """Return the positions of the families in which two values of a job differ."""
        # Most polls change nothing that is shown: one comparison says so.
        if self._any_field(before) == self._any_field(after):
            return []
        return [
            at
            for at, family in enumerate(self.families)
            if family.fields(before) != family.fields(after)
        ]


def mark(job_id: str) -> bytes:
    """Return what each of a job's lines has after the family's name, and no other line has."""
    return f'{{job_id="{_escape(job_id)}"'.encode()


def _family(name: str, help_text: str) -> JobFamily:
    head = f"# HELP {name} {help_text}\n# TYPE {name} gauge\n".encode()
    return JobFamily(name, head, attrgetter(*_FIELDS[name]))


def _identity(job: Job, allowed_labels: Collection[str]) -> dict[str, str]:
    identity = {"mode": job.mode or UNKNOWN, "source": job.source.value, "key": job.key or ""}
    return identity | {name: job.labels[name] for name in job.labels if name in allowed_labels}


_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "removit_job_info": ("mode", "source", "key", "labels"),
    "removit_job_state": ("state",),
    "removit_job_step": ("step",),
    "removit_job_progress_ratio": ("progress",),
    "removit_job_warnings_current": ("warnings",),
    "removit_job_ignored_variations_current": ("ignored_variations",),
    "removit_job_registered_timestamp_seconds": ("registered_at",),
    "removit_job_last_progress_timestamp_seconds": ("last_progress_at",),
    "removit_job_finished_timestamp_seconds": ("finished_at",),
}
"""The fields of a job that each family shows, next to its id."""

_LABELS: Final[Mapping[str, Callable[[Job, Collection[str]], Mapping[str, str]]]] = {
    "removit_job_info": _identity,
    "removit_job_state": lambda job, _: {"state": job.state.value},
    "removit_job_step": lambda job, _: {"step": job.step or ""},
}
"""The labels of the families whose value is 1."""

_VALUES: Final[Mapping[str, Callable[[Job], float | None]]] = {
    "removit_job_progress_ratio": lambda job: None if job.progress is None else job.progress / 100,
    "removit_job_warnings_current": lambda job: sum(map(len, job.warnings.values())),
    "removit_job_ignored_variations_current": lambda job: len(job.ignored_variations),
    "removit_job_registered_timestamp_seconds": lambda job: job.registered_at,
    "removit_job_last_progress_timestamp_seconds": lambda job: job.last_progress_at,
    "removit_job_finished_timestamp_seconds": lambda job: job.finished_at,
}
"""The values of the other families."""


def _pairs(labels: Mapping[str, str]) -> str:
    return "".join(f',{name}="{_escape(value)}"' for name, value in labels.items() if value)


def _escape(value: str) -> str:
    """Escape backslash, quote and line feed, as the exposition format demands."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
