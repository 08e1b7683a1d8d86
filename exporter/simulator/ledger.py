"""The simulator's ledger: the true totals, to compare with those of the exporter."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

from .script import Kind, Script

KEPT_ANSWERS: Final = 50

_ENDS: Final = {
    Kind.SOUND: "done",
    Kind.WARNED: "done",
    Kind.RESULTLESS: "done",
    Kind.FAILING: "failed",
    Kind.EXPLICIT: "failed",
    Kind.LOST: "not_found",
    Kind.STUCK: "expired",
}


@dataclass(slots=True)
class Entry:
    """One uploaded job: its script, the time of its upload, and what was answered about it."""

    script: Script
    uploaded_at: float
    polls: int = 0
    shown: bool = False
    """Whether its warnings were ever in an answer."""
    answers: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=KEPT_ANSWERS))

    @property
    def end(self) -> str:
        """The final state that an exporter should find."""
        return _ENDS[self.script.kind]


class Ledger:
    """The truth about every job and request."""

    def __init__(self) -> None:
        self.jobs: dict[str, Entry] = {}
        self.malformed_ids: set[str] = set()
        self.unknown_ids: Counter[str] = Counter()
        """How often each id was asked about that was never uploaded."""
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.most_at_once = 0
        self.most_at_once_per_job = 0
        self._open: Counter[str] = Counter()

    def opened(self, job_id: str) -> None:
        """Note that a status request came in."""
        self._open[job_id] += 1
        self.most_at_once = max(self.most_at_once, self._open.total())
        self.most_at_once_per_job = max(self.most_at_once_per_job, self._open[job_id])

    def closed(self, job_id: str) -> None:
        """Note the answer to a status request, if there was one."""
        self._open[job_id] -= 1
        if not self._open[job_id]:
            del self._open[job_id]

    def answered(self, job_id: str, status: int, time: float) -> None:
        """Note an answer about an uploaded job; other ids are ignored."""
        if (entry := self.jobs.get(job_id)) is not None:
            entry.polls += 1
            entry.answers.append((time, status))

    def totals(self) -> dict[str, Any]:
        """Return what an exporter should have counted once every job has ended."""
        ends = Counter(entry.end for entry in self.jobs.values())
        ends["invalid"] = len(self.malformed_ids)
        # An exporter asks once about a random id, to see whether ids are looked up (its control
        # request). It asks more often about a job that it is to find.
        ends["not_found"] += sum(asked > 1 for asked in self.unknown_ids.values())
        shown = [entry.script for entry in self.jobs.values() if entry.shown]
        warnings: Counter[str] = Counter()
        ignored: Counter[str] = Counter()
        for script in shown:
            warnings.update({name: len(set(texts)) for name, texts in script.warnings.items()})
            ignored.update(script.ignored_variations)
        resultless = [entry for entry in self.jobs.values() if entry.script.kind is Kind.RESULTLESS]
        return {
            "registered": ends.total(),
            "finished": dict(ends),
            "done_without_result": len(resultless),
            "warnings": dict(warnings),
            "ignored_variations": dict(ignored),
        }
