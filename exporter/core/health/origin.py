"""Who answered? A 404 or 422 counts only where the API itself is known to answer.

A wrong `base_url`, or something in front of the API, must give no job a bad final state.
"""

import math

from ..job import Job
from ..reply import Kind, Reply
from .control import ControlTarget


class Origin:
    """Whether the API is known to answer under this `base_url`. Times are healthy time."""

    def __init__(self) -> None:
        self.served_before = False
        """Whether this upstream has ever given a good answer; restored over a restart."""
        self._bare_at = -math.inf
        """When the bare control request was last answered as the API answers it."""

    def known(self, since: float) -> bool:
        """Whether a 404 or 422 since then can be taken as the API's own.

        It can if this upstream has ever served a job, or has answered the bare request since.
        """
        return self.served_before or self._bare_at >= since

    def note(self, reply: Reply, at: float, job: Job | None, target: ControlTarget | None) -> bool:
        """Take in an answer; return whether the bare control request is needed to decide."""
        if reply.kind is Kind.OK:
            self.served_before = True
        elif target is ControlTarget.BARE and reply.kind is Kind.INVALID:
            self._bare_at = at
        elif job is not None and job.pending and reply.kind in (Kind.NOT_FOUND, Kind.INVALID):
            run = job.run_of(reply.kind)
            return not self.known(at if run is None else run.since)
        return False
