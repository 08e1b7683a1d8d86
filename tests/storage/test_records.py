"""Jobs, labels and data as stored text: what was written comes back, and damage is an error."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import job

from exporter.core.job import Job, JobState, Source, Suspicion
from exporter.core.reply import Kind
from exporter.storage.records import (
    RecordError,
    dump,
    dump_job,
    dump_labels,
    json_list,
    load_job,
    load_labels,
    load_mapping,
    load_object,
    parse_documents,
)

JOBS = st.builds(
    Job,
    job_id=st.just("a"),
    source=st.sampled_from(Source),
    registered_at=st.floats(0, 1e10),
    version=st.just(1),
    labels=st.dictionaries(st.text("abc", min_size=1), st.text("xyz\n\"'\\é")),
    key=st.none() | st.text("xyz", min_size=1),
    state=st.sampled_from(JobState),
    progress=st.none() | st.floats(0, 100) | st.integers(0, 100),
    warnings=st.dictionaries(st.text("ab"), st.lists(st.text("cd")).map(tuple)),
    ignored_variations=st.lists(st.text("ab")).map(tuple),
    reported_drift=st.lists(st.text("ab")).map(tuple),
    suspicion=st.none()
    | st.builds(
        Suspicion,
        kind=st.sampled_from(Kind),
        answers=st.integers(1, 9),
        since=st.floats(0, 9),
        until=st.floats(9, 99),
        http_status=st.integers(400, 599),
    ),
)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(JOBS)
def test_any_job_survives_the_round_trip(made: Job) -> None:
    assert load_job("a", 0, 1, dump_job(made)) == made


def test_fields_at_their_default_take_no_room() -> None:
    made = job("a", version=1)
    assert dump_job(made) == ('{"source":"api","registered_at":1800000000.0,"told_by":["api"]}')


def test_a_stored_name_is_not_the_name_in_the_code() -> None:
    stored = '{"source":"api","registered_at":5,"told_drift":["too_long"],"registered_well":3.5}'
    read = load_job("a", 7, 2, stored)
    assert (read.reported_drift, read.registered_healthy_time) == (("too_long",), 3.5)
    assert (read.job_id, read.incarnation, read.version) == ("a", 7, 2)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[1]",
        b"{",
        b'{"source":"api"}',
        b'{"source":"apx","registered_at":1}',
        b'{"source":"api","registered_at":1,"unknown":2}',
        b'{"source":"api","registered_at":1,"state":"over"}',
        b'{"source":"api","registered_at":1,"suspicion":[1]}',
        b'{"source":"api","registered_at":1,"step":"\xff"}',
    ],
)
def test_a_damaged_document_is_an_error(document: bytes) -> None:
    with pytest.raises(RecordError):
        load_job("a", 1, 1, document)


def test_documents_are_parsed_together_and_a_damaged_one_leaves_them_unparsed() -> None:
    whole = dump_job(job("a", version=1)).encode()
    first, second = parse_documents([whole, whole])
    assert load_job("a", 0, 1, first) == load_job("a", 0, 1, second) == job("a", version=1)
    for damaged in (b"", b"{", b"[1]", whole + b"," + whole, b'{"step":"\xff"}'):
        assert parse_documents([whole, damaged]) == [whole, damaged]


def test_equal_labels_give_equal_text_and_come_back() -> None:
    labels = (("mode", "params"), ("shop", 'e"u\n✓'))
    assert dump_labels(labels) == dump_labels(tuple(labels))
    assert load_labels(dump_labels(labels)) == load_labels(dump_labels(labels).encode()) == labels


@pytest.mark.parametrize("text", ["", "3", '["a"]', "[[1]]", b"\xff"])
def test_damaged_labels_are_an_error(text: str | bytes) -> None:
    with pytest.raises(RecordError):
        load_labels(text)


def test_a_damaged_mapping_is_an_error_or_empty() -> None:
    assert load_mapping(dump({"a": [1, "é"]})) == {"a": [1, "é"]}
    for text in ("", "[1]", "{", "3"):
        assert load_mapping(text) == {}
        with pytest.raises(RecordError):
            load_object(text)


def test_a_list_is_json() -> None:
    assert json_list(("a", 'b"')) == '["a", "b\\""]'


def test_loaded_jobs_share_what_is_equal() -> None:
    first = job("a", labels={"shop": "eu"}, warnings={"a": ("b",)}, mode="clipping", step="a step")
    one, other = (load_job(name, 1, 1, dump_job(first)) for name in "ab")
    assert one.labels == {"shop": "eu"}
    assert one.labels is other.labels
    assert one.mode is other.mode
    assert one.step is other.step
    assert one.sources is other.sources
    assert one.final_urls is other.final_urls
    assert one.reported_warnings is other.reported_warnings
    assert one.warnings == {"a": ("b",)}
