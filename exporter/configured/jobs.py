"""Jobs that the config and its `job_files` name: registering them, and forgetting them again.

A job that a readable file no longer names is forgotten, unless it was also registered in another
way. While a file is absent or has errors, no job that it named before is forgotten.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from ..config import Config, ConfigError
from ..config.files import Stamp
from ..config.registration import RegistrationRules
from ..core.job import Job, Source
from ..core.reply import EMPTY
from ..daemon_threads import HangingError, LimitedCalls
from ..metrics.instruments import Instruments
from ..registry.registry import Registry
from ..registry.staging import Registration
from .job_files import Found, JobFile, find, read_job_file
from .registrar import SHOWN_ERRORS, Registrar

_KEPT: Final = "job_files"
"""Under this name the store keeps the paths of the job files, as a list in JSON."""
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
    full: bool = False
    """Whether `registration.max_pending` left no room for all of them."""


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
        self._registrar = Registrar(registry, instruments, log)
        self._calls = LimitedCalls()
        self._former: frozenset[Path] | None = None
        """The job files of the run before; None when they are not known."""
        self._kept = ""
        """The list in the store."""
        self._is_first_check = True
        self._in_config: frozenset[str] = frozenset()
        self._files: dict[Path, _ReadFile] = {}
        self._changing: dict[Path, Stamp | None] = {}
        self._patterns: list[Path] = []
        """The globs of the check before."""
        self._busy = asyncio.Lock()

    def restore(self, kept: Mapping[str, str]) -> None:
        """Take note of what the store keeps of the run before (`Snapshot.kept`)."""
        text = kept.get(_KEPT)
        if text is not None:
            self._kept = text
            self._former = frozenset(Path(name) for name in json.loads(text))

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
            registrations = [Registration(job.job_id, job.labels or EMPTY, job.key) for job in jobs]
            await self._registrar.register(registrations, Source.CONFIG, "the config")
            await self._forget(before - self._in_config, "config")

    async def check(self) -> None:
        """Read the job files that have changed; raises `StoreError`.

        A changed file is read only when two checks in a row find the same stamp, so that it is not
        read while it is being written. At the first check every file is read at once.
        """
        async with self._busy:
            patterns = list(self._config().job_files)
            found = await self._find(patterns)
            if found is None:
                return
            await self._note_absent(found, patterns)
            for path, stamp in found.items():
                if self._is_first_check or self._is_settled(path, stamp):
                    await self._read_if_due(path, stamp)
            if self._is_first_check:
                await self._forget_former()
                self._is_first_check = False
            invalid = sum(file.absent or not file.valid for file in self._files.values())
            self._instruments.job_file_errors.set(invalid)
            await self._keep_paths()

    async def _find(self, patterns: list[Path]) -> Found | None:
        """Return the files that the globs match; None while that cannot be found out."""
        if not patterns:
            return {}
        try:
            return await self._calls.call(lambda: find(patterns), "finding the job files")
        except HangingError as error:
            self._instruments.job_file_errors.set(max(1, len(self._files)))
            self._log.warning("job files cannot be found", error=str(error))
            return None

    async def _forget_former(self) -> None:
        """Forget the jobs that nothing names any more since the run before.

        Which file named a job is not stored. So while a file of that run is absent, or one has
        errors, it may be the one that named them, and they stay.
        """
        configured = {
            name: job for name, job in self._registry.jobs.items() if _is_only_configured(job)
        }
        by_files = {name for name, job in configured.items() if Source.FILE in job.sources}
        await self._forget(configured.keys() - by_files, "config")
        unnamed = frozenset(by_files - set(self._registry.configured))
        for path in (self._former or frozenset()) - self._files.keys():
            if unnamed and not await self._exists(path):
                self._files[path] = _ReadFile(None, named=unnamed)
                self._note_as_absent(path)
        broken = [file for file in self._files.values() if not (file.valid and file.registered)]
        for file in broken:
            file.named |= unnamed
        self._publish_names()
        if self._former is not None and not broken:
            await self._forget(unnamed, "file")

    async def _keep_paths(self) -> None:
        """Store which job files there are, so that the next run knows which are absent."""
        text = json.dumps(sorted(map(str, self._files)))
        if text != self._kept:
            await self._registry.store.keep(_KEPT, text)
            self._kept = text

    async def _note_absent(self, found: Found, patterns: list[Path]) -> None:
        """Keep the jobs of files that are absent: a file may be replaced, a volume not mounted.

        A file that is still there, but that the config no longer names, is done with.
        """
        config_changed, self._patterns = patterns != self._patterns, patterns
        for path in [path for path in self._files if path not in found]:
            file = self._files[path]
            if config_changed and await self._exists(path):
                del self._files[path]
                self._publish_names()
                await self._forget(file.named, "file")
            elif not any(self._is_pending(job_id) for job_id in file.named):
                del self._files[path]
                self._publish_names()
            elif not file.absent:
                self._note_as_absent(path)

    def _note_as_absent(self, path: Path) -> None:
        self._files[path].absent, self._files[path].stamp = True, None
        self._publish_names()
        self._log.warning("job file is absent; its jobs stay", file=str(path))

    async def _exists(self, path: Path) -> bool:
        try:
            return await self._calls.call(path.exists, f"looking for {path}")
        except HangingError:
            return False

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
        content, hangs = await self._content(path, rules)
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
        if not hangs:
            file.registered = await self._registrar.register(
                content.registrations, Source.FILE, str(path), repeated=again and former.full
            )
            file.full = not file.registered
        await self._forget(former.named - named, "file")

    async def _content(self, path: Path, rules: RegistrationRules) -> tuple[JobFile, bool]:
        """Return what is in a file, and whether reading it hangs."""
        try:
            return await read_job_file(path, rules, self._calls), False
        except ConfigError as error:
            return JobFile(errors=error.errors), False
        except HangingError as error:
            return JobFile(errors=[str(error)]), True

    def _is_current(self, file: _ReadFile, stamp: Stamp | None) -> bool:
        """Whether a file was read with this stamp and by the rules in force."""
        return (file.stamp, file.rules) == (stamp, self._config().registration)

    def _publish_names(self) -> None:
        """Give the registry the ids that are named: these jobs are neither deleted nor pruned.

        Jobs of absent files can be deleted.
        """
        files = (file.named for file in self._files.values() if not file.absent)
        self._registry.configured = self._in_config.union(*files)

    async def _forget(self, job_ids: Iterable[str], reason: str) -> None:
        """Forget those pending jobs that nothing names any more, absent files included."""
        absent = (file.named for file in self._files.values() if file.absent)
        named = frozenset[str]().union(*absent)
        for job_id in list(job_ids):
            job = self._registry.jobs.get(job_id)
            if job_id in named or job_id in self._registry.configured:
                continue
            if job is not None and _is_only_configured(job):
                await self._registry.forget(job_id, reason)


def _is_only_configured(job: Job) -> bool:
    """Whether a job is pending and was registered by the config and job files alone."""
    return job.pending and _CONFIGURED.issuperset(job.sources)
