"""A change as its listeners see it: metrics, log, live page, last answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from .events import Event
from .job import Job
from .ledger import LedgerChange
from .tally import Delta


@dataclass(frozen=True, slots=True)
class Published:
    """A change that is now visible. `after` is None for a job that is forgotten or left memory.

    `event_ids` are those of `events`; empty while the store cannot be written.
    """

    before: Job | None
    after: Job | None
    events: Sequence[Event] = ()
    deltas: Sequence[Delta] = ()
    event_ids: Sequence[int] = ()
    ledger: LedgerChange | None = None
