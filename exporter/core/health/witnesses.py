"""The witnesses without whom no job is called failed: who was served, and weaker signs."""

from collections.abc import Iterable
from typing import Any, Final, Self

from ..job import Job
from ..reply import Status

WITNESSES_A_MODE: Final = 2
"""The newest, and the newest of any other job."""
MOST_WITNESSES: Final = 100

_Sign = tuple[float, str]


class Witnesses:
    """Who was served: other jobs that gave a 2xx while pending, and weaker signs. Well times."""

    def __init__(self) -> None:
        self._by_mode: dict[str, dict[str, float]] = {}
        self._weak: _Sign = (-1.0, "")
        self._weakest: _Sign = (-1.0, "")

    def __len__(self) -> int:
        return sum(map(len, self._by_mode.values()))

    def strong(self, job: Job, since: float) -> str | None:
        """Return another job that gave a 2xx while pending since `since`.

        It is of the same mode, where the job's is known.
        """
        modes = [job.mode] if job.mode is not None else list(self._by_mode)
        found = [
            (at, job_id)
            for mode in modes
            for job_id, at in self._by_mode.get(mode, {}).items()
            if job_id != job.job_id and at >= since
        ]
        return max(found)[1] if found else None

    def weak(self, since: float, *, alone: bool) -> str | None:
        """Say what shows that the service answers, short of a pending job's 2xx in the mode.

        That ids are looked up does so only for a job suspected `alone`: a service whose data are
        gone may still know which ids it never had.
        """
        if self._weak[0] >= since:
            return self._weak[1]
        found = [
            (at, f"job {job_id} of mode {mode or 'unknown'} was answered 2xx")
            for at, job_id, mode in self._all()
            if at >= since
        ]
        if found:
            return max(found)[1]
        return self._weakest[1] if alone and self._weakest[0] >= since else None

    def remember(self, job: Job, status: Status | None, at: float) -> None:
        """A pending job was answered 2xx."""
        mode = job.mode or (status.mode if status else None) or ""
        self._put(mode, job.job_id, at)
        if len(self._by_mode) > MOST_WITNESSES // WITNESSES_A_MODE:
            self._drop_oldest()

    def remember_weak(self, sign: str, at: float, *, has_data: bool) -> None:
        """A control request was answered as by a service that works, or that looks up ids."""
        if has_data:
            self._weak = (at, sign)
        else:
            self._weakest = (at, sign)

    def merge(self, other: Self) -> None:
        """Take in what another replica saw."""
        for at, job_id, mode in other._all():
            self._put(mode, job_id, at)
        self._drop_oldest()
        self._weak = max(self._weak, other._weak)
        self._weakest = max(self._weakest, other._weakest)

    def as_data(self) -> list[Any]:
        """Return it as plain data for JSON."""
        return [list(self._weak), list(self._weakest), sorted(map(list, self._all()))]

    def add_data(self, data: tuple[_Sign, _Sign, Iterable[Iterable[Any]]]) -> None:
        """Read what `as_data` gave."""
        (at, sign), (seen_at, weakest), witnesses = data
        self._weak, self._weakest = (float(at), str(sign)), (float(seen_at), str(weakest))
        for at, job_id, mode in witnesses:
            self._put(mode, job_id, at)
        self._drop_oldest()

    def _all(self) -> list[tuple[float, str, str]]:
        modes = self._by_mode.items()
        return [(at, job_id, mode) for mode, jobs in modes for job_id, at in jobs.items()]

    def _put(self, mode: str, job_id: str, at: float) -> None:
        jobs = self._by_mode.setdefault(mode, {})
        jobs[job_id] = max(at, jobs.get(job_id, at))
        if len(jobs) > WITNESSES_A_MODE:
            del jobs[min(jobs, key=lambda name: (jobs[name], name))]

    def _drop_oldest(self) -> None:
        for _, job_id, mode in sorted(self._all())[:-MOST_WITNESSES]:
            del self._by_mode[mode][job_id]
            if not self._by_mode[mode]:
                del self._by_mode[mode]
