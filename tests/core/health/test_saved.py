"""What outlives a restart of what is known about the upstream."""

import json
import math
from typing import Any

import pytest
from support import Judgement, Polling, answered, error, now, ok, timeout

from exporter.core.health.control import ControlTarget
from exporter.core.health.health import Health, Probe, UpstreamState
from exporter.core.health.saved import BAD, VERSION, SavedHealth, from_data
from exporter.core.health.states import Condition
from exporter.core.reply import Reply

NAMES = "abcde"


def health(polling: Polling | None = None) -> Health:
    return Health(Judgement(), polling or Polling(), steady=1000.0)


def says(subject: Health, reply: Reply, seconds: float, name: str | None = None) -> None:
    """Take in an answer about a job, or of the bare control request."""
    job = None if name is None else answered(name)
    target = ControlTarget.BARE if name is None else None
    subject.note(reply, now(seconds), job=job, target=target)


def restarted(former: Health, seconds: float, polling: Polling | None = None) -> Health:
    """Return what a process knows that begins where the former ended, `seconds` on."""
    data = json.loads(json.dumps(former.saved(now(seconds).steady).as_data()))
    later = health(polling)
    later.resume(from_data(data), now(seconds).steady)
    return later


def is_failing(subject: Health) -> None:
    for name in NAMES:
        says(subject, error(503), 0, name)


def is_silent(subject: Health) -> None:
    for at in range(5):
        says(subject, timeout(), at * 20.0, NAMES[at])


def rejects_the_key(subject: Health) -> None:
    says(subject, error(401), 0, "a")
    says(subject, error(401), 0)


def blocks(subject: Health) -> None:
    says(subject, error(403, b"<html>"), 0, "a")
    says(subject, error(403, b"<html>"), 0)


def throttles(subject: Health) -> None:
    says(subject, error(429, Retry_After="200"), 0, "a")


@pytest.mark.parametrize(
    ("happen", "state", "up", "key_valid"),
    [
        (is_failing, UpstreamState.DOWN, False, None),
        (is_silent, UpstreamState.DOWN, False, None),
        (blocks, UpstreamState.BLOCKED, False, None),
        (rejects_the_key, UpstreamState.KEY_REJECTED, True, False),
        (throttles, UpstreamState.THROTTLED, True, None),
    ],
)
def test_a_bad_state_holds_over_a_restart(
    happen: Any, state: UpstreamState, up: bool, key_valid: bool | None
) -> None:
    former = health()
    happen(former)
    later = restarted(former, 100)
    assert (former.state, later.state) == (state, state)
    assert (later.up, later.key_valid) == (up, key_valid)
    assert not later.circuit().closed


@pytest.mark.parametrize("happen", [is_failing, is_silent, blocks, rejects_the_key])
def test_a_restored_state_is_probed_at_once(happen: Any) -> None:
    former = health()
    happen(former)
    for at in range(20):  # the earlier process had come to probe seldom
        says(former, error(503), 100 + at * 60)
    later = restarted(former, 1250)
    assert former.circuit().probe_at > now(1250).steady
    assert later.circuit().probe_at <= now(1250).steady


@pytest.mark.parametrize(
    ("happen", "probe", "name"),
    [
        (is_failing, Probe.POLL, "a"),
        (is_silent, Probe.POLL, "a"),
        (blocks, Probe.CONTROL, None),
        (rejects_the_key, Probe.CONTROL, None),
        (throttles, Probe.CONTROL, None),
    ],
)
def test_a_good_answer_to_the_probe_ends_a_restored_state(
    happen: Any, probe: Probe, name: str | None
) -> None:
    former = health()
    happen(former)
    later = restarted(former, 300)
    assert later.circuit().probe is probe
    says(later, ok() if name else error(422), 301, name)
    assert later.state is UpstreamState.WELL
    assert later.circuit().closed


@pytest.mark.parametrize("happen", [is_failing, is_silent])
def test_a_bad_answer_to_the_probe_leaves_a_restored_outage(happen: Any) -> None:
    former = health()
    happen(former)
    later = restarted(former, 100)
    says(later, error(503), 101, "a")
    assert later.state is UpstreamState.DOWN
    assert later.circuit().probe_at > now(101).steady


def test_well_is_not_saved_but_that_the_api_ever_answered_is() -> None:
    former = health()
    says(former, ok(), 0, "a")
    assert former.state is UpstreamState.WELL
    later = restarted(former, 10)
    assert later.state is UpstreamState.UNKNOWN
    assert later.circuit().closed
    assert later.origin.served_before
    assert not restarted(health(), 10).origin.served_before


def test_suspect_is_not_saved() -> None:
    former = health()
    says(former, ok(), 0, "witness")
    for name in NAMES:
        says(former, error(500), 1, name)
    assert former.state is UpstreamState.SUSPECT
    assert former.saved(now(2).steady) == SavedHealth(served_before=True)


def test_a_wait_is_saved_as_what_is_left_of_it() -> None:
    former = health()
    throttles(former)
    assert former.saved(now(50).steady).wait == 150.0
    later = restarted(former, 50)
    assert later.circuit().probe_at == now(200).steady
    assert later.saved(now(60).steady).wait == 140.0
    assert former.saved(now(250).steady).wait == 0.0
    assert restarted(former, 250).circuit().probe_at == now(250).steady


def test_a_wait_that_an_outage_asks_for_is_saved_and_the_circuits_own_is_not() -> None:
    former = health()
    is_failing(former)
    says(former, error(503), 1, "a")
    assert former.circuit().probe_at > now(1).steady
    assert former.saved(now(1).steady).wait == 0.0
    says(former, error(503, Retry_After="100"), 10)
    assert former.state is UpstreamState.DOWN
    assert former.saved(now(30).steady).wait == 80.0


def test_a_second_shorter_wait_does_not_shorten_what_is_saved() -> None:
    former = health()
    throttles(former)
    says(former, error(429, Retry_After="20"), 10, "b")
    assert former.saved(now(10).steady).wait == 190.0


def test_a_wait_that_a_changed_key_has_ended_is_not_saved() -> None:
    former = health()
    throttles(former)
    former.try_now(now(20).steady)
    assert former.saved(now(20).steady).wait == 0.0


def test_a_restored_wait_is_no_longer_than_the_config_admits() -> None:
    former = health()
    throttles(former)
    later = restarted(former, 0, Polling(max_retry_after=30.0))
    assert later.circuit().probe_at == now(30).steady


def test_a_wait_goes_on_while_no_exporter_runs() -> None:
    saved = SavedHealth(True, Condition.THROTTLED, 100.0)
    assert saved.later(40.0) == SavedHealth(True, Condition.THROTTLED, 60.0, 40.0)
    assert saved.later(400.0).wait == 0.0
    assert saved.later(-50.0) == saved  # the clock was set back
    assert SavedHealth(turned_ago=5.0).later(40.0).turned_ago == 45.0
    assert saved.without_state() == SavedHealth(served_before=True)


def test_workers_that_died_long_ago_are_believed_no_longer_after_a_restart() -> None:
    later = health()
    later.resume(SavedHealth(True, Condition.STUCK, 0.0, 3600.0), now(0).steady)
    assert later.up is False
    assert later.saved(now(60).steady).turned_ago == 3660.0
    later.advance(now(11 * 3600 - 1).steady)
    assert later.up is False
    later.advance(now(11 * 3600).steady)
    assert later.state is UpstreamState.UNKNOWN


@pytest.mark.parametrize("condition", [None, *sorted(BAD)])
def test_everything_saved_is_read_back(condition: Condition | None) -> None:
    saved = SavedHealth(True, condition, 12.5, 7.25)
    assert from_data(json.loads(json.dumps(saved.as_data()))) == saved


GOOD = SavedHealth(True, Condition.FAILING, 1.0).as_data()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "text",
        {},
        GOOD | {"version": VERSION + 1},
        GOOD | {"served_before": 1},
        GOOD | {"condition": "well"},
        GOOD | {"condition": "nonsense"},
        GOOD | {"condition": ["failing"]},
        GOOD | {"wait": -1.0},
        GOOD | {"wait": math.nan},
        GOOD | {"wait": math.inf},
        GOOD | {"wait": True},
        GOOD | {"wait": "1"},
        GOOD | {"turned_ago": None},
    ],
)
def test_anything_else_is_refused(data: Any) -> None:
    assert from_data(GOOD)
    with pytest.raises(
        ValueError, match=r"^it was written by another version$|expected|never saved"
    ):
        from_data(data)


def test_saved_seconds_are_rounded_to_milliseconds() -> None:
    data = SavedHealth(wait=1.23456, turned_ago=2.34567).as_data()
    assert (data["wait"], data["turned_ago"]) == (1.235, 2.346)
