"""The states of the upstream, and which evidence leads from which to which.

The theory. Evidence comes as one of a few signals; `TRANSITIONS` says what each means in each
condition, and what is not in the table means nothing there. Conditions are the states that people
see, but for `down`, which is two: whether the service fails or says nothing decides what ends it.

- A service that fails may still look up ids, or answer the door: only a job's 2xx ends that outage,
  or the control request, where that had failed too. One that said nothing is back with its first
  good answer.
- An outage outweighs a 429: `throttled` means a service that works. What `Retry-After` asks is kept
  all the same (see `circuit.py`). When the wait is over nothing is known until the next answer.
- A refusal (a key, a firewall) outweighs all: as long as it stands nothing is learnt of what is
  behind it, and only an answer to a control request ends it.
- `suspect` is a failing service with a witness against it; it ends with the window.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class UpstreamState(StrEnum):
    """Exactly one at a time; the values of `removit_upstream_state`."""

    UNKNOWN = "unknown"
    WELL = "well"
    SUSPECT = "suspect"
    DOWN = "down"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    KEY_REJECTED = "key_rejected"


PATIENT_STATES: Final = frozenset(
    {UpstreamState.UNKNOWN, UpstreamState.WELL, UpstreamState.SUSPECT}
)
"""In these the clock of patience runs; in the others no job is to blame for its silence."""


class Condition(StrEnum):
    """What the upstream is in; `shown` is the state that people see."""

    UNKNOWN = "unknown"
    WELL = "well"
    SUSPECT = "suspect"
    FAILING = "failing"  # down: answers with errors
    SILENT = "silent"  # down: does not answer
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    KEY_REJECTED = "key_rejected"

    @property
    def shown(self) -> UpstreamState:
        """The state of `removit_upstream_state`."""
        return _SHOWN[self]


class Signal(StrEnum):
    """What the evidence says, after an answer or as time goes by."""

    SERVED = "served"  # a job's 2xx that can be read
    LOOKED_UP = "looked up"  # 404 or 422 for an id that never was, or the control is answered
    ACCEPTED = "accepted"  # the control is answered: neither key nor firewall stops it
    RECOVERED = "recovered"  # so is one that had failed, or when no job is left to ask
    CALM = "calm"  # not most of the jobs in the window are answered 5xx or unreadably
    MIXED = "mixed"  # most of them are, and a witness stands against it
    ERRORS = "errors"  # most of them are, or the control is, and no witness stands against it
    SILENCE = "silence"  # no good answer for so long, over so many tries
    THROTTLE = "throttle"  # 429, or a `Retry-After` that is said twice
    WAIT_OVER = "wait over"  # it was waited as long as asked, and then something else came
    KEY_REFUSED = "key refused"  # 401, or 403 in JSON, confirmed by the control request
    WALL = "wall"  # 403 of something else than the service, confirmed likewise


_C, _S = Condition, Signal
DOWN: Final = frozenset({_C.FAILING, _C.SILENT})
_SHOWN: Final = {c: UpstreamState(c.value) if c not in DOWN else UpstreamState.DOWN for c in _C}
REFUSED: Final = frozenset({_C.BLOCKED, _C.KEY_REJECTED})

TRANSITIONS: Final[Mapping[Signal, Mapping[Condition, Condition]]] = {
    _S.SERVED: {
        _C.UNKNOWN: _C.WELL,
        _C.FAILING: _C.WELL,
        _C.SILENT: _C.WELL,
    },
    _S.LOOKED_UP: {
        _C.UNKNOWN: _C.WELL,
        _C.SILENT: _C.WELL,
    },
    _S.ACCEPTED: {
        _C.BLOCKED: _C.WELL,
        _C.KEY_REJECTED: _C.WELL,
    },
    _S.RECOVERED: {
        _C.FAILING: _C.UNKNOWN,
    },
    _S.CALM: {
        _C.SUSPECT: _C.WELL,
    },
    _S.MIXED: {
        _C.UNKNOWN: _C.SUSPECT,
        _C.WELL: _C.SUSPECT,
    },
    _S.ERRORS: {
        _C.UNKNOWN: _C.FAILING,
        _C.WELL: _C.FAILING,
        _C.SUSPECT: _C.FAILING,
        _C.SILENT: _C.FAILING,
        _C.THROTTLED: _C.FAILING,
    },
    _S.SILENCE: {
        _C.UNKNOWN: _C.SILENT,
        _C.WELL: _C.SILENT,
        _C.SUSPECT: _C.SILENT,
        _C.THROTTLED: _C.SILENT,
    },
    _S.THROTTLE: {
        _C.UNKNOWN: _C.THROTTLED,
        _C.WELL: _C.THROTTLED,
        _C.SUSPECT: _C.THROTTLED,
        _C.SILENT: _C.THROTTLED,
    },
    _S.WAIT_OVER: {
        _C.THROTTLED: _C.UNKNOWN,
    },
    _S.KEY_REFUSED: {
        _C.UNKNOWN: _C.KEY_REJECTED,
        _C.WELL: _C.KEY_REJECTED,
        _C.SUSPECT: _C.KEY_REJECTED,
        _C.FAILING: _C.KEY_REJECTED,
        _C.SILENT: _C.KEY_REJECTED,
        _C.THROTTLED: _C.KEY_REJECTED,
        _C.BLOCKED: _C.KEY_REJECTED,
    },
    _S.WALL: {
        _C.UNKNOWN: _C.BLOCKED,
        _C.WELL: _C.BLOCKED,
        _C.SUSPECT: _C.BLOCKED,
        _C.FAILING: _C.BLOCKED,
        _C.SILENT: _C.BLOCKED,
        _C.THROTTLED: _C.BLOCKED,
        _C.KEY_REJECTED: _C.BLOCKED,
    },
}


def after(condition: Condition, signal: Signal) -> Condition:
    """Return the condition that a signal leads to; the same where it means nothing."""
    return TRANSITIONS[signal].get(condition, condition)
