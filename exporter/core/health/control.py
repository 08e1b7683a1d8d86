"""The control request: it concerns no pending job and shows whether the upstream works.

It is made when a job is answered 5xx and no other job shows whether that is the service's own
trouble, while such a job is undecided, and after a time without any request.
"""

import math
from collections.abc import Collection
from enum import StrEnum
from typing import Final

REMEMBERED_FINISHED: Final = 3


class ControlTarget(StrEnum):
    """The control request's targets, the most telling first; `judgement.control` switches them."""

    FINISHED = "finished"  # a job that is done, asked again: 200 shows its data is served
    RANDOM = "random"  # a fresh id: 404 shows that ids are looked up
    BARE = "bare"  # no id: 422 shows that the API answers and the key is good


class Control:
    """When a control request is due (steady seconds), which target it has, and what it showed."""

    def __init__(self, steady: float) -> None:
        self.served_at = -math.inf
        """When the latest control request was answered, if it was a finished job's 2xx."""
        self._awaited_since: float | None = None
        self._finished: list[str] = []
        self._wanted_at = math.inf
        self._made_at = -math.inf
        self._bare_wanted = False
        self._answered_at = steady

    def target(self, switched_on: Collection[str]) -> tuple[ControlTarget, str | None]:
        """Return the most telling target that can be asked, with the job_id of a finished job.

        The bare request comes first while somebody has asked for it.
        """
        if self._bare_wanted and ControlTarget.BARE in switched_on:
            return ControlTarget.BARE, None
        if ControlTarget.FINISHED in switched_on and self._finished:
            return ControlTarget.FINISHED, self._finished[-1]
        if ControlTarget.RANDOM in switched_on:
            return ControlTarget.RANDOM, None
        # An open circuit is probed even when all targets are switched off.
        return ControlTarget.BARE, None

    def due(self, switched_on: Collection[str], heartbeat: float) -> float:
        """Return when the next is due: one that is wanted, or `heartbeat` after any request."""
        if not switched_on:
            return math.inf
        return min(self._wanted_at, self._answered_at + heartbeat)

    def want(self, steady: float, apart: float) -> None:
        """Have one made, `apart` seconds from the last."""
        self._wanted_at = min(self._wanted_at, max(steady, self._made_at + apart))

    def need_none(self) -> None:
        """A pending job was served: that shows more than a control request would."""
        if not self._bare_wanted:
            self._wanted_at = math.inf

    def want_bare(self, steady: float, apart: float) -> None:
        """Have the bare request made next, `apart` seconds after the last control request."""
        self._bare_wanted = True
        self.want(steady, apart)

    def answered(self, steady: float, target: ControlTarget | None) -> None:
        """Note that a request was answered, or was not; a control request has a target."""
        self._answered_at = max(self._answered_at, steady)
        if target is ControlTarget.BARE:
            self._bare_wanted = False
        elif target is not None:
            self.served_at = -math.inf
        if target is not None:
            self._made_at, self._wanted_at = steady, math.inf

    def served(self, steady: float) -> None:
        """The request just answered found a finished job served."""
        self.served_at, self._awaited_since = steady, None

    def awaited(self, steady: float, switched_on: Collection[str], apart: float) -> float:
        """Have a finished job asked about, and return for how many seconds that was awaited.

        Infinity where no finished job can be asked about.
        """
        if ControlTarget.FINISHED not in switched_on or not self._finished:
            return math.inf
        if self._awaited_since is None:
            self._awaited_since = steady
        self.want(steady, apart)
        return steady - self._awaited_since

    def nothing_awaited(self) -> None:
        """Whether finished jobs are served matters no more."""
        self._awaited_since = None

    def remember_finished(self, job_id: str) -> None:
        """A job is done: asked again, it shows whether the upstream serves its data."""
        others = [name for name in self._finished if name != job_id]
        self._finished = [*others, job_id][-REMEMBERED_FINISHED:]

    def asked_finished(self, job_id: str, *, known: bool) -> None:
        """One was asked about: another is next. One that is not known any more is dropped."""
        others = [name for name in self._finished if name != job_id]
        self._finished = ([job_id, *others] if known else others)[-REMEMBERED_FINISHED:]
