"""The queue of pending jobs by the time at which each is due."""

import heapq
from collections.abc import Callable

_Entry = tuple[float, str, float]
"""A job's due time, its id, and its present wait."""


class DueQueue:
    """Jobs with their due times, in steady seconds. A job is queued at most once."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        """The entries of `_queued`, and former ones of jobs that were moved or removed."""
        self._queued: dict[str, _Entry] = {}
        self._demand = 0.0

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def demand(self) -> float:
        """Polls per second that the queued jobs need: one for each job in its present wait."""
        return max(0.0, self._demand)

    def schedule(self, job_id: str, due: float, wait: float) -> None:
        """Queue a job, or move it. `wait` is its present wait, in seconds."""
        self.remove(job_id)
        entry = self._queued[job_id] = (due, job_id, wait)
        self._demand += _rate(wait)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._queued) + 64:
            self._heap = list(self._queued.values())
            heapq.heapify(self._heap)

    def remove(self, job_id: str) -> None:
        """Take a job out of the queue, if it is queued."""
        if (entry := self._queued.pop(job_id, None)) is not None:
            self._demand -= _rate(entry[2])

    def due_of(self, job_id: str) -> float | None:
        """Return when a job is due, or None when it is not queued."""
        entry = self._queued.get(job_id)
        return entry[0] if entry else None

    def overdue(self, now: float) -> int:
        """Return how many jobs are due at `now` (steady seconds)."""
        return sum(due <= now for due, _, _ in self._queued.values())

    def next_due(self) -> float | None:
        """Return the earliest due time, or None when the queue is empty."""
        while self._heap and self._queued.get(self._heap[0][1]) is not self._heap[0]:
            heapq.heappop(self._heap)  # the job was moved or removed since
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[str, float]:
        """Take out the most overdue job; raises IndexError when the queue is empty."""
        due = self.next_due()
        if due is None:
            raise IndexError("no job is queued")
        job_id = self._heap[0][1]
        self.remove(job_id)
        return job_id, due

    def pop_lowest(self, rank: Callable[[str], int], below: int) -> tuple[str, float] | None:
        """Take out the most overdue job of the lowest rank, if that rank is less than `below`.

        It returns the job and its due time, or None. It looks at every queued job.
        """
        ranked = ((rank(name), due, name) for due, name, _ in self._queued.values())
        lowest, due, job_id = min(ranked, default=(below, 0.0, ""))
        if lowest >= below:
            return None
        self.remove(job_id)
        return job_id, due


def _rate(wait: float) -> float:
    """Return the polls per second of a job with that wait (seconds)."""
    return 1 / max(wait, 1.0)
