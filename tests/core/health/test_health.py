"""Is the upstream well? Ways into and out of each state, the gate, the clock of patience."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import START, Judgement, Polling, answered, error, job, now, ok, timeout

from exporter.core.health.circuit import Probes
from exporter.core.health.control import Control, ControlTarget
from exporter.core.health.counts import RecentAnswers
from exporter.core.health.health import Circuit, Health, Probe, UpstreamState
from exporter.core.job import Job, JobState, Suspicion
from exporter.core.reply import Kind, Reply, unasked


class Upstream:
    """A health and its answers, at seconds of the tests' time."""

    def __init__(self) -> None:
        self.health = Health(Judgement(), Polling(min_interval=2.0), steady=1000.0)

    def says(
        self, reply: Reply, seconds: float, subject: Job | str | None = "a", **changes: Any
    ) -> UpstreamState:
        """Take in an answer about a job; None is the bare control request."""
        asked = answered(subject, **changes) if isinstance(subject, str) else subject
        target = ControlTarget.BARE if asked is None else None
        self.health.note(reply, now(seconds), job=asked, target=target)
        return self.health.state

    def says_to_a_stranger(self, reply: Reply, seconds: float, asked: str) -> UpstreamState:
        """Take in an answer about an id that a client asked about and nobody tracks."""
        self.health.note(reply, now(seconds), job=None, asked=asked)
        return self.health.state

    def goes_down(self, seconds: float = 0.0) -> None:
        for name in "abcde":
            self.says(error(503), seconds, name)
        assert self.health.state is UpstreamState.DOWN

    def rejects(self, seconds: float = 0.0) -> None:
        self.says(error(401), seconds)
        self.says(error(401), seconds, None)
        assert self.health.state is UpstreamState.KEY_REJECTED

    @property
    def circuit(self) -> Circuit:
        return self.health.circuit()


def test_nothing_is_known_before_the_first_answer() -> None:
    upstream = Upstream()
    assert upstream.health.state is UpstreamState.UNKNOWN
    assert (upstream.health.up, upstream.health.key_valid, upstream.health.last_success) == (
        None,
        None,
        None,
    )
    assert upstream.circuit.closed


@pytest.mark.parametrize(
    ("reply", "subject"),
    [(ok(), answered()), (error(404), job()), (error(422), job()), (error(422), None)],
)
def test_an_answer_that_shows_the_service_at_work_makes_it_well(
    reply: Reply, subject: Job | None
) -> None:
    upstream = Upstream()
    assert upstream.says(reply, 1, subject) is UpstreamState.WELL
    assert (upstream.health.up, upstream.health.key_valid) == (True, True)


def test_last_success_is_the_time_of_the_last_2xx() -> None:
    upstream = Upstream()
    upstream.says(error(404), 1, job())
    assert upstream.health.last_success is None
    upstream.says(ok(), 5)
    assert upstream.health.last_success == START + 5


def test_5xx_of_most_of_five_jobs_without_a_witness_is_an_outage() -> None:
    upstream = Upstream()
    for at, name in enumerate("abcd"):
        assert upstream.says(error(500), at, name) is UpstreamState.UNKNOWN
    assert upstream.says(error(500), 5, "e") is UpstreamState.DOWN
    assert upstream.health.up is False


def test_one_job_that_fails_for_ever_is_no_outage() -> None:
    upstream = Upstream()
    for seconds in range(0, 60, 2):
        assert upstream.says(error(500), seconds) is UpstreamState.UNKNOWN


def test_half_of_the_jobs_is_not_most_of_them() -> None:
    upstream = Upstream()
    for name in "vwx":
        upstream.says(ok(), 0, name, state=JobState.FAILED)
    for name in "abc":
        assert upstream.says(error(500), 1, name) is not UpstreamState.DOWN


def test_jobs_that_the_upstream_does_not_know_hide_no_outage() -> None:
    upstream = Upstream()
    for number in range(20):
        upstream.says(error(404), 0, job(f"never{number}"))
        upstream.says(error(404), 0, f"lost{number}")
    for name in "abcde":
        upstream.says(error(500), 1, name)
    assert upstream.health.state is UpstreamState.DOWN


@pytest.mark.parametrize("reply", [error(302), error(418), error(200, b"<html>")])
def test_what_no_service_says_that_works_is_an_outage(reply: Reply) -> None:
    many = Upstream()
    for name in "abcde":
        many.says(reply, 1, name)
    assert many.health.state is UpstreamState.DOWN
    one = Upstream()
    one.says(reply, 1, "a")
    assert one.health.next_control() == 1001.0
    assert one.says(reply, 2, None) is UpstreamState.DOWN
    well = Upstream()
    well.says(ok(), 0, "b")
    well.says(reply, 1, "a")
    assert well.health.next_control() == 1060.001  # when the witness has left the window
    assert well.says(reply, 2, None) is UpstreamState.WELL


def test_answers_older_than_a_minute_do_not_add_up_to_an_outage() -> None:
    upstream = Upstream()
    for at, name in enumerate("abcdef"):
        assert upstream.says(error(500), at * 20, name) is not UpstreamState.DOWN


def test_a_strong_witness_in_the_window_makes_it_only_suspect() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "witness")
    for name in "abcde":
        upstream.says(error(500), 1, name)
    assert upstream.health.state is UpstreamState.SUSPECT
    assert upstream.circuit.closed
    assert upstream.health.up is True


def test_reading_the_clock_of_patience_changes_nothing() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "witness")
    for name in "abcde":
        upstream.says(error(500), 1, name)
    assert upstream.health.healthy_time(now(500).steady) == 500
    assert upstream.health.state is UpstreamState.SUSPECT
    assert upstream.health.healthy_time(now(2).steady) == 2


def test_time_alone_may_change_only_the_state_suspect_and_says_when() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "witness")
    assert upstream.health.next_change() == math.inf
    for name in "abcde":
        upstream.says(error(500), 1, name)
    at = upstream.health.next_change()
    assert 1060 < at < 1060.01
    upstream.health.advance(at)
    assert upstream.health.next_change() > at


def test_suspicion_of_the_upstream_ends_with_the_window() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "witness")
    for name in "abcde":
        upstream.says(error(500), 1, name)
    upstream.health.evidence.decided("a")
    upstream.health.advance(now(62).steady)
    assert upstream.health.state is UpstreamState.WELL


def test_suspicion_lasts_while_five_undecided_jobs_turned_since_anyone_was_served() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "witness")
    for name in "abcde":
        upstream.says(error(500), 1, name)
    upstream.health.advance(now(3600).steady)
    assert upstream.health.state is UpstreamState.SUSPECT
    assert upstream.says(ok(), 3601, "witness") is UpstreamState.WELL


def test_unreadable_2xx_of_most_jobs_is_an_outage() -> None:
    upstream = Upstream()
    for name in "abcde":
        upstream.says(error(200, b"<html>maintenance</html>"), 0, name)
    assert upstream.health.state is UpstreamState.DOWN


def test_only_a_2xx_ends_an_outage_of_5xx() -> None:
    upstream = Upstream()
    upstream.goes_down()
    assert upstream.says(error(404), 1, job("ghost")) is UpstreamState.DOWN
    assert upstream.says(error(418), 2, "x") is UpstreamState.DOWN
    assert upstream.says(ok(), 3) is not UpstreamState.DOWN


def test_silence_is_an_outage_after_a_minute_and_five_tries() -> None:
    upstream = Upstream()
    for seconds in (0, 20, 40, 59):
        assert upstream.says(timeout(), seconds) is UpstreamState.UNKNOWN
    assert upstream.says(timeout(), 60) is UpstreamState.DOWN


def test_four_silent_tries_are_no_outage() -> None:
    upstream = Upstream()
    for seconds in (0, 100, 200, 300):
        assert upstream.says(timeout(), seconds) is UpstreamState.UNKNOWN


def test_a_good_answer_breaks_the_silence() -> None:
    upstream = Upstream()
    for seconds in (0, 20, 40, 50):
        upstream.says(timeout(), seconds)
    upstream.says(ok(), 55)
    assert upstream.says(timeout(), 70) is UpstreamState.WELL


def test_any_answer_of_the_service_ends_an_outage_of_silence() -> None:
    upstream = Upstream()
    for seconds in (0, 15, 30, 45, 60):
        upstream.says(timeout(), seconds)
    assert upstream.health.state is UpstreamState.DOWN
    upstream.says(timeout(), 70)
    assert upstream.says(error(404), 80, job()) is UpstreamState.WELL


def test_while_down_one_trial_is_made_each_later_than_the_one_before() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    waits, seconds = [], 0.0
    upstream.health.note(
        error(404), now(1), job=None, target=ControlTarget.RANDOM
    )  # the door is open
    for _ in range(8):
        assert upstream.circuit.probe is Probe.POLL
        waits.append(upstream.circuit.probe_at - 1000 - seconds)
        seconds = upstream.circuit.probe_at - 1000
        upstream.says(error(503), seconds)
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_while_down_jobs_and_the_control_take_turns_until_one_control_is_answered() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    turns = []
    for reply in (error(503), timeout(), error(503), error(418), error(404)):
        for _ in range(2):
            seconds = upstream.circuit.probe_at - 1000
            turns.append(upstream.circuit.probe)
            if upstream.circuit.probe is Probe.CONTROL:
                upstream.health.note(reply, now(seconds), job=None, target=ControlTarget.RANDOM)
            else:
                upstream.says(error(503), seconds, "a")
    assert turns == [Probe.CONTROL, Probe.POLL] * 5
    assert upstream.circuit.closed  # it had failed, and is back
    assert upstream.health.state is UpstreamState.SUSPECT  # until a pending job is served


def test_a_control_that_never_failed_ends_no_outage_of_jobs_and_is_asked_once() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    upstream.health.note(error(404), now(2), job=None, target=ControlTarget.RANDOM)
    for _ in range(4):
        assert upstream.circuit.probe is Probe.POLL
        seconds = upstream.circuit.probe_at - 1000
        assert upstream.says(error(503), seconds) is UpstreamState.DOWN


def test_with_its_rungs_switched_off_the_control_takes_no_turn() -> None:
    upstream = Upstream()
    upstream.health.rules = Judgement(control=())
    upstream.goes_down(0)
    upstream.says(error(503), 2)
    assert upstream.circuit.probe is Probe.POLL


def test_a_control_answered_when_no_job_is_left_to_ask_ends_the_outage() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    upstream.health.note(error(404), now(2), job=None, target=ControlTarget.RANDOM)
    assert upstream.circuit.probe is Probe.POLL
    seconds = upstream.circuit.probe_at - 1000 + 61
    upstream.health.note(error(404), now(seconds), job=None, target=ControlTarget.RANDOM)
    assert upstream.circuit.closed


def test_a_control_sent_before_the_outage_does_not_end_it() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    upstream.health.note(error(500), now(2), job=None, target=ControlTarget.RANDOM)
    upstream.health.note(error(404), now(2.5), job=None, target=ControlTarget.RANDOM)
    assert upstream.health.state is UpstreamState.DOWN


def test_an_outage_that_asks_to_be_waited_for_is_an_outage_and_is_waited_for() -> None:
    upstream = Upstream()
    for name in "abcde":
        upstream.says(error(503, Retry_After="30"), 0, name)
    assert upstream.health.state is UpstreamState.DOWN
    assert upstream.health.up is False
    assert upstream.circuit.probe_at == 1030.0


def test_a_known_job_that_is_lost_is_no_evidence_of_the_service_but_of_the_key() -> None:
    upstream = Upstream()
    assert upstream.says(error(404), 0, "a") is UpstreamState.UNKNOWN
    assert upstream.health.key_valid is True


def test_of_the_finished_jobs_another_is_asked_each_time() -> None:
    upstream = Upstream()
    for name in "abc":
        upstream.health.control.remember_finished(name)
    asked = []
    for seconds in range(4):
        _, finished = upstream.health.control.target(("finished",))
        asked.append(finished)
        reply = error(500) if seconds == 1 else ok("done")
        upstream.health.note(
            reply, now(seconds), job=None, target=ControlTarget.FINISHED, asked=finished
        )
    assert asked == ["c", "b", "a", "c"]


def test_stragglers_of_an_outage_do_not_put_the_trial_off() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    at = upstream.circuit.probe_at
    for _ in range(10):
        upstream.says(error(503), 0.5)
    assert upstream.circuit.probe_at == at


def test_a_401_closes_the_gate_and_a_control_confirms_it() -> None:
    upstream = Upstream()
    assert upstream.says(error(401), 5) is UpstreamState.UNKNOWN
    assert upstream.circuit == Circuit(False, 1005.0, Probe.CONTROL)
    assert upstream.health.key_valid is None
    assert upstream.says(error(401), 6, None) is UpstreamState.KEY_REJECTED
    assert upstream.health.key_valid is False
    assert upstream.health.up is True
    assert upstream.circuit == Circuit(False, 1066.0, Probe.CONTROL)


def test_a_control_that_is_answered_clears_the_key() -> None:
    upstream = Upstream()
    upstream.says(error(401), 5)
    assert upstream.says(error(422), 6, None) is UpstreamState.WELL
    assert (upstream.circuit.closed, upstream.health.key_valid) == (True, True)


@pytest.mark.parametrize("reply", [error(401), error(403), error(403, b"<html>")])
def test_what_a_stranger_is_refused_is_for_the_control_to_confirm(reply: Reply) -> None:
    upstream = Upstream()
    upstream.says(ok(), 4)
    assert upstream.says_to_a_stranger(reply, 5, "x") is UpstreamState.WELL
    assert upstream.circuit == Circuit(False, 1005.0, Probe.CONTROL)
    assert upstream.says_to_a_stranger(reply, 5.5, "y") is UpstreamState.WELL
    assert upstream.circuit == Circuit(False, 1005.0, Probe.CONTROL)  # nothing is put off by it
    assert upstream.health.key_valid is True
    assert upstream.says(error(404), 6, None) is UpstreamState.WELL
    assert upstream.circuit.closed


def test_a_strangers_answer_does_not_reopen_a_confirmed_rejection() -> None:
    upstream = Upstream()
    upstream.rejects(0)
    for reply in (error(404), ok(), error(503, Retry_After="5")):
        assert upstream.says_to_a_stranger(reply, 1, "x") is UpstreamState.KEY_REJECTED
    assert upstream.health.key_valid is False
    assert upstream.circuit == Circuit(False, 1060.0, Probe.CONTROL)


def test_retry_after_of_one_stranger_is_no_control_and_with_a_second_id_it_counts() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0)
    for seconds in (61, 62):
        asked = error(503, Retry_After="120")
        assert upstream.says_to_a_stranger(asked, seconds, "x") is UpstreamState.WELL
    assert upstream.circuit.closed
    assert upstream.says(error(503, Retry_After="30"), 63, "b") is UpstreamState.THROTTLED
    assert upstream.circuit.probe_at == 1093.0


def test_a_rejected_key_is_tried_once_a_minute() -> None:
    upstream = Upstream()
    upstream.rejects(0)
    for _ in range(3):
        at = upstream.circuit.probe_at
        upstream.says(error(401), at - 1000, None)
        assert upstream.circuit.probe_at == at + 60


def test_a_rejected_key_stays_rejected_while_the_control_gets_nothing_better() -> None:
    upstream = Upstream()
    upstream.rejects(0)
    assert upstream.says(error(503), 60, None) is UpstreamState.KEY_REJECTED
    assert upstream.circuit.probe_at == 1120.0
    assert upstream.says(timeout(), 120, None) is UpstreamState.KEY_REJECTED
    assert upstream.circuit.probe_at == 1180.0


def test_an_unconfirmed_401_is_tried_again_ever_later_while_the_control_fails() -> None:
    upstream = Upstream()
    upstream.says(error(401), 0)
    waits, seconds = [], 0.0
    for _ in range(3):
        upstream.says(error(503), seconds, None)
        waits.append(upstream.circuit.probe_at - 1000 - seconds)
        seconds = upstream.circuit.probe_at - 1000
    assert waits == [2, 4, 8]


def test_a_straggler_does_not_reopen_a_confirmed_rejection() -> None:
    upstream = Upstream()
    upstream.rejects(0)
    assert upstream.says(ok(), 1) is UpstreamState.KEY_REJECTED
    assert upstream.says(error(422), 60, None) is UpstreamState.WELL
    assert upstream.health.key_valid is True


def test_a_403_that_is_no_json_is_a_firewall_and_says_nothing_of_the_key() -> None:
    upstream = Upstream()
    upstream.says(error(403, b"<html>"), 0)
    assert upstream.says(error(403, b"<html>"), 1, None) is UpstreamState.BLOCKED
    assert (upstream.health.up, upstream.health.key_valid) == (False, None)


def test_a_changed_key_may_be_tried_at_once() -> None:
    upstream = Upstream()
    upstream.rejects(0)
    upstream.health.try_now(now(10).steady)
    assert upstream.circuit.probe_at == 1010.0


def test_a_429_makes_all_wait_as_long_as_it_says() -> None:
    upstream = Upstream()
    assert upstream.says(error(429, Retry_After="30"), 0) is UpstreamState.THROTTLED
    assert upstream.circuit == Circuit(False, 1030.0, Probe.CONTROL)
    assert upstream.health.up is True


def test_a_429_never_makes_it_wait_longer_than_the_limit() -> None:
    upstream = Upstream()
    upstream.says(error(429, Retry_After="100000"), 0)
    assert upstream.circuit.probe_at == 1300.0


def test_a_429_without_retry_after_waits_longer_each_time() -> None:
    upstream = Upstream()
    waits, seconds = [], 0.0
    for _ in range(7):
        upstream.says(error(429), seconds, None)
        waits.append(upstream.circuit.probe_at - 1000 - seconds)
        seconds = upstream.circuit.probe_at - 1000
    assert waits == [2, 4, 8, 16, 32, 60, 60]


def test_a_straggler_sent_before_a_429_does_not_end_the_wait() -> None:
    upstream = Upstream()
    upstream.says(error(429, Retry_After="30"), 0)
    assert upstream.says(ok(), 1) is UpstreamState.THROTTLED
    assert upstream.says(error(422), 30, None) is UpstreamState.WELL


def test_a_second_429_never_shortens_the_wait() -> None:
    upstream = Upstream()
    upstream.says(error(429, Retry_After="30"), 0)
    upstream.says(error(429, Retry_After="5"), 1, "b")
    assert upstream.circuit.probe_at == 1030.0


def test_retry_after_on_one_jobs_5xx_is_a_hint_for_that_job_only() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "z")
    assert upstream.says(error(503, Retry_After="30"), 1, "a") is UpstreamState.WELL
    assert upstream.says(error(503, Retry_After="30"), 2, "a") is UpstreamState.WELL


def test_a_second_job_with_retry_after_makes_all_wait() -> None:
    upstream = Upstream()
    upstream.says(error(503, Retry_After="30"), 1, "a")
    assert upstream.says(error(503, Retry_After="20"), 2, "b") is UpstreamState.THROTTLED
    assert upstream.circuit.probe_at == 1022.0


def test_failed_jobs_with_retry_after_make_nobody_wait_while_another_is_served() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "witness")
    for seconds in range(1, 60):
        upstream.says(error(503, Retry_After="30"), seconds, "ab"[seconds % 2])
        assert upstream.health.state is UpstreamState.WELL
    assert upstream.says(error(503, Retry_After="30"), 61, "a") is UpstreamState.THROTTLED


def test_hints_more_than_a_minute_apart_do_not_add_up() -> None:
    upstream = Upstream()
    upstream.says(error(503, Retry_After="30"), 1, "a")
    assert upstream.says(error(503, Retry_After="20"), 62, "b") is UpstreamState.UNKNOWN


def test_retry_after_on_a_control_makes_all_wait() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0, "witness")
    assert upstream.says(error(503, Retry_After="20"), 1, None) is UpstreamState.THROTTLED


@pytest.mark.parametrize("reply", [ok(), error(404), error(422)])
def test_retry_after_on_a_good_answer_holds_up_nobody(reply: Reply) -> None:
    upstream = Upstream()
    asking = replace(reply, retry_after=120.0)
    upstream.says(error(429, Retry_After="30"), 0)
    assert upstream.says(asking, 30, None) is UpstreamState.WELL
    assert upstream.circuit.closed
    for seconds, name in ((31, "a"), (32, "b"), (33, "c")):
        assert upstream.says(asking, seconds, name) is UpstreamState.WELL
    assert upstream.circuit.closed


def test_patience_stands_still_unless_the_upstream_may_be_well() -> None:
    upstream = Upstream()
    healthy_time = upstream.health.healthy_time
    assert healthy_time(now(10).steady) == 10
    upstream.says(ok(), 20)
    assert healthy_time(now(30).steady) == 30
    upstream.goes_down(90)
    assert healthy_time(now(500).steady) == 90
    upstream.says(ok(), 600)
    assert healthy_time(now(610).steady) == 100
    upstream.says(error(401), 620)
    assert healthy_time(now(900).steady) == 110  # unconfirmed, and yet nobody is polled
    upstream.says(error(422), 900, None)
    assert healthy_time(now(905).steady) == 115
    assert healthy_time(now(800).steady) == 110  # a clock that goes back adds nothing


def test_patience_goes_on_from_where_it_was_stored() -> None:
    upstream = Upstream()
    upstream.health.restore(5000.0)
    assert upstream.health.healthy_time(now(3).steady) == 5003.0


def test_a_witness_is_another_pending_job_with_a_2xx_since() -> None:
    upstream = Upstream()
    upstream.says(ok(), 10, "a")
    upstream.says(ok(), 20, "b")
    health = upstream.health
    assert health.evidence.witnesses.strong(answered("c"), 15) == "b"
    assert health.evidence.witnesses.strong(answered("b"), 5) == "a"
    assert health.evidence.witnesses.strong(answered("b"), 15) is None
    assert health.evidence.witnesses.strong(answered("c"), 21) is None
    assert health.evidence.witnesses.strong(answered("c", mode="clipping"), 5) is None
    upstream.says(ok(), 30, answered("d", mode="clipping"))
    assert health.evidence.witnesses.strong(answered("c", mode="clipping"), 5) == "d"


def test_the_control_climbs_down_its_ladder() -> None:
    health = Upstream().health
    assert health.control.target(health.rules.control) == (ControlTarget.RANDOM, None)
    for name in "abcd":
        health.control.remember_finished(name)
    assert health.control.target(health.rules.control) == (ControlTarget.FINISHED, "d")
    health.note(error(404), now(1), job=None, target=ControlTarget.FINISHED, asked="d")
    assert health.control.target(health.rules.control) == (ControlTarget.FINISHED, "c")
    for name in "cb":
        health.note(error(404), now(2), job=None, target=ControlTarget.FINISHED, asked=name)
    assert health.control.target(health.rules.control) == (ControlTarget.RANDOM, None)
    health.rules = Judgement(control=("bare",))
    assert health.control.target(health.rules.control) == (ControlTarget.BARE, None)
    health.rules = Judgement(control=())
    assert health.control.target(health.rules.control) == (
        ControlTarget.BARE,
        None,
    )  # a closed gate has to be tried somehow


def test_a_job_that_is_done_is_remembered_for_the_control() -> None:
    upstream = Upstream()
    upstream.says(ok("done"), 1, "a")
    assert upstream.health.control.target(upstream.health.rules.control) == (
        ControlTarget.FINISHED,
        "a",
    )


def test_a_control_is_made_when_a_5xx_has_no_witness_and_when_nobody_asks() -> None:
    upstream = Upstream()
    health = upstream.health
    health.heartbeat = 300.0
    upstream.says(ok(), 0, "a")
    assert health.next_control() == 1300.0
    upstream.says(error(500), 10, "b")
    assert health.next_control() == 1060.001  # until then the witness speaks for it
    upstream.says(ok(), 20, "a")
    assert health.next_control() == 1320.0  # the next bad answer wants one again
    upstream.says(error(500), 100, "b")
    assert health.next_control() == 1100.0
    health.note(error(404), now(101), job=None, target=ControlTarget.RANDOM)
    assert health.next_control() == 1401.0
    upstream.says(error(500), 102, "b")
    assert health.next_control() == 1103.0  # not more often than polling.min_interval
    health.rules = Judgement(control=())
    assert health.next_control() == math.inf


def test_a_5xx_to_the_control_is_an_outage_unless_a_witness_stands_against_it() -> None:
    upstream = Upstream()
    upstream.says(error(500), 1, "a")
    upstream.health.note(error(500), now(2), job=None, target=ControlTarget.RANDOM)
    assert upstream.health.state is UpstreamState.DOWN
    witnessed = Upstream()
    witnessed.says(ok(), 1, "a")
    witnessed.health.note(error(500), now(2), job=None, target=ControlTarget.RANDOM)
    assert witnessed.health.state is UpstreamState.WELL


def test_the_remembered_witnesses_are_bounded() -> None:
    upstream = Upstream()
    for number in range(200):
        upstream.says(ok(), number, answered(f"a{number}", mode=f"mode{number}"))
    assert len(upstream.health.evidence.witnesses) <= 100


def test_many_lost_jobs_are_seen_within_their_window_only() -> None:
    upstream = Upstream()
    for name in "abcde":
        upstream.says(error(404), 0, name)
    assert upstream.health.evidence.jobs_lost(now(1), Judgement())
    assert not upstream.health.evidence.jobs_lost(now(301), Judgement())


ANSWERS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["good", "bad"]), st.floats(0, 20)),
    max_size=40,
)


@settings(max_examples=200)
@given(ANSWERS)
def test_recent_answers_count_the_latest_of_each_job_in_the_window(
    answers: list[tuple[str, str, float]],
) -> None:
    recent, model, at = RecentAnswers(), dict[str, tuple[str, float]](), 0.0
    for name, sort, later in answers:
        at += later
        recent.add(name, sort, at, 60.0)
        model[name] = (sort, at)
        model = {key: value for key, value in model.items() if value[1] >= at - 60.0}
        assert len(recent) == len(model)
        for wanted in ("good", "bad"):
            assert recent.count(wanted) == sum(value[0] == wanted for value in model.values())


def test_waits_begin_anew_once_the_upstream_serves() -> None:
    upstream = Upstream()
    for seconds in (0, 2, 6):
        upstream.says(error(429), seconds, None)
    assert upstream.circuit.probe_at == 1014.0
    upstream.says(ok(), 14)
    upstream.says(error(429), 20)
    assert upstream.circuit.probe_at == 1022.0
    upstream.says(ok(), 30)
    upstream.goes_down(31)
    assert upstream.circuit.probe_at == 1033.0


def test_a_wait_asked_for_by_a_date_ends_at_that_date() -> None:
    date = "Fri, 15 Jan 2027 08:00:40 GMT"
    upstream = Upstream()
    upstream.says(error(429, Retry_After=date), 10)
    assert upstream.circuit.probe_at == 1040.0
    other = Upstream()
    other.says(error(503, Retry_After=date), 10, "a")
    assert other.says(error(503, Retry_After=date), 10, "b") is UpstreamState.THROTTLED
    assert other.circuit.probe_at == 1040.0


def test_a_wait_of_former_times_does_not_lengthen_a_new_one() -> None:
    upstream = Upstream()
    upstream.says(error(401), 0)
    for seconds in (0, 2, 6, 14, 30):
        upstream.says(error(503), seconds, None)
    assert upstream.circuit.probe_at == 1062.0
    upstream.says(ok(), 31, "b")  # a straggler that was accepted: it was not the key
    assert upstream.circuit.closed
    upstream.says(error(429, Retry_After="5"), 32)
    assert upstream.circuit.probe_at == 1037.0


def test_a_hint_from_the_edge_of_the_window_counts() -> None:
    upstream = Upstream()
    upstream.says(error(503, Retry_After="30"), 1, "a")
    assert upstream.says(error(503, Retry_After="20"), 61, "b") is UpstreamState.THROTTLED


def test_without_a_heartbeat_no_control_is_made_when_nobody_asks() -> None:
    assert Health(Judgement(), Polling()).next_control() == math.inf
    assert Health(Judgement(), Polling(), heartbeat=300.0).next_control() == 300.0


def test_a_confirmed_refusal_leaves_no_accusation_behind() -> None:
    upstream = Upstream()
    upstream.says(error(401), 0)
    upstream.says(error(401), 1, None)
    assert upstream.says(error(422), 61, None) is UpstreamState.WELL
    assert upstream.circuit.closed


def test_a_straggler_of_a_rejected_key_changes_nothing() -> None:
    upstream = Upstream()
    upstream.rejects(0)
    upstream.says(error(401), 10, "b")
    assert upstream.circuit == Circuit(False, 1060.0, Probe.CONTROL)


def test_five_silent_tries_in_less_than_a_minute_are_no_outage() -> None:
    upstream = Upstream()
    for seconds in (0, 2, 4, 8, 16, 32, 59.9):
        assert upstream.says(timeout(), seconds) is UpstreamState.UNKNOWN


def test_jobs_that_have_failed_or_failed_before_make_no_outage() -> None:
    upstream = Upstream()
    upstream.says(error(404), 0, job("ghost"))
    for seconds in (0, 70, 75, 80):
        for number in range(20):
            run = Suspicion(Kind.SERVER_ERROR, 1, 0.0, 0.0, 500) if seconds else None
            state = JobState.FAILED if number % 2 else JobState.PENDING
            subject = answered(f"a{number}", suspicion=run, state=state)
            if seconds or number % 2:
                assert upstream.says(error(500), seconds, subject) is UpstreamState.WELL


def test_waits_begin_with_the_shortest_however_short_it_is() -> None:
    upstream = Upstream()
    upstream.health.polling = Polling(min_interval=0.25)
    assert upstream.says(error(429), 0) is UpstreamState.THROTTLED
    assert upstream.circuit.probe_at == 1000.25
    upstream.says(error(429), 0.25, None)
    upstream.says(ok(), 10)
    upstream.says(error(429), 10)
    assert upstream.circuit.probe_at == 1010.25
    upstream.says(error(429), 10.25, None)
    upstream.says(error(422), 20, None)
    upstream.goes_down(30)
    assert upstream.circuit.probe_at == 1030.25


def test_that_this_machine_cannot_ask_says_nothing_of_the_upstream_and_patience_stands_still() -> (
    None
):
    upstream = Upstream()
    upstream.says(ok(), 0)
    for seconds in range(1, 200):
        assert upstream.says(unasked("internal", "no"), seconds) is UpstreamState.WELL
    assert upstream.says(unasked("internal", "no"), 200, None) is UpstreamState.WELL
    assert upstream.circuit.closed
    assert upstream.health.healthy_time(1205.0) == 1.0
    upstream.says(ok(), 206)
    assert upstream.health.healthy_time(1210.0) == 5.0


def test_a_trial_that_could_not_be_made_is_put_off_and_decides_nothing() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    assert upstream.says(unasked("internal", "no"), 0, None) is UpstreamState.DOWN
    assert upstream.circuit.probe_at == 1002.0
    upstream.says(error(503), 2)
    # Of the control nothing is known yet, so it still has its turn.
    assert upstream.circuit.probe is Probe.CONTROL


def test_the_first_refusal_is_confirmed_by_one_control_also_after_many_good_answers() -> None:
    upstream = Upstream()
    for seconds in range(100):
        upstream.says(ok(), seconds)
    upstream.says(error(401), 101)
    assert upstream.says(error(401), 102, None) is UpstreamState.KEY_REJECTED


def test_after_a_contradicted_refusal_ten_controls_confirm_the_next_one() -> None:
    upstream = Upstream()
    wall = error(403, b"<html>")
    upstream.says(wall, 0)
    assert not upstream.circuit.closed
    upstream.says(error(404), 0, None)
    for _ in range(1000):
        upstream.says(ok(), 100)
    upstream.says(wall, 200)
    refused = []
    while upstream.health.state is UpstreamState.WELL:
        at = upstream.circuit.probe_at - 1000
        refused.append(at)
        upstream.says(wall, at, None)
    assert refused == [200.0 + 2 * number for number in range(10)]
    assert upstream.health.state is UpstreamState.BLOCKED
    assert upstream.circuit.probe_at == 1278.0


def test_refused_jobs_confirm_no_refusal() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0)
    for at in range(100):
        upstream.says(error(401), at)
    assert upstream.health.state is UpstreamState.WELL


def test_a_refusal_that_was_confirmed_does_not_make_the_next_harder_to_confirm() -> None:
    upstream = Upstream()
    for seconds in range(0, 600, 60):
        upstream.says(ok(), seconds)
        upstream.says(error(401), seconds + 1)
        assert upstream.says(error(401), seconds + 2, None) is UpstreamState.KEY_REJECTED
        assert upstream.says(error(422), seconds + 50, None) is UpstreamState.WELL


def test_contradicted_refusals_are_remembered_for_ten_minutes() -> None:
    for later, state in ((600, UpstreamState.WELL), (601, UpstreamState.KEY_REJECTED)):
        upstream = Upstream()
        upstream.says(error(401), 0)
        upstream.says(error(422), 0, None)
        upstream.says(error(401), later)
        assert upstream.says(error(401), later, None) is state


def test_a_straggler_that_is_refused_does_not_put_off_the_control() -> None:
    upstream = Upstream()
    upstream.says(error(401), 0)
    upstream.says(error(422), 0, None)
    upstream.says(error(401), 10)
    upstream.says(error(401), 11)
    assert upstream.circuit == Circuit(False, 1010.0, Probe.CONTROL)


def test_a_wait_under_way_is_no_longer_than_other_rules_admit() -> None:
    upstream = Upstream()
    upstream.says(error(429, Retry_After="300"), 0)
    upstream.health.set_rules(Judgement(), Polling(min_interval=2.0, max_retry_after=100.0), 1010.0)
    assert upstream.circuit.probe_at == 1110.0
    upstream.health.set_rules(Judgement(), Polling(min_interval=2.0), 1020.0)
    assert upstream.circuit.probe_at == 1110.0
    for rules in (Polling(max_retry_after=1.0), Polling(max_retry_after=1.0, max_interval=5.0)):
        upstream.health.set_rules(Judgement(), rules, 1020.0)
        assert upstream.circuit.probe_at == 1080.0  # `key_retry` is a wait as well
    upstream = Upstream()
    upstream.says(error(429, Retry_After="300"), 0)
    rules = Polling(min_interval=2.0, max_retry_after=1.0, max_interval=90.0)
    upstream.health.set_rules(Judgement(), rules, 1020.0)
    assert upstream.circuit.probe_at == 1110.0  # as is `max_interval`


def test_a_refusal_that_no_control_can_decide_is_contradicted_by_a_job() -> None:
    upstream = Upstream()
    upstream.says(ok(), 0)
    upstream.says(error(401), 1)
    assert upstream.circuit == Circuit(False, 1001.0, Probe.CONTROL)
    upstream.says(error(400), 1, None)
    assert upstream.circuit == Circuit(False, 1003.0, Probe.POLL)
    upstream.says(error(401), 3)
    assert upstream.circuit == Circuit(False, 1003.0, Probe.CONTROL)
    upstream.says(timeout(), 3, None)
    assert upstream.circuit == Circuit(False, 1007.0, Probe.POLL)
    upstream.says(ok(), 7)
    assert upstream.circuit.closed
    upstream.says(error(401), 8)
    assert upstream.circuit.probe is Probe.CONTROL


def test_a_jobs_answer_that_says_neither_leaves_the_refusal_to_the_control() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    upstream.says(error(503), 2, None)
    upstream.says(ok(), 3)
    upstream.says(error(429, Retry_After="120"), 3)
    upstream.says(error(401), 4)
    for straggler in (error(500), timeout()):
        upstream.says(straggler, 5, "b")
        assert upstream.circuit == Circuit(False, 1123.0, Probe.CONTROL)


def test_a_rejected_key_is_tried_by_controls_only() -> None:
    upstream = Upstream()
    upstream.says(error(401), 0)
    upstream.says(error(503), 0, None)
    upstream.says(error(401), 2, None)
    assert upstream.health.state is UpstreamState.KEY_REJECTED
    for seconds in (62, 122):
        upstream.says(error(503), seconds, None)
        assert upstream.circuit.probe is Probe.CONTROL


def test_a_refusal_hastens_no_wait_that_was_asked_for() -> None:
    upstream = Upstream()
    upstream.says(error(429, Retry_After="120"), 0)
    upstream.says(error(401), 1)
    assert upstream.circuit == Circuit(False, 1120.0, Probe.CONTROL)


def test_a_refusal_after_an_outage_is_put_to_the_control_at_once() -> None:
    upstream = Upstream()
    upstream.goes_down(0)
    for seconds in (0, 2, 6, 14, 30):
        upstream.says(error(503), seconds, None)
    upstream.says(ok(), 31)
    assert upstream.circuit.closed
    upstream.says(error(401), 32)
    assert upstream.circuit == Circuit(False, 1032.0, Probe.CONTROL)


@pytest.mark.parametrize(
    ("target", "reply", "is_witness"),
    [
        (ControlTarget.RANDOM, error(404), True),
        (ControlTarget.RANDOM, error(503), False),
        (ControlTarget.BARE, error(404), False),
    ],
)
def test_only_the_404_of_a_random_id_is_a_witness(
    target: ControlTarget, reply: Reply, is_witness: bool
) -> None:
    health = Upstream().health
    health.note(reply, now(0), job=None, target=target)
    assert (health.evidence.witnesses.looked_up.until > -math.inf) is is_witness


def test_a_shorter_retry_after_replaces_the_former_while_polls_go_on() -> None:
    probes = Probes()
    for seconds in ("200", "10"):
        probes.wait(error(429, Retry_After=seconds), now(0), Polling(), is_open=False)
    probes.set(now(100).steady)
    assert probes.wait_left(now(0).steady) == 10.0


def test_no_wait_is_left_where_the_upstream_has_not_asked_for_one() -> None:
    probes = Probes()
    probes.set(60.0)
    assert probes.wait_left(0.0) == 0.0


def test_a_finished_jobs_answer_is_awaited_from_when_it_is_asked_for() -> None:
    control = Control(0.0)
    assert control.awaited(5.0, ("finished",), 1.0) == math.inf
    control.remember_finished("a")
    assert control.awaited(5.0, ("finished",), 1.0) == 0.0
    assert control.awaited(8.0, ("finished",), 1.0) == 3.0
    assert control.awaited(8.0, ("random",), 1.0) == math.inf


def test_the_bare_request_is_wanted_until_it_was_made_itself() -> None:
    control, targets = Control(0.0), ("finished", "random", "bare")
    control.want_bare(0.0, 1.0)
    for other in (None, ControlTarget.RANDOM, ControlTarget.FINISHED):
        control.answered(1.0, other)
        assert control.target(targets) == (ControlTarget.BARE, None)
    control.answered(2.0, ControlTarget.BARE)
    assert control.target(targets) == (ControlTarget.RANDOM, None)


def test_only_a_control_request_for_an_id_takes_a_finished_jobs_answer_back() -> None:
    control = Control(0.0)
    control.served(1.0)
    for other in (None, ControlTarget.BARE):
        control.answered(2.0, other)
        assert control.served_at == 1.0
    control.answered(3.0, ControlTarget.RANDOM)
    assert control.served_at == -math.inf
