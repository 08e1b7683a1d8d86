"""A change as its listeners receive it: the metrics, the log, the live page, the last answers."""

from collections.abc import Sequence

from .events import Event
from .job import Job
from .ledger import LedgerChange
from .tally import Delta
from .value import value


@value(frozen=True, slots=True)
class Published:
    """A change that is visible from now on.

    `before` is None for a job that is new in memory, `after` for one that was forgotten or left
    memory. `event_ids` belong to `events`; they are missing while the store cannot be written.
    """

    before: Job | None
    after: Job | None
    events: Sequence[Event] = ()
    deltas: Sequence[Delta] = ()
    event_ids: Sequence[int] = ()
    ledger: LedgerChange | None = None
