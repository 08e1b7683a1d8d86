"""Jobs that turned bad: together, as when the workers are dead, or one by one."""

from dataclasses import replace

import pytest
from support import START, Judgement, Polling, answered, job, now

from exporter.core.health.turned import Turned


def turned(
    registered: list[float], gap: float = 5.0, *, served: int | None = None, every: float = 0.0
) -> Turned:
    """Let jobs turn bad from second 100 on; the first `served` of them were served before."""
    found = Turned()
    for number, at in enumerate(registered):
        bad = 100 + number * every
        subject = replace(
            answered(f"job{number}"), registered_at=START + at, last_polled_at=START + bad - gap
        )
        if served is not None and number >= served:
            subject = job(f"job{number}", registered_at=START + at)
        found.add(subject, now(bad))
    return found


def together(found: Turned, after: float = 0.0) -> bool:
    return found.together(after, Judgement(), Polling())


def test_jobs_of_different_ages_that_turn_at_one_moment_turned_together() -> None:
    assert together(turned([0, 10, 20, 30, 40]))


def test_jobs_of_an_earlier_process_are_placed_by_the_present_clocks() -> None:
    found = Turned()
    for number in range(5):
        one = answered(f"job{number}", registered_at=START + 10 * number, clock_offset=None)
        found.add(replace(one, last_polled_at=START + 95), now(100))
    assert found.since == now(100).steady
    assert [turn.registered for turn in found._turns.values()] == [
        now(10 * number).steady for number in range(5)
    ]
    assert {turn.last_good for turn in found._turns.values()} == {now(95).steady}
    assert together(found)


def test_four_jobs_are_too_few() -> None:
    assert not together(turned([0, 10, 20, 30]))


@pytest.mark.parametrize(("served", "found"), [(3, True), (2, False)])
def test_three_of_them_had_been_served(served: int, found: bool) -> None:
    assert together(turned([0, 10, 20, 30, 40], served=served)) is found


@pytest.mark.parametrize(("last", "found"), [(5.0, False), (5.1, True)])
def test_jobs_registered_within_the_time_that_their_answers_leave_open_did_not(
    last: float, found: bool
) -> None:
    assert together(turned([0, 1, 2, 3, last], gap=5.0)) is found


@pytest.mark.parametrize(("last", "found"), [(2.0, False), (2.1, True)])
def test_that_time_is_at_least_two_seconds(last: float, found: bool) -> None:
    assert together(turned([0, 1, 1, 1, last], gap=0.1)) is found


@pytest.mark.parametrize(("setbacks", "known"), [(0, True), (1, False)])
def test_a_job_with_a_setback_leaves_the_moment_open(setbacks: int, known: bool) -> None:
    found = Turned()
    for number in range(5):
        subject = answered(f"job{number}", registered_at=START - 10 * number, setbacks=setbacks)
        found.add(replace(subject, last_polled_at=START + 95), now(100))
    assert together(found) is known


def test_more_than_half_of_an_even_number_had_been_served() -> None:
    rules = Judgement(outage_jobs=6)
    ages = [0.0, 10, 20, 30, 40, 50]
    assert not turned(ages, served=3).together(0.0, rules, Polling())
    assert turned(ages, served=4).together(0.0, rules, Polling())


def test_the_moment_is_open_for_the_median_gap_and_for_two_shortest_intervals() -> None:
    found = turned([0, 10, 20, 30], gap=5.0)
    found.add(replace(answered("silent"), registered_at=START, last_polled_at=START), now(100))
    assert together(found)  # one gap of 100 s among four of 5 s
    few = turned([0, 1, 2, 3, 4], gap=0.1)
    assert not few.together(0.0, Judgement(), Polling(min_interval=3.0))


@pytest.mark.parametrize(("served_at", "left"), [(99.9, 5), (100.0, 4), (104.0, 0)])
def test_a_job_that_is_served_takes_out_the_jobs_that_turned_before(
    served_at: float, left: int
) -> None:
    found = turned([0, 10, 20, 30, 40], every=1.0)
    found.served(1000 + served_at)
    assert len(found) == left


def test_a_decided_job_is_taken_out() -> None:
    found = turned([0, 10, 20, 30, 40])
    found.decided("job1")
    found.decided("unknown")
    assert len(found) == 4
    assert not together(found)


@pytest.mark.parametrize(("ended", "found"), [(99.0, True), (100.0, False)])
def test_an_outage_explains_the_jobs_that_turned_before_its_end(ended: float, found: bool) -> None:
    assert together(turned([0, 10, 20, 30, 40]), after=1000 + ended) is found


def test_the_wall_clock_may_be_set_between_two_turns() -> None:
    """The second group's stamps lie an hour ahead, and so does the clock."""
    found = turned([0, 1, 2])
    for name, at in (("x", 1.0), ("y", 2.0)):
        subject = replace(
            answered(name),
            registered_at=START + 3600 + at,
            last_polled_at=START + 3600 + 95,
            clock_offset=START + 3600 - 1000,
        )
        found.add(subject, now(100))
    assert not together(found)


def test_a_job_that_was_never_served_has_no_last_good_answer() -> None:
    found = Turned()
    for number in range(5):
        stamps = {"registered_at": START - 10 * number, "last_polled_at": START + 95}
        found.add(job(f"job{number}", **stamps), now(100))
    assert not together(found)


def test_since_is_when_the_first_turned() -> None:
    assert Turned().since == float("-inf")
    assert turned([0, 1], every=3.0).since == 1100.0
