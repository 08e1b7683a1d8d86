"""Events become deltas: what each event adds to which counter or histogram.

The names are those of `metrics/catalogue.py` (a test holds the two together). A label whose
values the upstream invents is bounded here, so that no upstream can make series without end:
past a limit a new value counts as `other`. Buckets are in seconds.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .events import Event, EventType
from .job import INFERRED_STATES, Job, JobState, Source
from .reply import DriftKind
from .value import value

FORGOTTEN_REASONS: Final = ("deleted", "config", "file")
"""Why a pending job was forgotten: by a DELETE, or as the config or a file names it no more."""

OTHER: Final = "other"
UNKNOWN: Final = "unknown"

JOB_BUCKETS: Final = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0),
    *(1200.0, 1800.0, 3600.0, 7200.0, 14400.0),
)
"""The design's buckets: jobs take seconds to hours."""

DURATION: Final = "removit_job_duration_seconds"
"""From it the usual duration of a mode is read, too (see `usual.py`)."""

BUCKETS: Final[Mapping[str, tuple[float, ...]]] = {
    DURATION: JOB_BUCKETS,
    "removit_job_step_duration_seconds": JOB_BUCKETS,
    "removit_job_detection_delay_seconds": (0.5, *JOB_BUCKETS),
}

DOCUMENTED: Final[Mapping[str, tuple[str, ...]]] = {
    "mode": ("background", "clipping", "params", UNKNOWN),
    "step": ("queued", "pending_compose", "done"),
    "variation": ("background", "compose", "shadowTop", "clipping", "shadow_wall"),
}
"""The label values that the vendor's pages name; they start at zero."""

Labels = tuple[tuple[str, str], ...]
"""Label names and values, sorted by name: one series of a family."""


@value(frozen=True, slots=True)
class Delta:
    """An addition to one series.

    `bucket` is the index of a histogram's bucket, the last one being +Inf; None for a counter.
    `exemplar` is a job_id.
    """

    name: str
    labels: Labels
    amount: float = 1.0
    bucket: int | None = None
    exemplar: str | None = None


class LabelBounds:
    """The admitted values of the open labels. An admitted value stays; the set is stored."""

    def __init__(self, limit: int, known: Mapping[str, Sequence[str]] | None = None) -> None:
        self.limit = limit
        self._values: dict[str, set[str]] = {}
        self._fresh: list[tuple[str, str]] = []
        for label, values in (*DOCUMENTED.items(), *(known or {}).items()):
            self._values.setdefault(label, set()).update(values)

    def change(self, limit: int, known: Mapping[str, Sequence[str]]) -> None:
        """Take another limit, and more known values; admitted values stay."""
        self.limit = limit
        for label, values in known.items():
            self._values.setdefault(label, set()).update(values)

    def restore(self, admitted: Iterable[tuple[str, str]]) -> None:
        """Take back the stored set."""
        for label, known in admitted:
            self._values.setdefault(label, set()).add(known)

    def admit(self, label: str, value: str | None) -> str:
        """Return the value to show: itself, `unknown` for None, `other` when the set is full."""
        if value is None:
            return UNKNOWN
        values = self._values.setdefault(label, set())
        if value not in values:
            if len(values) >= self.limit:
                return OTHER
            values.add(value)
            self._fresh.append((label, value))
        return value

    def values(self, label: str) -> tuple[str, ...]:
        """Return the admitted values of a label, sorted."""
        return tuple(sorted(self._values.get(label, ())))

    def take_fresh(self) -> tuple[tuple[str, str], ...]:
        """Return what was admitted since the last call, to be stored with the change."""
        fresh, self._fresh = tuple(self._fresh), []
        return fresh

    def give_back(self, fresh: Sequence[tuple[str, str]]) -> None:
        """Have the next change store what this one could not."""
        self._fresh += fresh


class Tally:
    """Turns events into deltas, with the job's labels. It changes nothing except its bounds."""

    def __init__(self, bounds: LabelBounds, group_labels: Sequence[str] = ()) -> None:
        self.bounds = bounds
        self.group_labels = tuple(group_labels)

    def groups(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return a job's values of the group labels, bounded; empty where it has none."""
        return {
            name: self.bounds.admit(name, labels[name]) if labels.get(name) else ""
            for name in self.group_labels
        }

    def mode(self, job: Job) -> str:
        """Return the job's mode as a label value."""
        return self.bounds.admit("mode", job.mode)

    def deltas(self, job: Job, events: Iterable[Event]) -> list[Delta]:
        """Return what the events of one change add; `job` is its value after them."""
        return [delta for event in events for delta in self._event(job, event)]

    def _event(self, job: Job, event: Event) -> Iterator[Delta]:
        data, exemplar = event.data, job.job_id
        match event.type:
            case EventType.REGISTERED:
                groups = self.groups(job.labels)
                yield _count("jobs_registered", {"source": job.source.value, **groups})
            case EventType.STEP_CHANGED:
                yield from self._step(data, exemplar)
            case EventType.WARNING_RAISED:
                labels = self._variation(job, data)
                yield _count("job_warnings", labels, exemplar, len(data["messages"]))
            case EventType.VARIATION_IGNORED:
                yield _count("job_ignored_variations", self._variation(job, data), exemplar)
            case EventType.DRIFT:
                yield _count("contract_drift", {"kind": data["kind"]})
            case EventType.FINISHED:
                yield from self._finished(job, data)
            case EventType.OVERTURNED:
                yield _count("verdicts_overturned", {"from": data["from"]})
            case EventType.FORGOTTEN if data["state"] == JobState.PENDING:
                yield _count("jobs_forgotten", {"reason": data["reason"]})

    def _variation(self, job: Job, data: Mapping[str, Any]) -> dict[str, str]:
        variation = self.bounds.admit("variation", data["variation"])
        return {"variation": variation, "mode": self.mode(job), **self.groups(job.labels)}

    def _step(self, data: Mapping[str, Any], exemplar: str) -> Iterator[Delta]:
        step = self.bounds.admit("step", data["step"])
        yield _count("job_step_transitions", {"step": step})
        if "seconds" in data:
            left = self.bounds.admit("step", data["from_step"])
            name = "removit_job_step_duration_seconds"
            yield _sample(name, {"step": left}, data["seconds"], exemplar)

    def _finished(self, job: Job, data: Mapping[str, Any]) -> Iterator[Delta]:
        state, mode, groups = data["state"], self.mode(job), self.groups(job.labels)
        labels = {"state": state, "mode": mode, **groups}
        yield _count("jobs_finished", labels, job.job_id)
        if data.get("without_result"):
            yield _count("jobs_done_without_result", {"mode": mode, **groups}, job.job_id)
        if data.get("first_seen_final"):
            yield _count("jobs_first_seen_final", {"state": state})
        if "seconds" in data:
            yield _sample(DURATION, labels, data["seconds"], job.job_id)
        if "unseen_seconds" in data:
            name = "removit_job_detection_delay_seconds"
            yield _sample(name, {}, data["unseen_seconds"], None)

    def zeros(self, groups: Mapping[str, str]) -> Iterator[Delta]:
        """Return deltas of nothing, so that the known label values start at 0."""
        for source in Source:
            yield _count("jobs_registered", {"source": source.value, **groups}, amount=0)
        for mode in self.bounds.values("mode"):
            for state in JobState:
                if state is not JobState.PENDING:
                    labels = {"state": state.value, "mode": mode, **groups}
                    yield _count("jobs_finished", labels, amount=0)
            yield _count("jobs_done_without_result", {"mode": mode, **groups}, amount=0)
            for variation in self.bounds.values("variation"):
                labels = {"variation": variation, "mode": mode, **groups}
                yield _count("job_warnings", labels, amount=0)
                yield _count("job_ignored_variations", labels, amount=0)
        yield from self._ungrouped_zeros()

    def _ungrouped_zeros(self) -> Iterator[Delta]:
        closed = (
            ("jobs_first_seen_final", "state", (JobState.DONE, JobState.FAILED)),
            ("jobs_forgotten", "reason", FORGOTTEN_REASONS),
            ("verdicts_overturned", "from", INFERRED_STATES),
            ("contract_drift", "kind", tuple(DriftKind)),
            ("job_step_transitions", "step", self.bounds.values("step")),
        )
        for name, label, values in closed:
            for one in values:
                yield _count(name, {label: str(one)}, amount=0)


def layout(group_labels: Sequence[str]) -> str:
    """Return what a stored total depends on: with another layout it cannot be added to."""
    return repr((sorted(BUCKETS.items()), tuple(group_labels)))


def bucket_of(name: str, value: float) -> int:
    """Return the index of the first bucket whose upper bound is not below `value`."""
    return bisect_left(BUCKETS[name], value)


def label_set(labels: Mapping[str, str]) -> Labels:
    """Return labels in the one order in which they name a series."""
    return tuple(sorted(labels.items()))


def _count(
    name: str, labels: Mapping[str, str], exemplar: str | None = None, amount: float = 1
) -> Delta:
    return Delta(f"removit_{name}_total", label_set(labels), amount, exemplar=exemplar)


def _sample(name: str, labels: Mapping[str, str], value: float, exemplar: str | None) -> Delta:
    return Delta(name, label_set(labels), value, bucket_of(name, value), exemplar)
