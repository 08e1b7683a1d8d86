"""When an answer in memory is given again, and when the upstream is asked."""

import math

import pytest

from exporter.core.freshness import (
    Forward,
    Serve,
    cool_down,
    forward,
    fresh_for,
    serve,
    serve_unanswered,
)


class Rules:
    max_age = 2.0
    max_stale = 300.0


@pytest.mark.parametrize(
    ("age", "is_due", "can_ask", "may_wait", "what"),
    [
        (None, False, True, True, Serve.ASK),
        (None, False, False, True, Serve.ASK),
        (None, False, False, False, Serve.NOTHING),
        (2.0, False, True, True, Serve.FRESH),
        (2.0, False, False, False, Serve.FRESH),
        (2.1, False, True, True, Serve.ASK),
        (2.1, False, False, True, Serve.STALE),
        (300.0, False, False, False, Serve.STALE),
        (300.1, False, False, False, Serve.NOTHING),
        (300.1, False, False, True, Serve.ASK),
        # The job's own poll is due: the client's question takes its place.
        (0.5, True, True, True, Serve.ASK),
        (0.5, True, False, True, Serve.FRESH),
        (2.0, True, False, True, Serve.FRESH),
        (2.1, True, False, True, Serve.STALE),
        (None, True, False, False, Serve.NOTHING),
    ],
)
def test_the_decision_before_the_upstream_is_asked(
    age: float | None, is_due: bool, can_ask: bool, may_wait: bool, what: Serve
) -> None:
    decided = serve(age, is_due=is_due, can_ask=can_ask, may_wait=may_wait, rules=Rules())
    assert decided is what


@pytest.mark.parametrize(
    ("age", "accepted", "can_ask", "what"),
    [
        (0.0, 0.0, True, Serve.FRESH),
        (0.1, 0.0, True, Serve.ASK),
        (1.0, 1.0, True, Serve.FRESH),
        (1.1, 1.0, True, Serve.ASK),
        (1.1, 1.0, False, Serve.FRESH),
        (2.1, 1.0, False, Serve.STALE),
        (2.1, 60.0, True, Serve.ASK),  # a client cannot make `max_age` longer
    ],
)
def test_a_client_may_ask_for_a_younger_answer_within_the_rate_limit(
    age: float, accepted: float, can_ask: bool, what: Serve
) -> None:
    decided = serve(
        age, is_due=False, can_ask=can_ask, may_wait=True, rules=Rules(), accepted=accepted
    )
    assert decided is what


@pytest.mark.parametrize(
    ("age", "is_due", "why"),
    [
        (None, False, Forward.MISS),
        (None, True, Forward.MISS),
        (2.0, False, Forward.REQUEST),
        (2.1, False, Forward.STALE),
        (0.5, True, Forward.STALE),
    ],
)
def test_why_the_upstream_is_asked(age: float | None, is_due: bool, why: Forward) -> None:
    assert forward(age, is_due=is_due, rules=Rules()) is why


@pytest.mark.parametrize(
    ("age", "due_in", "seconds"),
    [(0.5, 60.0, 1.5), (0.5, 1.0, 1.0), (0.5, 0.0, 0.0), (2.5, 1.0, -0.5), (0.5, math.inf, 1.5)],
)
def test_an_answer_is_fresh_until_max_age_or_the_next_poll(
    age: float, due_in: float, seconds: float
) -> None:
    assert fresh_for(age, due_in, Rules()) == seconds


@pytest.mark.parametrize(
    ("age", "what"), [(None, Serve.NOTHING), (300.0, Serve.STALE), (300.1, Serve.NOTHING)]
)
def test_the_answer_after_the_upstream_gave_none(age: float | None, what: Serve) -> None:
    assert serve_unanswered(age, Rules()) is what


@pytest.mark.parametrize(
    ("age", "answered_ago", "asked_for", "seconds"),
    [
        (None, None, 0.0, 0.0),
        (None, 0.5, 0.0, 1.5),
        (0.5, 0.5, 0.0, 0.0),  # the last answer is the usable one
        (0.5, 0.5, 30.0, 30.0),
        (9.0, 2.5, 0.0, 0.0),
        (9.0, 0.5, 30.0, 30.0),
        (9.0, 0.5, 1.0, 1.5),
        (None, 0.5, 30.0, 30.0),
        (300.0, None, 30.0, 30.0),
        (300.1, None, 30.0, 0.0),
        (300.1, 0.5, 30.0, 1.5),
    ],
)
def test_how_long_the_upstream_is_not_asked_about_a_job(
    age: float | None, answered_ago: float | None, asked_for: float, seconds: float
) -> None:
    assert cool_down(age, answered_ago, asked_for, Rules()) == seconds
