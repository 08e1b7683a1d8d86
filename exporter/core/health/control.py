"""The control request: what is asked, of nothing in particular, to learn how the upstream does.

It concerns no pending job. It is made when a job is answered 5xx and no other tells whether that
is the service's own trouble, and after a while without any request.
"""

import math
from collections.abc import Collection
from enum import StrEnum
from typing import Final

REMEMBERED_FINISHED: Final = 3


class ControlTarget(StrEnum):
    """The control request's rungs, the most telling first; `judgement.control` switches them."""

    FINISHED = "finished"  # a job that is done, asked again: 200 shows its data is served
    RANDOM = "random"  # a fresh id: 404 shows that ids are looked up
    BARE = "bare"  # no id: 422 shows that the door is open and the key good


class Control:
    """When a control request is due (steady seconds), and which rung is asked."""

    def __init__(self, steady: float) -> None:
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
        return (
            ControlTarget.BARE,
            None,
        )  # a closed gate has to be tried somehow, even with none switched on

    def due(self, switched_on: Collection[str], heartbeat: float) -> float:
        """Return when the next is due: one that is wanted, or after so long without a request."""
        if not switched_on:
            return math.inf
        return min(self._wanted_at, self._answered_at + heartbeat)

    def want(self, steady: float, apart: float) -> None:
        """Have one made, `apart` seconds from the last."""
        self._wanted_at = min(self._wanted_at, max(steady, self._made_at + apart))

    def want_bare(self, steady: float, apart: float) -> None:
        """Have the bare request made next, `apart` seconds after the last control request."""
        self._bare_wanted = True
        self.want(steady, apart)

    def answered(self, steady: float, target: ControlTarget | None) -> None:
        """Note that a request, of the control if it has a target, was answered or was not."""
        self._answered_at = max(self._answered_at, steady)
        if target is ControlTarget.BARE:
            self._bare_wanted = False
        if target is not None:
            self._made_at, self._wanted_at = steady, math.inf

    def remember_finished(self, job_id: str) -> None:
        """A job is done: asked again it shows whether the upstream serves what it has."""
        others = [name for name in self._finished if name != job_id]
        self._finished = [*others, job_id][-REMEMBERED_FINISHED:]

    def asked_finished(self, job_id: str, *, known: bool) -> None:
        """One was asked about: another is next, and one not known any more tells nothing."""
        others = [name for name in self._finished if name != job_id]
        self._finished = ([job_id, *others] if known else others)[-REMEMBERED_FINISHED:]
