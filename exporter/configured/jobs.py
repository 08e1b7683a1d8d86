"""Jobs that the config and its `job_files` name: registering them, and forgetting them again.

A job that a readable file no longer names is forgotten, unless it was also registered in another
way. While a file is absent or has errors, no job that it named before is forgotten.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from ..config import Config, ConfigError
from ..config.files import Stamp
from ..config.registration import RegistrationRules
from ..core.events import NOTHING
from ..core.job import Job, Source
from ..daemon_threads import call_in_daemon
from ..metrics.instruments import Instruments
from ..registry.registry import Registry
from ..registry.staging import Refused, Registration
from .job_files import JobFile, find, read_job_file

BATCH: Final = 250
"""How many jobs are registered at once."""
SHOWN_ERRORS: Final = 10
"""Maximum number of errors in one log line."""
_CONFIGURED: Final = {Source.CONFIG, Source.FILE}


@dataclass(slots=True)
class _ReadFile:
    """The last read of a job file."""

    stamp: Stamp | None
    rules: RegistrationRules | None = None
    named: frozenset[str] = frozenset()
    """The ids that it names; while it has errors, also those that it named before."""
    valid: bool = True
    """Whether it was read without errors."""
    absent: bool = False
    """Whether it was found before, and is not found now."""
    registered: bool = True
    """Whether all its jobs were registered. If not, the file is read again."""


class ConfiguredJobs:
    """Registers the jobs that the config and the job files name, and forgets the others."""

    def __init__(
        self,
        registry: Registry,
        instruments: Instruments,
        log: structlog.stdlib.BoundLogger,
        config: Callable[[], Config],
    ) -> None:
        self._registry = registry
        self._instruments = instruments
        self._log = log
        self._config = config
        self._in_config: frozenset[str] = frozenset()
        self._files: dict[Path, _ReadFile] = {}
        self._changing: dict[Path, Stamp | None] = {}
        self._patterns: list[Path] = []
        """The globs of the check before."""
        self._all_patterns_found = True
        """Whether each glob matches a file. If not, a volume may not be mounted yet."""
        self._busy = asyncio.Lock()

    async def start(self) -> None:
        """Register what is named, and forget what is no longer named since the last run."""
        await self.take_config()
        await self.check(at_start=True)
        if self._all_patterns_found and all(
            file.valid and file.registered for file in self._files.values()
        ):
            for source in (Source.CONFIG, Source.FILE):
                known = [name for name, job in self._registry.jobs.items() if source in job.sources]
                await self._forget(known, source.value)

    async def reload(self) -> None:
        """Take in the config as it now is, and the job files that it names; raises `StoreError`."""
        await self.take_config()
        await self.check()

    async def take_config(self) -> None:
        """Register the jobs of the config in force, and forget the others; raises `StoreError`."""
        async with self._busy:
            jobs = self._config().jobs
            before, self._in_config = self._in_config, frozenset(job.job_id for job in jobs)
            self._publish_names()
            registrations = [
                Registration(job.job_id, job.labels or NOTHING, job.key) for job in jobs
            ]
            await self._register(registrations, Source.CONFIG, "the config")
            await self._forget(before - self._in_config, "config")

    async def check(self, *, at_start: bool = False) -> None:
        """Read the job files that have changed; raises `StoreError`.

        A changed file is read only when two checks in a row find the same stamp, so that it is not
        read while it is being written. At the start every file is read at once.
        """
        async with self._busy:
            patterns = list(self._config().job_files)
            found = await call_in_daemon(lambda: find(patterns), "find job files")
            self._all_patterns_found = found.complete
            await self._note_absent(found.stamps, patterns)
            for path, stamp in found.stamps.items():
                if at_start or self._is_settled(path, stamp):
                    await self._read_if_due(path, stamp)
            invalid = sum(file.absent or not file.valid for file in self._files.values())
            self._instruments.job_file_errors.set(invalid)

    async def _note_absent(self, found: Mapping[Path, Stamp | None], patterns: list[Path]) -> None:
        """Keep the jobs of files that are absent: a file may be replaced, a volume not mounted.

        A file that is still there, but that the config no longer names, is done with.
        """
        config_changed, self._patterns = patterns != self._patterns, patterns
        for path in [path for path in self._files if path not in found]:
            file = self._files[path]
            if config_changed and await call_in_daemon(path.exists, f"look for {path}"):
                del self._files[path]
                self._publish_names()
                await self._forget(file.named, "file")
            elif not any(self._is_pending(job_id) for job_id in file.named):
                del self._files[path]
                self._publish_names()
            elif not file.absent:
                file.absent, file.stamp = True, None
                self._publish_names()
                self._log.warning("job file is absent; its jobs stay", file=str(path))

    def _is_pending(self, job_id: str) -> bool:
        job = self._registry.jobs.get(job_id)
        return job is not None and job.pending

    def _is_settled(self, path: Path, stamp: Stamp | None) -> bool:
        """Whether a file has the same stamp as at the check before."""
        known = self._files.get(path)
        before = self._changing.pop(path, None if known is None else known.stamp)
        if stamp != before:
            self._changing[path] = stamp
        return stamp == before

    async def _read_if_due(self, path: Path, stamp: Stamp | None) -> None:
        known = self._files.get(path)
        if known is None or not known.registered or not self._is_current(known, stamp):
            await self._read(path, stamp)

    async def _read(self, path: Path, stamp: Stamp | None) -> None:
        """Read a file, register its jobs, and forget those that it no longer names."""
        former = self._files.get(path) or _ReadFile(None)
        rules = self._config().registration
        try:
            content = await read_job_file(path, rules)
        except ConfigError as error:
            content = JobFile(errors=error.errors)
        again = self._is_current(former, stamp)  # read before: its errors are logged already
        if content.errors and (former.valid or not again):
            self._log.warning(
                "job file has errors",
                file=str(path),
                errors=len(content.errors),
                messages=content.errors[:SHOWN_ERRORS],
            )
        named = frozenset(registration.job_id for registration in content.registrations)
        valid = not content.errors
        named = named if valid else named | former.named
        file = self._files[path] = _ReadFile(stamp, rules, named, valid, registered=False)
        self._publish_names()
        file.registered = await self._register(
            content.registrations, Source.FILE, str(path), counted=again
        )
        await self._forget(former.named - named, "file")

    def _is_current(self, file: _ReadFile, stamp: Stamp | None) -> bool:
        """Whether a file was read with this stamp and by the rules in force."""
        return (file.stamp, file.rules) == (stamp, self._config().registration)

    def _publish_names(self) -> None:
        """Give the registry the ids that are named: these jobs are neither deleted nor pruned.

        Jobs of absent files can be deleted.
        """
        files = (file.named for file in self._files.values() if not file.absent)
        self._registry.configured = self._in_config.union(*files)

    async def _register(
        self,
        registrations: Sequence[Registration],
        source: Source,
        name: str,
        *,
        counted: bool = False,
    ) -> bool:
        """Register jobs; return False when `registration.max_pending` left no room for all.

        The log names the file or config by `name`. `counted` says that refusals are in the
        metrics already.
        """
        contradicted: list[str] = []
        conflicts = 0
        for start in range(0, len(registrations), BATCH):
            batch = registrations[start : start + BATCH]
            results = await self._registry.register_each(batch, source)
            for registration, result in zip(batch, results, strict=False):
                if isinstance(result, Refused):
                    conflicts += 1
                    contradicted += [
                        f"{registration.job_id}: {one.field}: {one}" for one in result.conflicts
                    ]
            if len(results) < len(batch):
                left_out = len(registrations) - start - len(results)
                if not counted:
                    self._instruments.refused("full", left_out)
                self._log.error("registration.max_pending reached", file=name, left_out=left_out)
                return False
        if contradicted:
            if not counted:
                self._instruments.refused("conflict", conflicts)
            self._log.warning(
                "jobs are listed with labels or a key that differ from the stored ones, which stay",
                file=name,
                conflicts=conflicts,
                messages=contradicted[:SHOWN_ERRORS],
            )
        return True

    async def _forget(self, job_ids: Iterable[str], reason: str) -> None:
        """Forget those pending jobs that nothing names any more."""
        named = self._registry.configured
        for job_id in list(job_ids):
            job = self._registry.jobs.get(job_id)
            if job is not None and job_id not in named and _is_only_configured(job):
                await self._registry.forget(job_id, reason)


def _is_only_configured(job: Job) -> bool:
    """Whether a job is pending and was registered by the config and job files alone."""
    return job.pending and _CONFIGURED.issuperset(job.sources)
