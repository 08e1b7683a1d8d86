"""How long a row chance would make: the bound, the slots, and what two replicas add up to."""

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Judgement, answered, error, job, now, ok

from exporter.core.health.chance import Share, run_length
from exporter.core.health.counts import (
    KEPT_SECONDS,
    MODES_A_SLOT,
    MOST_JOBS,
    AnswerShares,
    RecentAnswers,
)
from exporter.core.health.evidence import TELLS_NOTHING, Evidence, rank_for_probe, sort_of
from exporter.core.health.witnesses import MOST_WITNESSES, Witnesses
from exporter.core.job import Job, JobState, Suspicion
from exporter.core.reply import Kind, Reply


@pytest.mark.parametrize("bad", [0, 1, 3, 20, 50])
@pytest.mark.parametrize("more", [1, 10, 300])
def test_the_bound_is_that_of_clopper_and_pearson(bad: int, more: int) -> None:
    """At the bound so few failures come with a probability of 5 %."""
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
    assert len(shares.as_data()) <= KEPT_SECONDS / 5 + 2
    shares.add("a", bad=False, at=5)  # too late to count
    assert len(shares.as_data()) <= KEPT_SECONDS / 5 + 2


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        st.sampled_from([ok(), ok("done"), error(500), error(404), error(418), error(200)]),
        st.sampled_from([None, "params", "clipping"]),
        st.sampled_from([0.0, 0.5, 7.0, 40.0]),
    ),
    max_size=25,
)


def told(evidence: Evidence, answers: list[Any], start: float = 0.0) -> Evidence:
    """Let answers come, each some seconds after the one before."""
    at = start
    for name, reply, mode, later in answers:
        at += later
        evidence.take(reply, now(at), answered(name, mode=mode), Judgement())
        if reply.http_status == 404:
            evidence.witnesses.remember_weak(f"said {at}", at, has_data=mode == "params")
    return evidence


def merged(*parts: Evidence) -> dict[str, Any]:
    """Merge into an empty one, so that nothing is changed."""
    whole = Evidence()
    for part in parts:
        whole.merge(part)
    return whole.as_dict(0.0)


@given(ANSWERS, ANSWERS, ANSWERS)
def test_merging_is_commutative_associative_and_idempotent(
    first: list[Any], second: list[Any], third: list[Any]
) -> None:
    one, two, three = (
        told(Evidence(replica), answers)
        for replica, answers in zip("xyz", (first, second, third), strict=True)
    )
    assert merged(one, two) == merged(two, one)
    left, right = Evidence(), Evidence()
    for whole, parts in ((left, (one, two)), (right, (two, three))):
        for part in parts:
            whole.merge(part)
    assert merged(left, three) == merged(one, right)
    assert merged(one, two, one, left) == merged(one, two)


@given(ANSWERS, ANSWERS)
def test_an_older_state_of_a_replica_adds_nothing_to_its_newer_one(
    before: list[Any], since: list[Any]
) -> None:
    older, newer = told(Evidence("x"), before), told(Evidence("x"), before)
    told(newer, since, start=sum(later for *_, later in before))
    assert merged(newer, older)["shares"] == newer.as_dict(0.0)["shares"]


@given(ANSWERS)
def test_as_plain_data_it_goes_through_json_and_comes_back_equal(answers: list[Any]) -> None:
    data = told(Evidence("x"), answers).as_dict(1500.0)
    back = Evidence.from_dict(json.loads(json.dumps(data)), 1500.0)
    assert back.as_dict(1500.0) == data
    later = Evidence.from_dict(data, 1700.0).as_dict(1700.0)
    assert [at - 200 for at, *_ in later["recent"]] == [at for at, *_ in data["recent"]]
    assert later["shares"] == data["shares"]


@given(ANSWERS, ANSWERS)
def test_two_replicas_know_together_what_one_would_have_known(
    mine: list[Any], theirs: list[Any]
) -> None:
    theirs = [(name.upper(), reply, mode, later) for name, reply, mode, later in theirs]
    one, two, both = told(Evidence("x"), mine), told(Evidence("y"), theirs), Evidence("x")
    moments = [
        (sum(later for *_, later in answers[: at + 1]), answer)
        for answers in (mine, theirs)
        for at, answer in enumerate(answers)
    ]
    for at, (name, reply, mode, _) in sorted(moments, key=lambda moment: moment[0]):
        both.take(reply, now(at), answered(name, mode=mode), Judgement())
    one.merge(Evidence.from_dict(json.loads(json.dumps(two.as_dict(5.0))), 5.0))
    end = now(max((at for at, _ in moments), default=0.0)).steady
    for known in (one, both):
        known.recent.prune(end - 60)
    assert one.mostly_bad(Judgement()) == both.mostly_bad(Judgement())
    assert one.witnessed() == both.witnessed()
    for mode in (None, "params", "clipping"):
        assert one.shares.share(10.0, mode) == both.shares.share(10.0, mode)
        assert one.mode_in_trouble(mode, Judgement()) == both.mode_in_trouble(mode, Judgement())
        judged = answered("a", mode=mode)
        found, wanted = one.witnesses.strong(judged, 5), both.witnesses.strong(judged, 5)
        assert (found is None) is (wanted is None)


@pytest.mark.parametrize(
    "data", [{}, [], {"steady": "x"}, {"steady": 1.0, "recent": [[1]]}, {"steady": 1.0, "lost": 5}]
)
def test_what_is_no_evidence_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="this is no evidence"):
        Evidence.from_dict(data, 0.0)


def test_however_much_is_answered_little_is_kept() -> None:
    evidence = Evidence("x")
    for number in range(20_000):
        mode = f"mode{number}"
        reply = error(500) if number % 2 else ok()
        evidence.take(reply, now(number / 10), answered(f"job{number}", mode=mode), Judgement())
    data = evidence.as_dict(0.0)
    kept = {name: len(data[name]) for name in ("recent", "lost", "suspects", "shares")}
    assert kept == {"recent": 601, "lost": 1000, "suspects": 1000, "shares": 400 * MODES_A_SLOT}
    assert len(evidence.witnesses) == MOST_WITNESSES
    assert len(evidence.suspects._counts) == MOST_JOBS
    doubled = Evidence("y")
    doubled.merge(evidence)
    assert doubled.as_dict(0.0) == data


def test_a_good_answer_takes_a_job_out_of_the_suspects() -> None:
    evidence = Evidence()
    for name in "abcde":
        evidence.take(error(500), now(0), answered(name, mode="params"), Judgement())
    assert evidence.mode_in_trouble("params", Judgement())
    assert not evidence.mode_in_trouble("clipping", Judgement())
    evidence.take(ok(), now(1), answered("a", mode="params"), Judgement())
    assert not evidence.mode_in_trouble("params", Judgement())


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


def test_a_mode_that_the_answer_tells_counts_for_a_job_that_had_none() -> None:
    evidence = Evidence()
    evidence.take(ok(mode="params"), now(9), answered(mode=None), Judgement())
    assert evidence.shares.share(0.0, "params") == Share(0, 1)
    assert evidence.witnesses.strong(answered("b", mode="params"), 0.0) == answered().job_id


def test_time_is_counted_in_slots_of_five_seconds() -> None:
    shares = AnswerShares("x")
    for at in (0.0, 4.9, 5.0, 9.9, 10.0):
        shares.add("a", bad=False, at=at)
    assert shares.as_data() == [[0, "x", "a", 0, 2], [1, "x", "a", 0, 2], [2, "x", "a", 0, 1]]
    assert shares.share(9.9) == Share(0, 3)


def test_shares_are_kept_for_an_hour_before_the_newest() -> None:
    shares = AnswerShares()
    for at in (0.0, 5.0, 3604.9):
        shares.add(None, bad=False, at=at)
    assert shares.share(0.0) == Share(0, 3)
    shares.add(None, bad=False, at=3605.0)
    assert shares.share(0.0) == Share(0, 3)


def test_more_modes_than_are_counted_apart_count_with_those_of_none() -> None:
    shares = AnswerShares("x")
    for number in range(MODES_A_SLOT + 7):
        shares.add(f"mode{number}", bad=False, at=1.0)
    shares.add("mode0", bad=True, at=1.0)
    shares.add(None, bad=False, at=1.0)
    assert shares.share(0.0) == Share(1, MODES_A_SLOT + 9)
    assert shares.share(0.0, "mode0") == Share(1, 2)
    assert shares.share(0.0, f"mode{MODES_A_SLOT}") == Share(0, 0)
    assert [0, "x", "", 0, 8] in shares.as_data()


def test_jobs_of_no_mode_in_trouble_are_in_trouble_together() -> None:
    evidence = Evidence()
    for name in "abcde":
        evidence.take(error(500), now(0), answered(name, mode=None), Judgement())
    assert evidence.mode_in_trouble(None, Judgement())
    assert [sort for *_, sort in evidence.as_dict(0.0)["suspects"]] == [""] * 5


def test_exactly_the_share_of_lost_jobs_is_enough() -> None:
    evidence = Evidence()
    for number in range(25):
        reply = error(404) if number < 5 else ok()
        evidence.take(reply, now(0), answered(f"job{number}"), Judgement())
    assert evidence.jobs_lost(now(0), Judgement())
    evidence.take(ok(), now(0), answered("one more"), Judgement())
    assert not evidence.jobs_lost(now(0), Judgement())


def test_with_no_5xx_there_is_no_own_one_to_take_out() -> None:
    evidence = Evidence()
    evidence.take(ok(), now(0), answered("a"), Judgement())
    assert evidence.share_of_errors(answered("b"), 0.0, of_mode=False) == Share(0, 1)


def test_a_witness_counts_from_the_very_time_on_and_the_newest_is_named() -> None:
    witnesses = Witnesses()
    assert witnesses.weak(0.0, alone=True) is None
    witnesses.remember(answered("z", mode=None), None, 5.0)
    witnesses.remember(answered("y", mode="params"), None, 6.0)
    assert witnesses.strong(answered("b"), 6.0) == "y"
    assert witnesses.strong(answered("b"), 6.1) is None
    assert witnesses.weak(6.0, alone=False) == "job y of mode params was answered 2xx"
    assert witnesses.weak(6.1, alone=True) is None
    witnesses.remember(answered("x", mode=None), None, 7.0)
    assert witnesses.weak(6.0, alone=False) == "job x of mode unknown was answered 2xx"
    witnesses.remember_weak("a sign", 6.5, has_data=True)
    assert witnesses.weak(6.5, alone=False) == "a sign"
    assert witnesses.weak(6.6, alone=False) == "job x of mode unknown was answered 2xx"
    witnesses.remember_weak("a weaker one", 8.0, has_data=False)
    assert witnesses.weak(6.6, alone=True) == "job x of mode unknown was answered 2xx"
    assert witnesses.weak(8.0, alone=True) == "a weaker one"
    assert witnesses.weak(8.1, alone=True) is None
    assert witnesses.weak(8.0, alone=False) is None
    assert witnesses.as_data()[2] == [[5.0, "z", ""], [6.0, "y", "params"], [7.0, "x", ""]]


def test_of_a_mode_the_two_newest_witnesses_are_kept() -> None:
    witnesses = Witnesses()
    for name, at in (("a", 3.0), ("c", 1.0), ("b", 2.0), ("a", 1.5)):
        witnesses.remember(answered(name, mode="m"), None, at)
    assert witnesses.as_data()[2] == [[2.0, "b", "m"], [3.0, "a", "m"]]


def test_a_mode_without_witnesses_is_forgotten() -> None:
    witnesses = Witnesses()
    for number in range(MOST_WITNESSES + 10):
        witnesses.remember(answered("a", mode=f"mode{number}"), None, float(number))
    kept = [mode for *_, mode in witnesses.as_data()[2]]
    assert kept == [f"mode{number}" for number in range(10, MOST_WITNESSES + 10)]
    assert len(witnesses._by_mode) == MOST_WITNESSES


def test_the_newest_jobs_are_kept_whichever_sort_they_are_of() -> None:
    one, two = RecentAnswers(), RecentAnswers()
    for number in range(MOST_JOBS):
        one.add(f"one{number}", "good", float(number), 1e9)
        two.add(f"two{number}", "bad", number + 0.5, 1e9)
    one.merge(two)
    assert len(one) == MOST_JOBS
    assert (one.count("good"), one.count("bad")) == (MOST_JOBS // 2, MOST_JOBS // 2)
    assert "one499" not in one
    assert "one500" in one
    same = RecentAnswers()
    for name in ("z", "y", *(f"job{number}" for number in range(MOST_JOBS - 1))):
        same.add(name, "good", 1.0, 1e9)
    same.merge(RecentAnswers())
    assert "z" not in same  # put out when the limit was reached, the first to come
    assert "y" in same


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
    assert rank == (2 if old else run is not None and run.kind is Kind.SERVER_ERROR)
    assert evidence.take(error(500), now(100), subject, Judgement()) == (
        "old news" if old else "bad"
    )
    assert len(evidence.recent) == (not old)
    other = evidence.take(ok(), now(101), subject, Judgement())
    assert other == ("witness" if subject.pending else "well")
    assert len(evidence.recent) == 1


@pytest.mark.parametrize(
    ("subject", "rank"),
    [
        (job(), 0),
        (answered(), 0),
        (answered(setbacks=1), 1),
        (answered(suspicion=Suspicion(Kind.SERVER_ERROR, 1, 99.0, 99.0, 500)), 1),
        (answered(suspicion=Suspicion(Kind.SERVER_ERROR, 1, 0.0, 99.0, 500)), 2),
        (answered(state=JobState.FAILED), 2),
        (job(suspicion=Suspicion(Kind.NOT_FOUND, 1, 99.0, 99.0, 404)), TELLS_NOTHING),
        (answered(suspicion=Suspicion(Kind.INVALID, 1, 99.0, 99.0, 422)), TELLS_NOTHING),
    ],
)
def test_who_tells_most_of_the_upstream_makes_the_trial(subject: Job, rank: int) -> None:
    assert rank_for_probe(subject, 100.0, Judgement()) == rank


def test_of_answers_of_the_same_time_the_same_are_kept_whoever_merges() -> None:
    one, two = RecentAnswers(), RecentAnswers()
    for number in range(700):
        one.add(f"job{number:04}", "good", 1.0, 1e9)
        two.add(f"job{2000 - number:04}", "good", 1.0, 1e9)
    here, there = RecentAnswers(), RecentAnswers()
    for whole, parts in ((here, (one, two)), (there, (two, one))):
        for part in parts:
            whole.merge(part)
    assert here.as_data() == there.as_data()
    assert len(here) == MOST_JOBS


def test_of_two_witnesses_of_a_mode_the_older_may_be_dropped_alone() -> None:
    witnesses = Witnesses()
    witnesses.remember(answered("old", mode="m"), None, 0.0)
    witnesses.remember(answered("new", mode="m"), None, 5000.0)
    for number in range(MOST_WITNESSES - 1):
        witnesses.remember(answered("a", mode=f"mode{number}"), None, float(1 + number))
    assert len(witnesses) == MOST_WITNESSES
    assert next(at for at, *_ in witnesses.as_data()[2]) == 1.0
    assert witnesses.strong(answered("b", mode="m"), 0.0) == "new"
