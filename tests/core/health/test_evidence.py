"""How long a run chance would make: the bound, the slots, the witnesses."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import START, Judgement, Polling, answered, error, job, now, ok

from exporter.core.health.chance import Share, run_length
from exporter.core.health.control import ControlTarget
from exporter.core.health.counts import (
    KEPT_SECONDS,
    MODES_A_SLOT,
    MOST_JOBS,
    AnswerShares,
    RecentAnswers,
)
from exporter.core.health.evidence import (
    TELLS_NOTHING,
    Evidence,
    rank_for_probe,
    served_at,
    sort_of,
)
from exporter.core.health.origin import Origin
from exporter.core.health.turned import MOST_TURNS
from exporter.core.health.witnesses import MOST_WITNESSES, Sign, Streak, Witnesses
from exporter.core.job import Job, JobState, Suspicion
from exporter.core.reply import Kind, Reply


@pytest.mark.parametrize("bad", [0, 1, 3, 20, 50])
@pytest.mark.parametrize("more", [1, 10, 300])
def test_the_bound_is_that_of_clopper_and_pearson(bad: int, more: int) -> None:
    """At the bound, no more failures than these come with a probability of 5 %."""
    answers = bad + more
    bound = Share(bad, answers).upper_bound()
    chance = sum(
        math.comb(answers, failures) * bound**failures * (1 - bound) ** (answers - failures)
        for failures in range(bad + 1)
    )
    assert chance == pytest.approx(0.05, abs=1e-6)


def test_where_nothing_speaks_for_the_service_nothing_is_known() -> None:
    assert Share(0, 0).upper_bound() == Share(4, 4).upper_bound() == 1.0


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_the_bound_lies_above_the_share_and_rises_with_it(bad: int, more: int) -> None:
    answers = bad + more
    bound = Share(bad, answers).upper_bound()
    assert bad / answers <= bound <= 1.0
    assert bound <= Share(bad + 1, answers).upper_bound() + 0.004  # where the methods meet


def test_many_failures_are_bounded_as_few_are() -> None:
    exact = Share(50, 400).upper_bound()
    normal = Share(51, 408).upper_bound()
    assert normal == pytest.approx(exact, abs=0.003)


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng = random.Random(1)
    for true in (0.02, 0.3, 0.7):
        held = 0
        for _ in range(400):
            bad = sum(rng.random() < true for _ in range(60))
            held += Share(bad, 60).upper_bound() >= true
        assert held / 400 >= 0.93


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (Share(0, 0), None),
        (Share(3, 3), None),
        (Share(0, 10_000), 3),
        (Share(0, 100), 6),
        (Share(0, 10), 16),
        (Share(100, 300), 22),
    ],
)
def test_the_row_is_as_long_as_chance_demands(share: Share, expected: int | None) -> None:
    assert run_length(share, 1e-9, 3) == expected


def test_a_row_of_that_length_is_as_improbable_as_asked() -> None:
    share = Share(10, 100)
    length = run_length(share, 1e-9, 3)
    assert length is not None
    bound = share.upper_bound()
    assert bound**length < 1e-9 <= bound ** (length - 1)


def test_answers_are_counted_by_mode_and_since_a_time() -> None:
    shares = AnswerShares()
    shares.add("a", bad=True, at=1)
    shares.add("a", bad=False, at=12)
    shares.add("b", bad=False, at=13)
    shares.add(None, bad=True, at=14)
    assert shares.share(0) == Share(2, 4)
    assert shares.share(10) == Share(1, 3)
    assert shares.share(0, "a") == Share(1, 2)
    assert shares.share(100) == Share(0, 0)


def test_what_is_old_is_dropped() -> None:
    shares = AnswerShares()
    for at in range(0, 20_000, 5):
        shares.add("a", bad=False, at=at)
    assert KEPT_SECONDS / 5 <= shares.share(0).answers <= KEPT_SECONDS / 5 + 2
    assert len(shares._slots) <= KEPT_SECONDS / 5 + 2
    shares.add("a", bad=False, at=5)  # too late to count
    assert len(shares._slots) <= KEPT_SECONDS / 5 + 2


def test_however_much_is_answered_little_is_kept() -> None:
    evidence = Evidence()
    for number in range(20_000):
        mode = f"mode{number}"
        reply = error(500) if number % 2 else ok()
        evidence.take(reply, now(number / 10), answered(f"job{number}", mode=mode), Judgement())
    kept = len(evidence.recent), len(evidence.lost), len(evidence.suspects)
    assert kept == (601, MOST_JOBS, MOST_JOBS)
    assert sum(map(len, evidence.shares._slots.values())) == 400 * MODES_A_SLOT
    assert len(evidence.witnesses) == MOST_WITNESSES
    assert evidence.suspects.count("bad") == MOST_JOBS


def test_the_turns_kept_are_bounded() -> None:
    evidence = Evidence()
    for number in range(MOST_TURNS + 10):
        evidence.take(error(500), now(0), answered(f"job{number}"), Judgement())
    assert len(evidence.turned) == MOST_TURNS


@pytest.mark.parametrize("reply", [ok(), error(404), error(418)])
def test_any_other_answer_takes_a_job_out_of_the_suspects(reply: Reply) -> None:
    evidence = Evidence()
    for name in "abcde":
        evidence.take(error(500), now(0), answered(name), Judgement())
    assert evidence.many_suspects(Judgement())
    evidence.take(reply, now(1), answered("a"), Judgement())
    assert not evidence.many_suspects(Judgement())


def test_a_decided_job_is_neither_a_suspect_nor_turned() -> None:
    evidence = Evidence()
    for name in "abcde":
        evidence.take(error(500), now(0), answered(name), Judgement())
    evidence.decided("a")
    assert not evidence.many_suspects(Judgement())
    assert len(evidence.turned) == 4


def test_a_failed_job_that_fails_again_is_no_suspect() -> None:
    evidence = Evidence()
    for name in "abcde":
        evidence.take(error(500), now(0), answered(name, state=JobState.FAILED), Judgement())
    assert (len(evidence.suspects), len(evidence.turned)) == (0, 0)


@pytest.mark.parametrize(
    ("reply", "asked", "sort"),
    [
        (error(500), answered(), "bad"),
        (error(200), answered(), "bad"),
        (ok(), answered(), "witness"),
        (ok(), answered(state=JobState.FAILED), "well"),
        (error(404), answered(), "lost"),
        (error(422), answered(), "lost"),
        (error(404), job(), "unknown id"),
        (error(422), job(), "unknown id"),
        (error(418), answered(), "bad"),
        (error(302), job(), "bad"),
    ],
)
def test_each_answer_says_of_the_upstream_what_the_designs_table_says(
    reply: Reply, asked: Job, sort: str
) -> None:
    assert sort_of(reply.kind, asked) == sort


def test_answers_for_a_suspected_job_do_not_count_in_the_shares() -> None:
    evidence = Evidence()
    run = Suspicion(Kind.SERVER_ERROR, 2, 0.0, 5.0, 500)
    evidence.take(error(500), now(9), answered(suspicion=run), Judgement())
    assert evidence.shares.share(0.0) == Share(0, 0)
    evidence.take(error(500), now(9), answered(), Judgement())
    assert evidence.shares.share(0.0) == Share(1, 1)


def test_the_recheck_of_a_failed_job_does_not_count_in_the_shares() -> None:
    evidence = Evidence()
    evidence.take(error(500), now(9), answered(state=JobState.FAILED), Judgement())
    assert evidence.shares.share(0.0) == Share(0, 0)
    evidence.take(ok("done"), now(9), answered(state=JobState.DONE), Judgement())
    assert evidence.shares.share(0.0) == Share(0, 1)


def test_the_good_answer_of_a_suspected_job_does_not_count_in_the_shares() -> None:
    evidence = Evidence()
    run = Suspicion(Kind.SERVER_ERROR, 2, 0.0, 5.0, 500)
    evidence.take(ok(), now(9), answered(suspicion=run), Judgement())
    assert evidence.shares.share(0.0) == Share(0, 0)


def test_a_mode_that_the_answer_tells_counts_for_a_job_that_had_none() -> None:
    evidence = Evidence()
    evidence.take(ok(mode="params"), now(9), answered(mode=None), Judgement())
    assert evidence.shares.share(0.0, "params") == Share(0, 1)
    assert evidence.witnesses.strong(answered("b", mode="params"), 0.0) == answered().job_id


def test_time_is_counted_in_slots_of_five_seconds() -> None:
    shares = AnswerShares()
    for at in (0.0, 4.9, 5.0, 9.9, 10.0):
        shares.add("a", bad=False, at=at)
    assert shares._slots == {0: {"a": (0, 2)}, 1: {"a": (0, 2)}, 2: {"a": (0, 1)}}
    assert shares.share(9.9) == Share(0, 3)


def test_shares_are_kept_for_an_hour_before_the_newest() -> None:
    shares = AnswerShares()
    for at in (0.0, 5.0, 3604.9):
        shares.add(None, bad=False, at=at)
    assert shares.share(0.0) == Share(0, 3)
    shares.add(None, bad=False, at=3605.0)
    assert shares.share(0.0) == Share(0, 3)


def test_a_late_answer_of_the_oldest_slot_that_is_kept_counts() -> None:
    shares = AnswerShares()
    shares.add(None, bad=False, at=3600.0)
    shares.add(None, bad=False, at=0.0)
    assert shares.share(0.0) == Share(0, 2)


def test_more_modes_than_are_counted_apart_count_with_those_of_none() -> None:
    shares = AnswerShares()
    for number in range(MODES_A_SLOT + 7):
        shares.add(f"mode{number}", bad=False, at=1.0)
    shares.add("mode0", bad=True, at=1.0)
    shares.add(None, bad=False, at=1.0)
    assert shares.share(0.0) == Share(1, MODES_A_SLOT + 9)
    assert shares.share(0.0, "mode0") == Share(1, 2)
    assert shares.share(0.0, f"mode{MODES_A_SLOT}") == Share(0, 0)
    assert shares._slots[0][""] == (0, 8)


def test_exactly_the_share_of_lost_jobs_is_enough() -> None:
    evidence = Evidence()
    for number in range(25):
        reply = error(404) if number < 5 else ok()
        evidence.take(reply, now(0), answered(f"job{number}"), Judgement())
    assert evidence.jobs_lost(now(0), Judgement())
    evidence.take(ok(), now(0), answered("one more"), Judgement())
    assert not evidence.jobs_lost(now(0), Judgement())


def test_one_bad_answer_is_an_outage_where_one_job_is_enough() -> None:
    evidence = Evidence()
    evidence.take(error(500), now(0), answered("a"), Judgement())
    assert evidence.mostly_bad(Judgement(outage_jobs=1))
    assert not evidence.mostly_bad(Judgement(outage_jobs=2))


def test_with_no_5xx_there_is_no_own_one_to_take_out() -> None:
    evidence = Evidence()
    evidence.take(ok(), now(0), answered("a"), Judgement())
    assert evidence.share_of_errors(answered("b"), 0.0, of_mode=False) == Share(0, 1)


def test_a_strong_witness_counts_from_its_very_time_and_the_newest_is_named() -> None:
    witnesses = Witnesses()
    assert witnesses.strong(answered("b"), 0.0) is None
    witnesses.remember("z", None, 5.0, 180.0)
    witnesses.remember("y", "params", 6.0, 180.0)
    assert witnesses.strong(answered("b"), 6.0) == "y"
    assert witnesses.strong(answered("b"), 6.1) is None
    assert witnesses.strong(answered("y"), 5.0) == "z"


def suspicion(since: float, until: float) -> Suspicion:
    return Suspicion(Kind.SERVER_ERROR, 5, since, until, 500)


def test_a_weak_witness_is_one_that_was_served_lately() -> None:
    evidence = Evidence()
    assert evidence.weak_witness(suspicion(0, 100), Judgement()) is None
    evidence.remember_control("old", 100.0, Judgement())
    found = evidence.weak_witness(suspicion(100, 280), Judgement())
    assert found is not None
    assert str(found.sign) == "the finished job old was answered 2xx again"
    assert evidence.weak_witness(suspicion(100, 280.1), Judgement()) is None
    assert evidence.weak_witness(suspicion(100.1, 150), Judgement()) is None


def test_a_random_id_is_the_weakest_witness_and_only_for_a_job_suspected_alone() -> None:
    evidence = Evidence()
    evidence.remember_control(None, 100.0, Judgement())
    evidence.take(error(500), now(100), answered("a"), Judgement())
    found = evidence.weak_witness(suspicion(50, 110), Judgement())
    assert found is evidence.witnesses.looked_up
    assert str(found.sign) == "a random id was answered 404"
    assert evidence.weak_witness(suspicion(100, 110), Judgement()) is found
    assert evidence.weak_witness(suspicion(100.1, 110), Judgement()) is None
    evidence.take(error(500), now(100), answered("b"), Judgement())
    assert evidence.weak_witness(suspicion(50, 110), Judgement()) is None
    evidence.remember_control("old", 100.0, Judgement())
    assert evidence.weak_witness(suspicion(50, 110), Judgement()) is evidence.witnesses.served


@pytest.mark.parametrize(("gap", "since"), [(180.0, 0.0), (180.1, 180.1)])
def test_a_long_gap_begins_a_new_streak(gap: float, since: float) -> None:
    streak = Streak()
    streak.grow(Sign("a"), 0.0, 180.0)
    streak.grow(Sign("b"), gap, 180.0)
    assert (streak.since, streak.until, streak.sign) == (since, gap, Sign("b"))


def test_an_earlier_sign_does_not_shorten_a_streak() -> None:
    streak = Streak()
    streak.grow(Sign("a"), 10.0, 180.0)
    streak.grow(Sign("b"), 5.0, 180.0)
    assert (streak.since, streak.until) == (10.0, 10.0)


def test_the_two_newest_witnesses_of_a_mode_are_kept() -> None:
    witnesses = Witnesses()
    for name, at in (("a", 3.0), ("c", 1.0), ("b", 2.0), ("a", 1.5)):
        witnesses.remember(name, "m", at, 180.0)
    assert witnesses._by_mode == {"m": {"a": 3.0, "b": 2.0}}


def test_a_mode_without_witnesses_is_forgotten() -> None:
    witnesses = Witnesses()
    for number in range(MOST_WITNESSES + 10):
        witnesses.remember("a", f"mode{number}", float(number), 180.0)
    assert list(witnesses._by_mode) == [f"mode{number}" for number in range(10, 110)]


def test_the_newest_jobs_are_kept_whichever_sort_they_are_of() -> None:
    recent = RecentAnswers()
    for number in range(MOST_JOBS + 500):
        recent.add(f"job{number}", "good" if number % 2 else "bad", float(number), 1e9)
    assert len(recent) == MOST_JOBS
    assert (recent.count("good"), recent.count("bad")) == (MOST_JOBS // 2, MOST_JOBS // 2)
    assert recent.oldest() == 500.0


def test_without_answers_none_is_the_oldest_or_the_newest() -> None:
    recent = RecentAnswers()
    assert recent.oldest() == math.inf
    recent.add("a", "good", 5.0, 60.0)
    assert recent.newest(("bad",)) == -math.inf
    assert recent.newest(("good", "bad")) == 5.0


def test_a_2xx_that_says_done_counts_as_of_the_poll_before() -> None:
    asked = replace(answered("a"), last_polled_at=START + 40)
    assert served_at(ok(), now(70), asked) == now(70).steady
    assert served_at(ok("done"), now(70), asked) == now(40).steady
    unpolled = job("b", registered_at=START + 50)
    assert served_at(ok("done"), now(70), unpolled) == now(50).steady
    future = replace(answered("c"), last_polled_at=START + 100)
    assert served_at(ok("done"), now(70), future) == now(70).steady
    restored = replace(asked, clock_offset=None)  # of an earlier process
    assert served_at(ok("done"), now(70), restored) == now(40).steady


def test_a_job_whose_end_is_known_is_no_witness_when_it_is_asked_again() -> None:
    evidence = Evidence()
    assert evidence.take(ok("done"), now(1), answered(state=JobState.DONE), Judgement()) == "well"
    assert not evidence.witnessed()
    assert evidence.take(ok("done"), now(2), answered("b"), Judgement()) == "ended"
    assert evidence.witnessed()


def test_a_job_that_ended_is_a_witness_as_of_the_poll_before() -> None:
    evidence = Evidence()
    evidence.take(error(500), now(50), answered("turned"), Judgement())
    asked = replace(answered("a"), last_polled_at=START + 40)
    evidence.take(ok("done"), now(70), asked, Judgement())
    assert len(evidence.turned) == 1  # the other job turned later than that
    assert evidence.strong_witness(answered("b"), 40.0) == "a"
    assert evidence.strong_witness(answered("b"), 40.1) is None


@pytest.mark.parametrize(("served", "found"), [(4, True), (5, False)])
def test_jobs_that_turn_together_are_an_outage_only_if_they_are_most_of_the_pending_ones(
    served: int, *, found: bool
) -> None:
    evidence = Evidence()
    for number in range(served):
        evidence.take(ok(), now(90), answered(f"served{number}"), Judgement())
    for number in range(5):
        asked = replace(
            answered(f"turned{number}", registered_at=START + 10 * number),
            last_polled_at=START + 95,
        )
        evidence.take(error(500), now(100), asked, Judgement())
    assert evidence.turned_together(-math.inf, Judgement(), Polling()) is found


def test_the_wilson_bound_of_many_failures_is_the_books() -> None:
    """Newcombe 1998, method 4 (Wilson with continuity correction), upper limit, z = 1.645."""
    n, bad, z = 1000, 100, 1.6448536269514722
    p = bad / n
    root = math.sqrt(z**2 + (2 - 1 / n) + 4 * p * (n * (1 - p) - 1))
    expected = (2 * n * p + z**2 + 1 + z * root) / (2 * (n + z**2))
    assert Share(bad, n).upper_bound() == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(Share(bad, n)._exact(), abs=5e-4)
    assert Share(999, 1000).upper_bound() <= 1.0
    assert Share(59, 60).upper_bound() <= 1.0


@pytest.mark.parametrize(
    ("subject", "old"),
    [
        (answered("x"), False),
        (answered("x", state=JobState.FAILED), True),
        (answered("x", state=JobState.EXPIRED), False),
        (answered("x", suspicion=Suspicion(Kind.SERVER_ERROR, 9, 40.1, 41.0, 500)), False),
        (answered("x", suspicion=Suspicion(Kind.SERVER_ERROR, 1, 40.0, 40.0, 500)), True),
    ],
)
def test_a_5xx_of_a_job_that_was_like_that_before_tells_nothing_of_the_upstream(
    subject: Job, old: bool
) -> None:
    evidence = Evidence()
    rank = rank_for_probe(subject, 100.0, Judgement())
    run = subject.suspicion
    little = old or not subject.pending
    assert rank == (2 if little else run is not None and run.kind is Kind.SERVER_ERROR)
    assert evidence.take(error(500), now(100), subject, Judgement()) == (
        "old news" if old else "bad"
    )
    assert len(evidence.recent) == (not old)
    other = evidence.take(ok(), now(101), subject, Judgement())
    assert other == ("witness" if subject.pending else "well")
    assert len(evidence.recent) == 1


ERRORS_NOW = Suspicion(Kind.SERVER_ERROR, 1, 99.0, 99.0, 500)
UNKNOWN_BEFORE = Suspicion(Kind.NOT_FOUND, 3, 50.0, 90.0, 404)


@pytest.mark.parametrize(
    ("subject", "rank"),
    [
        (job(), 0),
        (answered(), 0),
        (answered(setbacks=1), 1),
        (answered(suspicion=Suspicion(Kind.SERVER_ERROR, 1, 99.0, 99.0, 500)), 1),
        (answered(suspicion=Suspicion(Kind.SERVER_ERROR, 1, 0.0, 99.0, 500)), 2),
        (answered(state=JobState.FAILED), 2),
        (answered(state=JobState.EXPIRED), 2),
        (job(state=JobState.NOT_FOUND), TELLS_NOTHING),
        (job(suspicion=Suspicion(Kind.NOT_FOUND, 1, 99.0, 99.0, 404)), TELLS_NOTHING),
        (answered(suspicion=Suspicion(Kind.INVALID, 1, 99.0, 99.0, 422)), TELLS_NOTHING),
        (job(suspicion=ERRORS_NOW, other_runs=(UNKNOWN_BEFORE,)), TELLS_NOTHING),
    ],
)
def test_the_job_that_says_most_about_the_upstream_is_the_probe(subject: Job, rank: int) -> None:
    assert rank_for_probe(subject, 100.0, Judgement()) == rank


def test_of_two_witnesses_of_a_mode_the_older_may_be_dropped_alone() -> None:
    witnesses = Witnesses()
    witnesses.remember("old", "m", 0.0, 180.0)
    witnesses.remember("new", "m", 5000.0, 180.0)
    for number in range(MOST_WITNESSES - 1):
        witnesses.remember("a", f"mode{number}", float(1 + number), 180.0)
    assert len(witnesses) == MOST_WITNESSES
    assert witnesses._by_mode["mode0"] == {"a": 1.0}
    assert witnesses.strong(answered("b", mode="m"), 0.0) == "new"


def test_a_witness_without_a_mode_is_named_as_of_an_unknown_one() -> None:
    assert str(Sign("a")) == "job a of mode unknown was answered 2xx"


def test_the_bare_request_vouches_for_an_answer_of_the_same_time() -> None:
    origin = Origin()
    origin.note(error(422), 5.0, None, ControlTarget.BARE)
    assert origin.known(5.0)
    assert not origin.known(5.1)
