"""May the upstream be asked, and how soon: health, rate limit, key and machine taken together."""

import math
from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs
from support import START, Judgement, Limits, Polling, PollingConfig, answered, error, now, ok

from exporter.core.events import Event, EventType
from exporter.core.health.control import ControlTarget
from exporter.core.health.health import Circuit, Health, Probe
from exporter.core.reply import Kind, Reply, unasked
from exporter.polling.admission import KEY_CHECK_SECONDS, Admission


class Door:
    """An admission with its config and key; `at` is in seconds since the tests' beginning."""

    def __init__(self) -> None:
        self.config = PollingConfig()
        self.key_version = 1
        self.at = 0.0
        self.health = Health(Judgement(), Polling(), steady=self.steady)
        self.admission = Admission(
            self.health,
            lambda: self.config,
            lambda: self.steady,
            structlog.stdlib.get_logger("removit_exporter"),
            lambda: self.key_version,
        )

    @property
    def steady(self) -> float:
        return now(self.at).steady

    @property
    def bucket_rate(self) -> float:
        return self.admission.bucket.rate(self.steady)

    def circuit(self) -> Circuit:
        return self.admission.circuit(self.steady)

    def answer(self, reply: Reply, job_id: str = "a") -> list[Event]:
        """A poll of a job, with this reply."""
        self.admission.sent()
        return self.admission.note(answered(job_id), reply, now(self.at), None, None)

    def answer_control(self, reply: Reply) -> list[Event]:
        """A bare control request, with this reply."""
        self.admission.sent()
        return self.admission.note(None, reply, now(self.at), ControlTarget.BARE, None)

    def reject_key(self) -> None:
        """The control confirms that the upstream refuses the key."""
        self.answer(error(401))
        self.answer_control(error(401))
        assert self.health.state == "key_rejected"


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_change_of_state_is_one_event(door: Door) -> None:
    data = {"from": "unknown", "to": "well", "code": "200"}
    assert door.answer(ok()) == [Event(EventType.UPSTREAM_CHANGED, None, START, data)]
    assert door.answer(ok()) == []
    door.at = 5.0
    [changed] = door.answer(error(429, Retry_After="30"))
    assert changed.time == START + 5
    assert changed.data == {"from": "well", "to": "throttled", "code": "429"}


def test_a_429_halves_the_rate_and_its_wait_freezes_the_recovery(door: Door) -> None:
    door.answer(ok())
    assert door.bucket_rate == 10.0
    door.answer(error(429, Retry_After="100"))
    assert door.bucket_rate == 5.0
    assert door.circuit() == Circuit(False, door.steady + 100, Probe.CONTROL)
    door.at = 100.0
    assert door.bucket_rate == 5.0
    door.answer(ok())
    assert door.circuit().closed
    door.at = 110.0
    assert door.bucket_rate == 6.0


def test_polls_resume_without_a_burst(door: Door) -> None:
    door.answer(ok())
    door.answer(error(429, Retry_After="100"))
    assert door.admission.bucket.tokens(door.steady) == 20
    door.at = 100.0
    door.answer(ok())
    assert door.admission.bucket.tokens(door.steady) == 0


def test_a_changed_key_is_tried_at_once(door: Door) -> None:
    door.reject_key()
    assert door.circuit() == Circuit(False, door.steady + 60, Probe.CONTROL)
    door.at = 10.0
    door.key_version = 2
    assert door.circuit() == Circuit(False, door.steady, Probe.CONTROL)
    door.at = 20.0
    assert door.circuit().probe_at <= door.steady
    door.answer_control(error(401))
    assert door.circuit().probe_at == door.steady + 60  # the new key is refused as well


def test_a_changed_key_is_tried_although_the_old_one_is_refused_meanwhile(door: Door) -> None:
    door.reject_key()
    door.key_version = 2
    door.admission.note(answered("a"), error(401), now(door.at), None, None)  # sent before
    assert door.circuit().probe_at <= door.steady


def test_a_changed_key_changes_nothing_while_polls_go_through(door: Door) -> None:
    door.answer(ok())
    door.key_version = 2
    assert door.circuit() == Circuit(True)


def test_behind_a_rejected_key_the_wait_is_short_enough_to_see_a_new_one(door: Door) -> None:
    far = door.steady + 60
    assert door.admission.wait_until(Circuit(True), far, door.steady) == far
    door.reject_key()
    wait = door.admission.wait_until(door.circuit(), far, door.steady)
    assert wait == door.steady + KEY_CHECK_SECONDS
    soon = door.steady + KEY_CHECK_SECONDS / 2
    assert door.admission.wait_until(door.circuit(), soon, door.steady) == soon
    by_poll = Circuit(False, far, Probe.POLL)
    assert door.admission.wait_until(by_poll, far, door.steady) == far


def test_a_machine_that_cannot_ask_waits_and_logs_it_once(door: Door) -> None:
    door.answer(ok())
    assert door.admission.unable_until == -math.inf
    with capture_logs() as logs:
        door.answer(unasked("not_asked", "Too many open files"))
        assert door.admission.unable_until == door.steady + Polling().min_interval
        door.at = 1.0
        door.answer(
            unasked("not_asked", "Too many open files")
        )  # asked together with the one before
        assert door.admission.unable_until == door.steady + 1.0
        door.at = 2.0
        door.answer(unasked("not_asked", "Too many open files"))
        assert door.admission.unable_until == door.steady + Polling().min_interval
    assert [(line["event"], line["error"]) for line in logs] == [
        ("this machine cannot ask the upstream", "Too many open files")
    ]
    assert door.health.state == "well"
    door.answer(ok())
    assert door.admission.unable_until == -math.inf
    with capture_logs() as logs:
        door.answer(unasked("not_asked", "Too many open files"))
    assert len(logs) == 1  # another time that it cannot


def test_a_reload_takes_effect_at_once(door: Door) -> None:
    door.reject_key()
    door.config = PollingConfig(
        Limits(rate=4.0, burst=3, heartbeat=7.0),
        replace(Polling(), key_retry=5.0, max_interval=8.0, max_retry_after=8.0),
        replace(Judgement(), outage_jobs=2),
    )
    door.admission.reconfigure(door.steady)
    assert (door.admission.bucket.full_rate, door.admission.bucket.burst) == (4.0, 3)
    assert door.admission.bucket.tokens(door.steady) == 3
    assert door.health.heartbeat == 7.0
    assert door.health.rules.outage_jobs == 2
    assert door.circuit().probe_at <= door.steady + 8.0


@pytest.mark.parametrize("reply", [ok(), error(404), error(422), error(500)])
def test_only_a_429_slows_the_rate(door: Door, reply: Reply) -> None:
    assert reply.kind is not Kind.THROTTLED
    door.answer(reply)
    assert door.bucket_rate == 10.0
