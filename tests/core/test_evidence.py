"""How long a row chance would make: the bound, the slots, and what two replicas add up to."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.evidence import KEPT_SECONDS, AnswerShares, Share, row_length


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
    assert row_length(share, 1e-9, 3) == expected


def test_a_row_of_that_length_is_as_improbable_as_asked() -> None:
    share = Share(10, 100)
    length = row_length(share, 1e-9, 3)
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
    assert shares.share(0).answers <= KEPT_SECONDS / 5 + 2
    assert len(shares.as_dict()) <= KEPT_SECONDS / 5 + 2


answers = st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.booleans(), st.floats(0, 3000)))


@given(answers, answers)
def test_two_replicas_add_up_and_plain_data_is_the_same(
    mine: list[tuple[str | None, bool, float]], theirs: list[tuple[str | None, bool, float]]
) -> None:
    def made(given: list[tuple[str | None, bool, float]]) -> AnswerShares:
        shares = AnswerShares()
        for mode, bad, at in sorted(given, key=lambda one: one[2]):
            shares.add(mode, bad=bad, at=at)
        return shares

    one, two, both = made(mine), made(theirs), made(mine + theirs)
    one.merge(AnswerShares.from_dict(json.loads(json.dumps(two.as_dict()))))
    for mode in (None, "a", "b"):
        for since in (0.0, 1500.0):
            assert one.share(since, mode) == both.share(since, mode)
