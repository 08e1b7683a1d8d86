"""When an answer in memory is given again, and when the upstream is asked."""

import pytest

from exporter.core.freshness import Serve, cool_down, serve, serve_unanswered


class Rules:
    max_age = 2.0
    max_stale = 300.0


@pytest.mark.parametrize(
    ("age", "can_ask", "may_wait", "what"),
    [
        (None, True, True, Serve.ASK),
        (None, False, True, Serve.ASK),
        (None, False, False, Serve.NOTHING),
        (2.0, True, True, Serve.FRESH),
        (2.0, False, False, Serve.FRESH),
        (2.1, True, True, Serve.ASK),
        (2.1, False, True, Serve.STALE),
        (300.0, False, False, Serve.STALE),
        (300.1, False, False, Serve.NOTHING),
        (300.1, False, True, Serve.ASK),
    ],
)
def test_what_is_given_before_anyone_is_asked(
    age: float | None, can_ask: bool, may_wait: bool, what: Serve
) -> None:
    assert serve(age, can_ask=can_ask, may_wait=may_wait, rules=Rules()) is what


@pytest.mark.parametrize(
    ("age", "what"), [(None, Serve.NOTHING), (300.0, Serve.STALE), (300.1, Serve.NOTHING)]
)
def test_what_is_given_when_the_upstream_told_nothing(age: float | None, what: Serve) -> None:
    assert serve_unanswered(age, Rules()) is what


@pytest.mark.parametrize(
    ("age", "answered_ago", "asked_for", "seconds"),
    [
        (None, None, 0.0, 0.0),
        (None, 0.5, 0.0, 1.5),
        (9.0, 2.5, 0.0, 0.0),
        (9.0, 0.5, 30.0, 30.0),
        (9.0, 0.5, 1.0, 1.5),
        (None, 0.5, 30.0, 30.0),
        (300.0, None, 30.0, 30.0),
        (300.1, None, 30.0, 0.0),
        (300.1, 0.5, 30.0, 1.5),
    ],
)
def test_how_long_the_upstream_is_left_alone_about_a_job(
    age: float | None, answered_ago: float | None, asked_for: float, seconds: float
) -> None:
    assert cool_down(age, answered_ago, asked_for, Rules()) == seconds
