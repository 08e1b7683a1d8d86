"""At the end of a batch: which answers make the upstream `down`, and which prevent it."""

import pytest
from support import Judgement, Polling, answered, error, now, ok, timeout

from exporter.core.health.control import ControlTarget
from exporter.core.health.health import Health, UpstreamState
from exporter.core.job import Suspicion
from exporter.core.reply import Kind, Reply

DOWN, SUSPECT, WELL = UpstreamState.DOWN, UpstreamState.SUSPECT, UpstreamState.WELL


class Evening:
    """An upstream with a finished job, and five that fail."""

    def __init__(self, *, finished: bool = True) -> None:
        self.health = Health(Judgement(), Polling(), steady=1000.0)
        if finished:
            self.health.note(ok("done"), now(0), job=answered("old"))
            self.health.advance(now(61).steady)

    def fails(self, seconds: float, names: str = "abcde") -> UpstreamState:
        for name in names:
            self.health.note(error(500), now(seconds), job=answered(name))
        return self.health.state

    def controls(
        self, reply: Reply, seconds: float, target: ControlTarget = ControlTarget.FINISHED
    ) -> UpstreamState:
        asked = "old" if target is ControlTarget.FINISHED else None
        self.health.note(reply, now(seconds), job=None, target=target, asked=asked)
        return self.health.state


def test_a_finished_job_that_is_served_prevents_down() -> None:
    evening = Evening()
    assert evening.fails(100, "abcd") is WELL
    evening.controls(ok("done"), 100)
    assert evening.fails(101, "e") is SUSPECT
    for seconds in range(102, 160, 5):
        assert evening.fails(seconds) is SUSPECT


def test_its_answer_counts_to_the_end_of_the_window_and_then_another_is_awaited() -> None:
    evening = Evening()
    evening.fails(100, "abcd")
    evening.controls(ok("done"), 100)
    for seconds in (101, 160, 161, 175.5):
        assert evening.fails(seconds) is SUSPECT
    assert evening.fails(176.1) is DOWN


def test_its_answer_is_awaited_for_fifteen_seconds() -> None:
    evening = Evening()
    assert evening.fails(100) is SUSPECT
    assert evening.health.next_control() == now(100).steady
    assert evening.fails(115) is SUSPECT
    assert evening.fails(115.1) is DOWN


def test_a_control_without_an_answer_does_not_lengthen_the_wait() -> None:
    evening = Evening()
    assert evening.fails(100) is SUSPECT
    evening.controls(timeout(), 110)
    assert evening.fails(115.1) is DOWN


def test_a_finished_job_that_fails_is_an_outage_at_once() -> None:
    evening = Evening()
    assert evening.fails(100) is SUSPECT
    assert evening.controls(error(500), 100.5) is DOWN


def test_an_answer_from_before_the_jobs_turned_does_not_count() -> None:
    evening = Evening()
    evening.controls(ok("done"), 99)
    evening.fails(100)
    assert evening.fails(115.1) is DOWN


def test_an_answer_older_than_a_minute_does_not_count() -> None:
    evening = Evening()
    evening.fails(100, "abcd")
    evening.controls(ok("done"), 100)
    assert evening.fails(150, "e") is SUSPECT
    assert evening.fails(160, "fghij") is SUSPECT  # exactly a minute
    assert evening.fails(161, "klmno") is SUSPECT  # another is awaited
    assert evening.fails(176.1, "pqrst") is DOWN


def test_an_unknown_id_that_is_looked_up_does_not_prevent_down() -> None:
    evening = Evening(finished=False)
    evening.fails(100, "abcd")
    evening.controls(error(404), 100, ControlTarget.RANDOM)
    assert evening.fails(101, "e") is DOWN


def test_where_finished_jobs_are_not_asked_about_none_is_awaited() -> None:
    evening = Evening()
    evening.health.rules = Judgement(control=("random", "bare"))
    assert evening.fails(100) is DOWN


def test_a_bare_request_between_does_not_take_the_finished_jobs_answer_back() -> None:
    evening = Evening()
    evening.fails(100, "abcd")
    evening.controls(ok("done"), 100)
    evening.controls(error(422), 101, ControlTarget.BARE)
    assert evening.fails(116, "e") is SUSPECT


def test_the_control_is_made_when_a_job_turns_bad_and_each_minute_while_it_is_undecided() -> None:
    evening = Evening()
    evening.fails(100, "a")
    assert evening.health.next_control() == now(100).steady
    evening.controls(ok("done"), 101)
    run = Suspicion(Kind.SERVER_ERROR, 1, 100.0, 100.0, 500)
    evening.health.note(error(500), now(105), job=answered("a", suspicion=run))
    assert evening.health.next_control() == now(161).steady
    evening.fails(106, "b")
    assert evening.health.next_control() == now(106).steady


def test_a_job_without_an_answer_has_the_control_request_made() -> None:
    """Otherwise one job that is silent for ever would be an outage of silence."""
    evening = Evening()
    evening.health.note(timeout(), now(100), job=answered("a"))
    assert evening.health.next_control() == now(100).steady
    evening.controls(timeout(), 110)
    evening.health.note(timeout(), now(120), job=answered("a"))
    assert evening.health.next_control() == now(170).steady


@pytest.mark.parametrize("count", [4, 5])
def test_five_jobs_that_turned_and_are_undecided_keep_the_upstream_suspect(count: int) -> None:
    evening = Evening()
    evening.fails(100, "abcde"[:count])
    evening.controls(ok("done"), 101)
    evening.fails(102, "abcde"[:count])
    evening.health.advance(now(1000).steady)
    assert evening.health.state is (SUSPECT if count == 5 else WELL)
