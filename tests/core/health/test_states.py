"""The table of the upstream's states: every row of it, and the evidence that gives it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from support import START, Judgement, Polling, answered, error, job, now, ok, timeout

from exporter.core.health.control import ControlTarget
from exporter.core.health.health import Health
from exporter.core.health.states import TRANSITIONS, Condition, Signal, UpstreamState, after
from exporter.core.job import Job, JobState
from exporter.core.reply import Reply

ROWS = [
    ("served", "unknown", "well"),
    ("served", "failing", "well"),
    ("served", "silent", "well"),
    ("working", "stuck", "well"),
    ("looked up", "unknown", "well"),
    ("looked up", "silent", "well"),
    ("accepted", "blocked", "well"),
    ("accepted", "key_rejected", "well"),
    ("recovered", "failing", "unknown"),
    ("recovered", "stuck", "unknown"),
    ("calm", "suspect", "well"),
    ("mixed", "unknown", "suspect"),
    ("mixed", "well", "suspect"),
    ("errors", "unknown", "failing"),
    ("errors", "well", "failing"),
    ("errors", "suspect", "failing"),
    ("errors", "silent", "failing"),
    ("errors", "stuck", "failing"),
    ("errors", "throttled", "failing"),
    ("together", "unknown", "stuck"),
    ("together", "well", "stuck"),
    ("together", "suspect", "stuck"),
    ("too long", "stuck", "unknown"),
    ("silence", "unknown", "silent"),
    ("silence", "well", "silent"),
    ("silence", "suspect", "silent"),
    ("silence", "stuck", "silent"),
    ("silence", "throttled", "silent"),
    ("throttle", "unknown", "throttled"),
    ("throttle", "well", "throttled"),
    ("throttle", "suspect", "throttled"),
    ("throttle", "silent", "throttled"),
    ("wait over", "throttled", "unknown"),
    *(
        ("key refused", former, "key_rejected")
        for former in (
            *("unknown", "well", "suspect", "failing", "silent", "stuck", "throttled", "blocked"),
        )
    ),
    *(
        ("wall", former, "blocked")
        for former in (
            *("unknown", "well", "suspect", "failing", "silent", "stuck", "throttled"),
            "key_rejected",
        )
    ),
]


class Upstream:
    """A health, and the seconds at which it is told things."""

    def __init__(self) -> None:
        self.health = Health(Judgement(), Polling(), steady=1000.0)
        self.seconds = 0.0

    @property
    def condition(self) -> Condition:
        return self.health._condition

    def says(self, reply: Reply, subject: Job | None, later: float = 0.0) -> None:
        self.seconds += later
        self.health.note(reply, now(self.seconds), job=subject)

    def controls(self, reply: Reply, target: ControlTarget = ControlTarget.RANDOM) -> None:
        self.health.note(reply, now(self.seconds), job=None, target=target)

    def to_its_trial(self) -> None:
        self.seconds = max(self.seconds, self.health.circuit().probe_at - 1000.0)

    def evidence_is_settled(self) -> None:
        """All jobs have ended, so that none counts as turned bad any more."""
        for name in "abcdeklmno":
            self.health.evidence.decided(name)

    def fails_for(self, names: str) -> None:
        for name in names:
            self.says(error(500), answered(name))


def leave(upstream: Upstream) -> None:
    """Nothing is known at the beginning."""


def make_well(upstream: Upstream) -> None:
    upstream.says(error(404), job("ghost"))


def make_suspect(upstream: Upstream) -> None:
    upstream.says(ok(), answered("witness"))
    upstream.seconds += 50
    upstream.fails_for("abcde")


def make_failing(upstream: Upstream) -> None:
    upstream.fails_for("abcde")


def make_stuck(upstream: Upstream) -> None:
    """Five jobs, registered a minute apart, were served at once, and turn bad at once."""
    turn_together(upstream)


def turn_together(upstream: Upstream) -> None:
    upstream.health.control.remember_finished("old")
    upstream.seconds += 61
    for name in "klmno":
        upstream.says(ok(), aged(name, upstream.seconds - 5))
    upstream.seconds += 5
    for name in "klmno":
        upstream.says(error(500), aged(name, upstream.seconds - 5))


def aged(name: str, polled: float) -> Job:
    """A job that was served at a time; each is a minute older than the one before it."""
    registered = START - 60.0 * ord(name)
    return replace(answered(name), registered_at=registered, last_polled_at=START + polled)


def fall_silent(upstream: Upstream) -> None:
    for later in (0, 15, 15, 15, 15):
        upstream.says(timeout(), None, later)


def throttle(upstream: Upstream) -> None:
    upstream.says(error(429, Retry_After="30"), answered("a"))


def wall(upstream: Upstream) -> None:
    upstream.controls(error(403, b"<html>"))


def refuse_the_key(upstream: Upstream) -> None:
    upstream.controls(error(401))


REACH: dict[str, Callable[[Upstream], None]] = {
    "unknown": leave,
    "well": make_well,
    "suspect": make_suspect,
    "failing": make_failing,
    "silent": fall_silent,
    "stuck": make_stuck,
    "throttled": throttle,
    "blocked": wall,
    "key_rejected": refuse_the_key,
}


def serve(upstream: Upstream) -> None:
    upstream.says(ok("done"), answered("z"), later=61)


def work(upstream: Upstream) -> None:
    upstream.says(ok(), answered("z"), later=61)


def wait_half_a_day(upstream: Upstream) -> None:
    upstream.evidence_is_settled()
    upstream.health.advance(now(upstream.seconds + Polling().give_up_after / 2).steady)


def accept(upstream: Upstream) -> None:
    upstream.to_its_trial()
    upstream.controls(error(404))


def recover(upstream: Upstream) -> None:
    upstream.to_its_trial()
    if upstream.condition is Condition.STUCK:
        upstream.controls(error(404))
        upstream.seconds += 61
    else:
        upstream.controls(error(500))
        assert upstream.condition is Condition.FAILING
        upstream.seconds += 61
    upstream.evidence_is_settled()
    accept(upstream)


def pass_the_window(upstream: Upstream) -> None:
    upstream.evidence_is_settled()
    upstream.health.advance(now(upstream.seconds + 61).steady)


def mix(upstream: Upstream) -> None:
    """Of ten jobs five fail; then the others' answers leave the window."""
    for name in "vwxyz":
        upstream.says(ok(), answered(name, state=JobState.FAILED))
    upstream.seconds += 30
    upstream.fails_for("abcde")
    upstream.health.advance(now(upstream.seconds + 31).steady)


def fail_most(upstream: Upstream) -> None:
    if upstream.condition is Condition.SUSPECT:
        upstream.says(error(500), answered("a"), later=11)  # the witness has left the window
    elif upstream.condition is Condition.STUCK:
        upstream.seconds += 61
        upstream.controls(error(500))
    else:
        upstream.fails_for("abcde")


def be_waited_for(upstream: Upstream) -> None:
    upstream.to_its_trial()
    upstream.says(error(404), answered("lost"))


GIVE: dict[str, Callable[[Upstream], None]] = {
    "served": serve,
    "working": work,
    "looked up": make_well,
    "accepted": accept,
    "recovered": recover,
    "calm": pass_the_window,
    "mixed": mix,
    "errors": fail_most,
    "together": turn_together,
    "too long": wait_half_a_day,
    "silence": fall_silent,
    "throttle": throttle,
    "wait over": be_waited_for,
    "key refused": refuse_the_key,
    "wall": wall,
}

each_row = pytest.mark.parametrize(
    ("signal", "former", "then"), ROWS, ids=[" ".join(run) for run in ROWS]
)


def test_five_that_turn_together_are_no_outage_among_six_that_turned_one_by_one() -> None:
    for former, condition in (("abcde", Condition.STUCK), ("abcdef", Condition.SUSPECT)):
        upstream = Upstream()
        make_well(upstream)
        upstream.fails_for(former)
        upstream.says(ok(), answered("z"), later=1)  # a pending job is served meanwhile
        turn_together(upstream)
        assert upstream.condition is condition


@pytest.mark.parametrize("reply", [error(500), error(404), timeout(), ok("done")])
def test_jobs_that_turned_together_stay_an_outage_until_a_pending_job_is_served(
    reply: Reply,
) -> None:
    upstream = Upstream()
    make_stuck(upstream)
    # It was last polled before the others turned: it may have ended before that as well.
    upstream.says(reply, aged("k", upstream.seconds - 5), later=1)
    assert upstream.condition is Condition.STUCK


def test_a_pending_job_that_is_served_when_the_others_turn_ends_their_outage() -> None:
    upstream = Upstream()
    make_stuck(upstream)
    upstream.says(ok(), answered("z"))
    assert upstream.condition is Condition.SUSPECT


def test_jobs_that_turn_when_an_outage_is_given_up_are_explained_by_it() -> None:
    upstream = Upstream()
    make_stuck(upstream)
    upstream.seconds += Polling().give_up_after / 2
    for name in "abcd":
        upstream.says(error(500), aged(name, upstream.seconds - 5))
        assert upstream.condition is Condition.SUSPECT


@each_row
def test_a_signal_leads_where_the_table_says(signal: str, former: str, then: str) -> None:
    assert after(Condition(former), Signal(signal)) is Condition(then)


@each_row
def test_the_evidence_gives_the_signal(signal: str, former: str, then: str) -> None:
    upstream = Upstream()
    REACH[former](upstream)
    assert upstream.condition is Condition(former)
    GIVE[signal](upstream)
    assert upstream.condition is Condition(then)


def test_no_other_signal_means_anything() -> None:
    runs = {(signal, former) for signal, former, _ in ROWS}
    assert {(s.value, c.value) for s in TRANSITIONS for c in TRANSITIONS[s]} == runs
    for signal, condition in product(Signal, Condition):
        if (signal.value, condition.value) not in runs:
            assert after(condition, signal) is condition


@pytest.mark.parametrize("condition", list(Condition))
def test_every_condition_is_reached_and_left(condition: Condition) -> None:
    assert condition is Condition.UNKNOWN or condition.value in {then for _, _, then in ROWS}
    assert condition.value in {former for _, former, _ in ROWS}


def test_people_see_the_designs_states_and_all_three_outages_as_down() -> None:
    assert {condition.shown for condition in Condition} == set(UpstreamState)
    assert [c.value for c in Condition if c.shown is UpstreamState.DOWN] == [
        "failing",
        "silent",
        "stuck",
    ]
