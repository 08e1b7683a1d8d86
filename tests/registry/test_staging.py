"""The changes that a batch of registrations would make, without a store."""

import pytest
from support import job, now, types

from exporter.core.job import Job, Source
from exporter.registry.staging import Registration, Staged, fitting, stage


def staged(*registrations: Registration, known: dict[str, Job] | None = None) -> Staged:
    return stage(registrations, known or {}, Source.API, now())


def test_a_new_job_has_the_fields_of_its_registration() -> None:
    outcome = staged(Registration("a", {"shop": "x"}, "sku", 5.0, "clipping")).outcomes["a"]
    made = outcome.job
    assert (made.labels, made.key, made.registered_at) == ({"shop": "x"}, "sku", 5.0)
    assert made.mode == "clipping"
    assert types(list(outcome.events)) == ["registered"]


def test_a_second_registration_of_a_batch_adds_to_the_first() -> None:
    batch = staged(Registration("a", {"shop": "x"}), Registration("a", {"site": "y"}, "sku"))
    outcome = batch.outcomes["a"]
    assert (outcome.job.labels, outcome.job.key) == ({"shop": "x", "site": "y"}, "sku")
    assert types(list(outcome.events)) == ["registered"]
    assert batch.conflicts == {}


def test_a_contradiction_is_listed_by_its_position_and_changes_nothing() -> None:
    batch = staged(
        Registration("a", key="one"), Registration("b"), Registration("a", {"shop": "x"}, "two")
    )
    [(at, [conflict])] = batch.conflicts.items()
    assert (at, conflict.field, conflict.known, conflict.given) == (2, "key", "one", "two")
    assert (batch.outcomes["a"].job.key, batch.outcomes["a"].job.labels) == ("one", {})
    assert list(batch.outcomes) == ["a", "b"]


def test_a_known_job_that_gains_nothing_is_unchanged() -> None:
    known = staged(Registration("a", {"shop": "x"})).outcomes["a"].job
    outcome = staged(Registration("a", {"shop": "x"}), known={"a": known}).outcomes["a"]
    assert (outcome.job, outcome.events) == (known, ())


@pytest.mark.parametrize(("room", "fit"), [(0, 1), (1, 4), (2, 5), (9, 5)])
def test_the_first_registrations_fit_until_new_jobs_exceed_the_room(room: int, fit: int) -> None:
    batch = [Registration(name) for name in ("known", "a", "a", "known", "b")]
    assert fitting(batch, {"known": job()}, room) == fit
