"""Jobs that failed with a weak witness: asked again when a job of their mode is served again."""

from collections.abc import Mapping

from ..core.job import Job


class WeakVerdicts:
    """The modes in which resident jobs failed with a weak witness; `jobs` are the resident ones."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self._jobs = jobs
        self._modes: set[str | None] = set()

    def note(self, job: Job) -> None:
        """Take in a job that has changed, or was loaded at the start."""
        if job.weakly_failed:
            self._modes.add(job.mode)

    def served(self, mode: str | None) -> list[str]:
        """Return the jobs to ask about again, because a pending job of their mode was served.

        The same jobs are not returned twice.
        """
        if mode not in self._modes:
            return []
        self._modes.discard(mode)
        return [job.job_id for job in self._jobs.values() if job.weakly_failed and job.mode == mode]
