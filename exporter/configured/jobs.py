"""Jobs that the config and its `job_files` name: taking them in, and forgetting them again.

A job that is named no more is forgotten, unless something else told of it too. While a file
cannot be read wholly, nothing that it named is forgotten.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from ..config import Config, ConfigError
from ..config.registration import RegistrationRules
from ..core.events import NOTHING
from ..core.job import Job, Source
from ..metrics.instruments import Instruments
from ..registry.registry import Registry
from ..registry.staging import Refused, Registration
from .job_files import JobFile, Stamp, find, read_job_file

BATCH: Final = 250
SHOWN_ERRORS: Final = 10
_NAMING: Final = {Source.CONFIG, Source.FILE}


@dataclass(slots=True)
class _Watched:
    """A file as it was read: its stamp, the rules, the ids it named, whether all was good."""

    stamp: Stamp | None
    rules: RegistrationRules | None = None
    named: frozenset[str] = frozenset()
    good: bool = True
    taken: bool = True
    """Whether all that it named was registered; else it is read again."""


class ConfiguredJobs:
    """Keeps the registry to what the config and the job files name."""

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
        self._files: dict[Path, _Watched] = {}
        self._changing: dict[Path, Stamp | None] = {}
        self._busy = asyncio.Lock()

    async def start(self) -> None:
        """Take in what is named, and forget what was named before the exporter stopped."""
        await self.take_config()
        await self.check(at_start=True)
        if all(file.good and file.taken for file in self._files.values()):
            for source in (Source.CONFIG, Source.FILE):
                told = [name for name, job in self._registry.jobs.items() if source in job.sources]
                await self._forget(told, source.value)

    async def reload(self) -> None:
        """Take in the config as it now is, and the job files that it names; raises `StoreError`."""
        await self.take_config()
        await self.check()

    async def take_config(self) -> None:
        """Take in the jobs of the config as it now is; raises `StoreError`."""
        async with self._busy:
            jobs = self._config().jobs
            before, self._in_config = self._in_config, frozenset(job.job_id for job in jobs)
            self._name()
            registrations = [
                Registration(job.job_id, job.labels or NOTHING, job.key) for job in jobs
            ]
            await self._register(registrations, Source.CONFIG, "the config")
            await self._forget(before - self._in_config, "config")

    async def check(self, *, at_start: bool = False) -> None:
        """Read the job files that changed; raises `StoreError`.

        One that changes is read once it has stood still from one look to the next, so that a file
        is not read while it is being written.
        """
        async with self._busy:
            patterns = list(self._config().job_files)
            found = await asyncio.to_thread(find, patterns) if patterns else {}
            for path in [path for path in self._files if path not in found]:
                gone = self._files.pop(path)
                self._name()
                await self._forget(gone.named, "file")
            for path, stamp in found.items():
                known = self._files.get(path)
                before = self._changing.pop(path, None if known is None else known.stamp)
                if not at_start and stamp != before:
                    self._changing[path] = stamp
                elif known is None or not known.taken or not self._is_read(known, stamp):
                    await self._take_file(path, stamp)
            bad = sum(not file.good for file in self._files.values())
            self._instruments.job_file_errors.set(bad)

    async def _take_file(self, path: Path, stamp: Stamp | None) -> None:
        former = self._files.get(path) or _Watched(None)
        rules = self._config().registration
        try:
            content = await read_job_file(path, rules)
        except ConfigError as error:
            content = JobFile(errors=error.errors)
        again = self._is_read(former, stamp)  # one that did not fit; nothing is told twice
        if content.errors and (former.good or not again):
            self._log.warning(
                "job file has errors",
                file=str(path),
                errors=len(content.errors),
                messages=content.errors[:SHOWN_ERRORS],
            )
        named = frozenset(registration.job_id for registration in content.registrations)
        good = not content.errors
        watched = _Watched(stamp, rules, named if good else named | former.named, good, taken=False)
        self._files[path] = watched
        self._name()
        watched.taken = await self._register(
            content.registrations, Source.FILE, str(path), counted=again
        )
        await self._forget(former.named - watched.named, "file")

    def _is_read(self, file: _Watched, stamp: Stamp | None) -> bool:
        """Whether a file was read as it is now, by the rules that are in force."""
        return (file.stamp, file.rules) == (stamp, self._config().registration)

    def _name(self) -> None:
        """Have the registry know what is named: that is neither deleted nor pruned."""
        files = (file.named for file in self._files.values())
        self._registry.configured = self._in_config.union(*files)

    async def _register(
        self,
        registrations: Sequence[Registration],
        source: Source,
        name: str,
        *,
        counted: bool = False,
    ) -> bool:
        """Register what can be; False when there was no room for all.

        `counted` says that what is refused was refused before.
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
        named = self._registry.configured
        for job_id in list(job_ids):
            job = self._registry.jobs.get(job_id)
            if job is not None and job_id not in named and _only_named(job):
                await self._registry.forget(job_id, reason)


def _only_named(job: Job) -> bool:
    """Whether nothing but the config and files told of a job that is still pending."""
    return job.pending and _NAMING.issuperset(job.sources)
