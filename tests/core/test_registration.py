"""Registering a job: for the first time, again, and with contradicting fields."""

from support import START, job, now, types

from exporter.core.events import Event, EventType
from exporter.core.job import Source
from exporter.core.registration import Conflict, forget, register, register_again


def test_a_new_job_is_pending_and_tells_its_source() -> None:
    made, events = register("a", Source.CONFIG, now(3), labels={"shop": "eu"}, key="sku")
    assert (made.pending, made.registered_at, made.registered_healthy_time) == (
        True,
        START + 3,
        3.0,
    )
    assert (made.labels, made.key, made.sources) == ({"shop": "eu"}, "sku", (Source.CONFIG,))
    assert made.version == 1
    assert types(events) == ["registered"]
    assert events[0].data == {"source": "config"}


def test_a_job_may_be_registered_with_its_mode() -> None:
    assert register("a", Source.UPLOAD, now(), mode="params")[0].mode == "params"
    assert register("a", Source.API, now())[0].mode is None


def test_jobs_share_equal_labels() -> None:
    one, other = (
        register(name, Source.API, now(), labels={"shop": "eu", "team": "a"})[0] for name in "ab"
    )
    assert one.labels is other.labels
    third, _ = register("c", Source.API, now(), labels={"team": "a"})
    third, _ = register_again(third, Source.FILE, labels={"shop": "eu", "team": "a"})
    assert third.labels is one.labels


def test_jobs_share_equal_sources() -> None:
    one, other = (register(name, Source.API, now())[0] for name in "ab")
    assert one.sources is other.sources
    one, other = (register_again(made, Source.FILE)[0] for made in (one, other))
    assert one.sources is other.sources == (Source.API, Source.FILE)


def test_back_filling_is_held_to_the_past() -> None:
    assert register("a", Source.API, now(3), registered_at=5.0)[0].registered_at == 5.0
    late = register("a", Source.API, now(3), registered_at=START + 50)[0]
    assert late.registered_at == START + 3


def test_telling_again_adds_what_was_missing_and_changes_nothing() -> None:
    before = job(labels={"shop": "eu"})
    after, conflicts = register_again(before, Source.FILE, labels={"team": "a"}, key="sku")
    assert conflicts == []
    assert (after.labels, after.key) == ({"shop": "eu", "team": "a"}, "sku")
    assert (after.source, after.sources) == (Source.API, (Source.API, Source.FILE))
    assert register_again(after, Source.FILE, labels={"team": "a"}) == (after, [])


def test_what_differs_is_a_conflict() -> None:
    before = job(labels={"shop": "eu"}, key="sku")
    after, conflicts = register_again(before, Source.API, labels={"shop": "us"}, key="other")
    assert conflicts == [Conflict("labels.shop", "eu", "us"), Conflict("key", "sku", "other")]
    assert (after.labels, after.key) == ({"shop": "eu"}, "sku")
    assert str(conflicts[0]) == "registered as 'eu', cannot become 'us'"


def test_the_events_of_registering_and_forgetting_name_the_job_and_the_time() -> None:
    made, events = register("a", Source.API, now(3), registered_at=5.0)
    assert events == [Event(EventType.REGISTERED, "a", START + 3, {"source": "api"})]
    data = {"state": "pending", "reason": "deleted"}
    assert forget(made, now(9)) == [Event(EventType.FORGOTTEN, "a", START + 9, data)]
