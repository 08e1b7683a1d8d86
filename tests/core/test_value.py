"""The dataclasses of each poll, and the copies of them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from support import START, answered, ok

from exporter.core.events import Event, EventType
from exporter.core.job import JobState, Suspicion
from exporter.core.reply import Kind
from exporter.core.value import replace, value

VALUES = {
    "job": answered("a", labels={"shop": "eu"}, progress=33.0),
    "reply": ok(),
    "event": Event(EventType.FIRST_ANSWER, "a", START, {"state": "done"}),
    "suspicion": Suspicion(Kind.SERVER_ERROR, 2, 0.0, 5.0, 500),
}
EACH_VALUE = pytest.mark.parametrize("old", VALUES.values(), ids=VALUES)


def fields_of(old: Any) -> Iterator[tuple[str, object]]:
    return ((field.name, getattr(old, field.name)) for field in dataclasses.fields(old))


@EACH_VALUE
def test_each_field_is_replaced_as_the_standard_library_does(old: Any) -> None:
    before = list(fields_of(old))
    for name, _ in before:
        made = replace(old, **{name: "new"})
        assert made == dataclasses.replace(old, **{name: "new"})
        assert type(made) is type(old)
        assert dict(fields_of(made)) == dict(before) | {name: "new"}
    assert list(fields_of(old)) == before


@EACH_VALUE
def test_a_copy_shares_the_fields_that_do_not_change(old: Any) -> None:
    made = replace(old)
    assert made == old
    assert made is not old
    assert all(getattr(made, name) is field for name, field in fields_of(old))


def test_several_fields_are_replaced_at_once() -> None:
    made = replace(answered("a"), state=JobState.DONE, finished_at=START)
    assert (made.job_id, made.state, made.finished_at) == ("a", JobState.DONE, START)


@EACH_VALUE
def test_a_field_that_does_not_exist_cannot_be_replaced(old: Any) -> None:
    with pytest.raises(AttributeError, match="no_such_field"):
        replace(old, no_such_field="new")


def test_a_property_cannot_be_replaced() -> None:
    changes: dict[str, Any] = {"pending": False}
    with pytest.raises(AttributeError):
        replace(answered("a"), **changes)


@value(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


def test_equal_values_are_one_key_and_hold_no_other_fields() -> None:
    assert {Point(1): "found"}[replace(Point(2), x=1)] == "found"
    assert Point(1) != Point(1, 1)
    with pytest.raises(AttributeError):
        setattr(Point(1), "z", 1)  # noqa: B010 - the type checker would refuse an assignment
