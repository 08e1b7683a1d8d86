"""The states of the upstream, and which evidence leads from which to which.

Evidence comes as one of a few signals. `TRANSITIONS` says what each means in each condition; a
signal that is not in the table means nothing there. Conditions are the states that people see,
except `down`, which is three: the service fails, says nothing, or serves only finished jobs.

- A service that fails may still look up ids. Only a job's 2xx ends that outage, or the control
  request where that had failed too. One that said nothing is back with its first good answer.
  One that serves only finished jobs is back when a pending job is served.
- An outage outweighs a 429: `throttled` means a service that works. `Retry-After` is heeded all the
  same (see `circuit.py`). After the wait nothing is known until the next answer.
- A refusal (a key, a firewall) outweighs all. While it stands nothing is learned of the service
  behind it, and only an answer to a control request ends it.
- `suspect` is a failing service that a witness speaks for. It lasts while many jobs are bad.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class UpstreamState(StrEnum):
    """The values of `removit_upstream_state`; exactly one at a time."""

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
"""In these states healthy time runs; in the others no job is to blame for its answers."""


class Condition(StrEnum):
    """The upstream's condition; `shown` is the state that people see."""

    UNKNOWN = "unknown"
    WELL = "well"
    SUSPECT = "suspect"
    FAILING = "failing"  # down: answers with errors
    SILENT = "silent"  # down: does not answer
    STUCK = "stuck"  # down: serves finished jobs only
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    KEY_REJECTED = "key_rejected"

    @property
    def shown(self) -> UpstreamState:
        """The state of `removit_upstream_state`."""
        return _SHOWN[self]


class Signal(StrEnum):
    """The meaning of the evidence, after an answer or as time goes by."""

    SERVED = "served"  # any job's 2xx that can be read
    WORKING = "working"  # a pending job's 2xx, later than the moment when the jobs turned
    LOOKED_UP = "looked up"  # 404 or 422 for an unknown id, or the control request is answered
    ACCEPTED = "accepted"  # the control request passes: neither key nor firewall stops it
    RECOVERED = "recovered"  # it is answered after it had failed, or when no job is left to ask
    CALM = "calm"  # few jobs are answered 5xx or unreadably
    MIXED = "mixed"  # most are, or many turned bad, and a witness speaks for the service
    ERRORS = "errors"  # most are, or the control request is, and no witness speaks for the service
    TOGETHER = "together"  # many jobs turned bad at one moment, though finished ones are served
    TOO_LONG = "too long"  # that lasted longer than an outage of workers is believed
    SILENCE = "silence"  # no good answer for `judgement.outage_window`, over several tries
    THROTTLE = "throttle"  # 429, or a `Retry-After` from two jobs
    WAIT_OVER = "wait over"  # the wait is over, and an answer that asks for none came
    KEY_REFUSED = "key refused"  # 401, or 403 in JSON, confirmed by the control request
    WALL = "wall"  # 403 that is not the API's, confirmed likewise


_C, _S = Condition, Signal
DOWN: Final = frozenset({_C.FAILING, _C.SILENT, _C.STUCK})
_SHOWN: Final = {c: UpstreamState(c.value) if c not in DOWN else UpstreamState.DOWN for c in _C}
REFUSED: Final = frozenset({_C.BLOCKED, _C.KEY_REJECTED})

TRANSITIONS: Final[Mapping[Signal, Mapping[Condition, Condition]]] = {
    _S.SERVED: {
        _C.UNKNOWN: _C.WELL,
        _C.FAILING: _C.WELL,
        _C.SILENT: _C.WELL,
    },
    _S.WORKING: {
        _C.STUCK: _C.WELL,
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
        _C.STUCK: _C.UNKNOWN,
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
        _C.STUCK: _C.FAILING,
        _C.THROTTLED: _C.FAILING,
    },
    _S.TOGETHER: {
        _C.UNKNOWN: _C.STUCK,
        _C.WELL: _C.STUCK,
        _C.SUSPECT: _C.STUCK,
    },
    _S.TOO_LONG: {
        _C.STUCK: _C.UNKNOWN,
    },
    _S.SILENCE: {
        _C.UNKNOWN: _C.SILENT,
        _C.WELL: _C.SILENT,
        _C.SUSPECT: _C.SILENT,
        _C.STUCK: _C.SILENT,
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
        _C.STUCK: _C.KEY_REJECTED,
        _C.THROTTLED: _C.KEY_REJECTED,
        _C.BLOCKED: _C.KEY_REJECTED,
    },
    _S.WALL: {
        _C.UNKNOWN: _C.BLOCKED,
        _C.WELL: _C.BLOCKED,
        _C.SUSPECT: _C.BLOCKED,
        _C.FAILING: _C.BLOCKED,
        _C.SILENT: _C.BLOCKED,
        _C.STUCK: _C.BLOCKED,
        _C.THROTTLED: _C.BLOCKED,
        _C.KEY_REJECTED: _C.BLOCKED,
    },
}


def after(condition: Condition, signal: Signal) -> Condition:
    """Return the condition that a signal leads to; the same where it means nothing."""
    return TRANSITIONS[signal].get(condition, condition)
