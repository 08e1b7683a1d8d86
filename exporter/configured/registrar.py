"""Registers the jobs of the config or of a job file, and logs what was left out."""

from collections.abc import Sequence
from typing import Final

import structlog

from ..core.job import Source
from ..metrics.instruments import Instruments
from ..registry.registry import Registry
from ..registry.staging import Refused, Registration

BATCH: Final = 250
"""How many jobs are registered at once."""
SHOWN_ERRORS: Final = 10
"""Maximum number of errors in one log line."""


class Registrar:
    """Registers jobs in batches."""

    def __init__(
        self, registry: Registry, instruments: Instruments, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._registry = registry
        self._instruments = instruments
        self._log = log

    async def register(
        self,
        registrations: Sequence[Registration],
        source: Source,
        name: str,
        *,
        repeated: bool = False,
    ) -> bool:
        """Register jobs; return False when `registration.max_pending` left no room for all.

        The log names the file or config by `name`. `repeated` says that there was no room for these
        jobs before, which is in the log and in the metrics already.
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
                if not repeated:
                    self._report_full(name, left_out)
                return False
        if contradicted:
            self._instruments.refused("conflict", conflicts)
            self._log.warning(
                "jobs are listed with labels or a key that differ from the stored ones, which stay",
                file=name,
                conflicts=conflicts,
                messages=contradicted[:SHOWN_ERRORS],
            )
        return True

    def _report_full(self, name: str, left_out: int) -> None:
        self._instruments.refused("full", left_out)
        self._log.error("registration.max_pending reached", file=name, left_out=left_out)
