"""The state of an upstream as one number, so that the worst of several can be found."""

from .looks import GONE, UPSTREAM_STATES, Words
from .queries import ONE, REQUESTS, SEEN, Query, age, or_empty, rows

CODES = {state: code for code, state in enumerate(UPSTREAM_STATES)}
"""The number of each state; the worse, the higher."""
GONE_CODE = len(CODES)

STATE_WORDS: Words = {
    **{CODES[state]: shown for state, shown in UPSTREAM_STATES.items()},
    GONE_CODE: GONE,
}
"""The text and the colour of each number."""

_KNOWN = f"max by (upstream) (last_over_time({SEEN}[$__range]))"
_WATCHED = f"max by (upstream) ({SEEN})"
_GONE = f"({_KNOWN} unless {_WATCHED})"


def _series(state: str) -> str:
    return f'removit_upstream_state{{{ONE},state="{state}"}}'


def state_code(*, gone: bool = True) -> str:
    """Return the number of each upstream's state, the worst of its exporters' answers.

    `gone` also gives upstreams that were watched in the time range, and are not now.
    """
    every = "\n or ".join(f"({_series(state)} == 1) * {code}" for state, code in CODES.items())
    known = f"max by (upstream) ({every})"
    return f"{known} or (0 * {_GONE} + {GONE_CODE})" if gone else known


def column(expr: str) -> Query:
    """Ask for a column of the table of upstreams: a row for each that the time range knows."""
    return rows(or_empty(expr, _KNOWN))


def reason() -> str:
    """Return, as the label `why`, the last error of each upstream that is not well."""
    code = _last_time(REQUESTS, "code")
    error = _last_time("removit_upstream_errors_total", "code, error")
    # Not every error has a word for it: a timeout has none, and a gateway's page has none.
    errors = (
        f'label_join({error}, "why", " ", "code", "error")'
        f' or on (upstream, code) label_replace({code}, "why", "$1", "code", "(.+)")'
    )
    return "\n or on (upstream) ".join(
        (
            _saying(f"min by (upstream) ({SEEN}) == 1", "it answers"),
            _saying(_GONE, "not known"),
            f"max by (upstream, why) (topk by (upstream) (1, {errors}))",
            _saying(_WATCHED, "no answer yet"),
        )
    )


def _saying(upstreams: str, text: str) -> str:
    return f'label_replace({upstreams}, "why", "{text}", "", "")'


def _last_time(metric: str, by: str) -> str:
    """Return when each kind of error was last seen; those about a single job do not count."""
    series = f'{metric}{{{ONE},endpoint="status",code!~"2..|404|422"}}'
    # Not `increase`: over its window a former error is as recent as the one that came after it.
    before = f"{series} offset $__interval"
    grew = f"(({series} > 0) != {before} or ({series} > 0) unless {before})"
    return f"max by (upstream, {by}) (max_over_time(timestamp({grew})[$__range:$__interval]))"


def held_for() -> str:
    """Return for how many seconds each upstream has been in its state.

    -1 (`looks.NONE`) where it was in it for all of the time range.
    """
    always = f"(0 * {_WATCHED} - 1)"
    gone = f"({age(_last_seen())} and {_GONE})"
    return "\n or on (upstream) ".join((_held(), gone, always))


def _held() -> str:
    state = f"removit_upstream_state{{{ONE}}}"
    other = f"max_over_time(timestamp({state} == 0)[$__range:$__interval])"
    return f"min by (upstream) ({age(other)} and ({state} == 1))"


def _last_seen() -> str:
    return f"max by (upstream) (max_over_time(timestamp({SEEN})[$__range:$__interval]))"
