"""The queue of due times."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.pacing.due_queue import DueQueue

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["schedule", "remove", "pop"]),
        st.sampled_from("abcdefgh"),
        st.integers(0, 50),
    ),
    max_size=300,
)


@settings(max_examples=150)
@given(OPERATIONS)
def test_the_most_overdue_job_is_always_next(operations: list[tuple[str, str, int]]) -> None:
    queue, model = DueQueue(), dict[str, int]()
    for operation, name, due in operations:
        if operation == "schedule":
            queue.schedule(name, due, 4.0)
            model[name] = due
        elif operation == "remove":
            queue.remove(name)
            model.pop(name, None)
        elif model:
            popped, at = queue.pop()
            assert (at, popped) == min((value, key) for key, value in model.items())
            del model[popped]
        assert queue.next_due() == min(model.values(), default=None)
        assert len(queue) == len(model)
        assert queue.due_of(name) == model.get(name)
        assert queue.demand == pytest.approx(len(model) / 4)


def test_the_most_overdue_job_of_the_lowest_rank_is_taken() -> None:
    queue = DueQueue()
    for due, name in enumerate(("a", "b", "c", "d")):
        queue.schedule(name, float(due), 1.0)
    ranks = {"a": 2, "b": 1, "c": 0, "d": 0}
    taken = [queue.pop_lowest(ranks.__getitem__, below=2) for _ in range(4)]
    assert taken == [("c", 2.0), ("d", 3.0), ("b", 1.0), None]
    assert queue.pop() == ("a", 0.0)
    assert queue.pop_lowest(ranks.__getitem__, below=2) is None


def test_an_empty_queue_raises_an_error() -> None:
    with pytest.raises(IndexError, match="no job is queued"):
        DueQueue().pop()


def test_the_jobs_that_are_due_are_counted() -> None:
    queue = DueQueue()
    for name, due in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        queue.schedule(name, due, 0.0)
    queue.schedule("a", 5.0, 0.0)
    assert [queue.overdue(now) for now in (0.0, 2.0, 5.0)] == [0, 1, 3]


def test_moving_a_job_often_does_not_grow_the_queue() -> None:
    queue = DueQueue()
    for due in range(1000):
        queue.schedule("a", float(due), 0.0)
    assert len(queue._heap) <= 66
    assert queue.demand == 1.0


def test_stale_entries_are_dropped_once_they_are_the_majority() -> None:
    queue, sizes = DueQueue(), []
    for name in "abc":
        queue.schedule(name, 0.0, 1.0)
    for due in range(1, 200):
        queue.schedule("a", float(due), 1.0)
        sizes.append(len(queue._heap))
    assert max(sizes) == 2 * 3 + 64
    assert sizes.count(3) == 2  # thrown out twice, and not at every move
    assert [queue.pop()[0] for _ in range(3)] == ["b", "c", "a"]
