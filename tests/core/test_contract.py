"""The upstream's contract: every example of the vendor's page, and every kind of bad answer."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import fuzzed

from exporter.core import contract as contract_module
from exporter.core.contract import is_field_value, parse_reply, parse_upload, render_status
from exporter.core.reply import (
    MAX_BODY_BYTES,
    MAX_DRIFTS,
    MAX_MESSAGE_CHARS,
    MAX_MESSAGES,
    MAX_NAME_CHARS,
    MAX_UNKNOWN_FIELDS,
    MAX_URL_CHARS,
    MAX_URLS_CHARS,
    MAX_VALUES,
    MAX_VARIATIONS,
    MAX_WARNINGS_CHARS,
    Drift,
    DriftKind,
    Kind,
    Reply,
    ReplyState,
    Status,
    UploadReply,
    transport_failure,
    unasked,
)
from exporter.core.status_reader import DriftLog, StatusReader

REPLIES = Path(__file__).parent.parent / "data" / "replies"
JOB_ID = "019cdc54-2673-dc32-b9e5-6e1d36cc9e8a"
PENDING = json.loads((REPLIES / "pending.json").read_text())


def read(name: str, http_status: int = 200, **headers: str) -> Reply:
    return parse_reply(http_status, headers, (REPLIES / name).read_bytes())


def parse(http_status: int = 200, **changes: object) -> Reply:
    """The page's pending body with some fields changed; a field set to `...` is taken out."""
    body = {name: value for name, value in (PENDING | changes).items() if value is not ...}
    return parse_reply(http_status, {}, json.dumps(body).encode())


def status_of(reply: Reply) -> Status:
    assert reply.status is not None
    return reply.status


def drift_of(reply: Reply) -> list[tuple[str, str]]:
    return [(drift.kind.value, drift.detail) for drift in reply.drift]


def test_the_pages_pending_job_is_read_whole() -> None:
    reply = read("pending.json")
    assert reply.kind is Kind.OK
    assert reply.code == "200"
    assert reply.drift == ()
    assert reply.status == Status(
        state=ReplyState.PENDING,
        job_id=JOB_ID,
        step="pending_compose",
        mode="params",
        progress=33,
        final_url=None,
        final_urls={},
        warnings={},
        ignored_variations=(),
    )


def test_the_pages_completed_job_has_its_final_url() -> None:
    reply = read("done_final_url.json")
    assert reply.drift == ()
    assert status_of(reply).state is ReplyState.DONE
    assert status_of(reply).progress == 100
    assert status_of(reply).final_url == "https://cdn.example.com/.../clipping.webp"
    assert status_of(reply).final_urls == {}


def test_the_pages_multiple_variations_come_with_warnings_and_ignored_variations() -> None:
    reply = read("done_final_urls.json")
    assert reply.drift == ()
    status = status_of(reply)
    assert list(status.final_urls) == ["background", "compose", "shadowTop", "clipping"]
    assert status.final_urls["compose"] == "https://cdn.example.com/.../compose.webp"
    assert status.final_url is None
    assert status.warnings == {"shadow_wall": ("params not provided",)}
    assert status.ignored_variations == ("shadow_wall",)


@pytest.mark.parametrize(
    ("name", "http_status", "kind", "error", "is_json"),
    [
        ("401.json", 401, Kind.KEY_REJECTED, "unauthorized", True),
        ("401.json", 403, Kind.KEY_REJECTED, "unauthorized", True),
        ("502.html", 403, Kind.BLOCKED, None, False),
        ("404.json", 404, Kind.NOT_FOUND, "not_found", True),
        ("422.json", 422, Kind.INVALID, "validation", True),
        ("500.json", 429, Kind.THROTTLED, "server_error", True),
        ("500.json", 500, Kind.SERVER_ERROR, "server_error", True),
        ("502.html", 502, Kind.SERVER_ERROR, None, False),
        ("503.empty", 503, Kind.SERVER_ERROR, None, False),
        ("500.json", 302, Kind.OTHER, "server_error", True),
        ("500.json", 418, Kind.OTHER, "server_error", True),
        ("500.json", 600, Kind.OTHER, "server_error", True),
        ("503.empty", 100, Kind.OTHER, None, False),
    ],
)
def test_an_error_is_known_by_its_status_and_body(
    name: str, http_status: int, kind: Kind, error: str | None, is_json: bool
) -> None:
    reply = read(name, http_status)
    assert (reply.kind, reply.error, reply.is_json) == (kind, error, is_json)
    assert reply.code == str(http_status)
    assert reply.status is None
    assert reply.drift == ()
    assert reply.body == (REPLIES / name).read_bytes()


def test_no_answer_has_its_failure_as_code() -> None:
    assert transport_failure("timeout").code == "timeout"
    assert transport_failure("connection").kind is Kind.TRANSPORT
    assert (unasked("not_asked").code, unasked("not_asked").detail) == ("not_asked", "")
    assert (unasked("internal", "why").kind, unasked("internal", "why").detail) == (
        Kind.UNASKED,
        "why",
    )


@pytest.mark.parametrize(
    ("body", "drift"),
    [
        (b"", ("not_json", "an empty body")),
        (b"<html>soon back</html>", ("not_json", "<html>soon back</html>")),
        (b"[1, 2]", ("wrong_type", "[1, 2]")),
        (b"null", ("wrong_type", "null")),
        (b'{"state": ', ("not_json", '{"state":')),
        (b"[" * MAX_VALUES, ("not_json", "[" * 79 + "…")),
        (b'{"a":' * MAX_VALUES, ("not_json", '{"a":' * 15 + '{"a"…')),
        (b"\xff\xfe", ("invalid_utf8", "byte 0")),
    ],
)
def test_a_2xx_without_a_json_object_is_unreadable(body: bytes, drift: tuple[str, str]) -> None:
    reply = parse_reply(200, {}, body)
    assert reply.kind is Kind.UNREADABLE
    assert reply.code == "invalid_body"
    assert drift in drift_of(reply)


def test_an_answer_that_repeats_the_last_one_is_not_parsed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Mock(side_effect=StatusReader)
    monkeypatch.setattr(contract_module, "StatusReader", reader)
    documents = [PENDING | {"job_id": "repeated", "progress": at, "new": 1} for at in (1, 2)]
    bodies = [json.dumps(document).encode() for document in documents]
    first, other, again = (parse_reply(200, {}, body) for body in (*bodies, bytes(bodies[0])))
    assert first == again != other
    assert [call.args[0] for call in reader.call_args_list] == documents
    later = parse_reply(202, {"Retry-After": "7", "Content-Type": "text/json"}, bodies[0])
    assert later == replace(first, http_status=202, retry_after=7.0, content_type="text/json")
    assert parse_reply(500, {}, bodies[0]).kind is Kind.SERVER_ERROR
    assert parse_reply(200, {}, bodies[0], complete=False).kind is Kind.UNREADABLE


def test_only_short_bodies_are_remembered_and_their_number_is_limited() -> None:
    body = json.dumps(PENDING).encode()
    remembered = contract_module._remembered
    parse_reply(200, {}, body.ljust(contract_module.REMEMBERED_BYTES + 1))
    assert remembered.cache_info().currsize == 0
    parse_reply(200, {}, body.ljust(contract_module.REMEMBERED_BYTES))
    assert remembered.cache_info().currsize == 1
    assert remembered.cache_info().maxsize == contract_module.REMEMBERED_BODIES
    assert contract_module.media_type.cache_info().maxsize == 32


@pytest.mark.parametrize("length", [0, contract_module.REMEMBERED_BYTES + 1])
@pytest.mark.parametrize("http_status", [200, 299])
def test_a_good_answer_keeps_its_body_and_its_headers(http_status: int, length: int) -> None:
    body = json.dumps(PENDING).encode().ljust(length)
    reply = parse_reply(http_status, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, body)
    assert (reply.kind, reply.is_json, reply.body) == (Kind.OK, True, body)
    assert (reply.retry_after, reply.retry_at) == (None, 946684799.0)
    assert reply.content_type == ""


def test_the_error_of_a_good_answer_is_kept() -> None:
    reply = parse(error="slow_upload")
    assert (reply.kind, reply.error) == (Kind.OK, "slow_upload")


def test_a_cut_body_is_unreadable_even_if_it_parses() -> None:
    body = (REPLIES / "pending.json").read_bytes()
    reply = parse_reply(200, {}, body, complete=False)
    assert reply.kind is Kind.UNREADABLE
    assert drift_of(reply) == [("cut_short", f"{len(body)} bytes came")]


def test_a_body_past_the_limit_is_unreadable_and_cut() -> None:
    body = json.dumps(PENDING | {"padding": "x" * MAX_BODY_BYTES}).encode()
    reply = parse_reply(200, {}, body)
    assert reply.kind is Kind.UNREADABLE
    assert ("too_large", f"more than {MAX_BODY_BYTES} bytes") in drift_of(reply)
    assert len(reply.body) == MAX_BODY_BYTES


SHORT_VALUES = {
    "numbers": b"[" + b"0," * MAX_VALUES + b"0]",
    "empty arrays": b"[" + b"[]," * MAX_VALUES + b"0]",
    "fields": b"{" + b'"a":0,' * MAX_VALUES + b'"a":0}',
    "arrays in arrays": b"[" + (b"[" * 500 + b"0" + b"]" * 500 + b",") * 20 + b"0]",
    "objects in objects": b"[" + (b'{"a":' * 500 + b"0" + b"}" * 500 + b",") * 20 + b"0]",
}


@pytest.mark.parametrize("short", SHORT_VALUES.values(), ids=SHORT_VALUES)
def test_an_answer_with_too_many_values_is_unreadable_and_not_parsed(
    short: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract_module, "_load", parsed := Mock(wraps=contract_module._load))
    body = json.dumps(PENDING).encode().removesuffix(b"}") + b',"x":' + short + b"}"
    reply = parse_reply(200, {}, body)
    assert (reply.kind, reply.status, reply.body) == (Kind.UNREADABLE, None, body)
    assert drift_of(reply) == [("too_large", f"more than {MAX_VALUES} values")]
    unread = parse_reply(404, {}, body)
    assert (unread.kind, [kind for kind, _ in drift_of(unread)]) == (Kind.UNREADABLE, ["too_large"])
    assert parse_reply(503, {}, body).kind is Kind.SERVER_ERROR
    assert parse_upload(200, body).job_id is None
    parsed.assert_not_called()


def test_an_answer_as_full_as_its_texts_and_lists_may_be_is_read() -> None:
    names = [f"v{at}" for at in range(MAX_VARIATIONS)]
    warnings = {name: [f"{at}" for at in range(MAX_MESSAGES)] for name in names}
    urls = dict.fromkeys(names, "https://cdn.example/a,b?size=[1,2]&x={3,4}")
    reply = parse(state="done", warnings=warnings, final_urls=urls, ignored_variations=names)
    assert drift_of(reply) == []
    assert len(status_of(reply).final_urls) == MAX_VARIATIONS


def test_nothing_is_read_of_an_error_past_the_limit_though_its_beginning_parses() -> None:
    body = b'{"error": "not_found"}'
    assert parse_reply(404, {}, body.ljust(MAX_BODY_BYTES)).kind is Kind.NOT_FOUND
    reply = parse_reply(404, {}, body.ljust(MAX_BODY_BYTES + 1))
    assert (reply.kind, reply.error, reply.is_json) == (Kind.UNREADABLE, None, False)


@pytest.mark.parametrize(
    ("state", "kind", "drift"),
    [
        (..., Kind.UNREADABLE, ("missing_field", "state")),
        (None, Kind.UNREADABLE, ("wrong_type", "state")),
        (1, Kind.UNREADABLE, ("wrong_type", "state")),
        ("melting", Kind.UNREADABLE, ("unknown_state", "melting")),
        ("failed", Kind.OK, ("unknown_state", "failed")),
        ("error", Kind.OK, ("unknown_state", "error")),
        ("cancelled", Kind.OK, ("unknown_state", "cancelled")),
        ("DONE ", Kind.OK, ("unknown_state", "DONE ")),
    ],
)
def test_a_state_outside_the_contract_is_drift(
    state: object, kind: Kind, drift: tuple[str, str]
) -> None:
    reply = parse(state=state)
    assert reply.kind is kind
    assert drift_of(reply) == [drift]


def test_words_for_failure_mean_failed_and_spelling_is_forgiven() -> None:
    assert status_of(parse(state="failed")).state is ReplyState.FAILED
    assert status_of(parse(state="canceled")).state is ReplyState.FAILED
    assert status_of(parse(state="DONE ")).state is ReplyState.DONE


@pytest.mark.parametrize(
    ("sent", "read_as", "drift"),
    [
        (0, 0, None),
        (33.5, 33.5, None),
        (-1, 0, "out_of_range"),
        (100.1, 100, "out_of_range"),
        (10**400, 100, "out_of_range"),
        (float("nan"), None, "out_of_range"),
        (float("inf"), 100, "out_of_range"),
        ("33", 33.0, "wrong_type"),
        ("much", None, "wrong_type"),
        (True, None, "wrong_type"),
        (None, None, "wrong_type"),
        ([], None, "wrong_type"),
        (..., None, "missing_field"),
    ],
)
def test_progress_is_held_to_0_to_100_and_read_as_far_as_it_goes(
    sent: object, read_as: float | None, drift: str | None
) -> None:
    reply = parse(progress=sent)
    assert status_of(reply).progress == read_as
    assert drift_of(reply) == ([(drift, "progress")] if drift else [])


def test_a_number_of_5000_digits_loses_nothing_else() -> None:
    body = json.dumps(PENDING).replace("33", "9" * 5000).encode()
    reply = parse_reply(200, {}, body)
    assert status_of(reply).progress == 100
    assert status_of(reply).step == "pending_compose"
    assert drift_of(reply) == [("out_of_range", "progress")]


@pytest.mark.parametrize(
    ("sent", "read_as", "drift"),
    [
        ({"a": ["x", "y"]}, {"a": ("x", "y")}, []),
        ({"a": ["x", "x"]}, {"a": ("x",)}, []),
        ({"a": []}, {}, []),
        ({}, {}, []),
        (["x"], {"unknown": ("x",)}, ["wrong_type"]),
        ([], {}, ["wrong_type"]),
        ("x", {"unknown": ("x",)}, ["wrong_type"]),
        ("", {}, ["wrong_type"]),
        (None, {}, ["wrong_type"]),
        (3, {}, ["wrong_type"]),
        ({"a": "x"}, {"a": ("x",)}, ["wrong_type"]),
        ({"a": None}, {}, ["wrong_type"]),
        ({"a": [1, [2], None, "x"]}, {"a": ("1", "x")}, ["wrong_type"]),
        ({"": ["x"]}, {"unknown": ("x",)}, []),
        ({"a": ["m"] * 51}, {"a": ("m",)}, ["too_many"]),
        ({"a": ["m" * 2000]}, {"a": ("m" * 1023 + "…",)}, ["too_long"]),
    ],
)
def test_warnings_are_read_as_far_as_they_go(
    sent: object, read_as: dict[str, tuple[str, ...]], drift: list[str]
) -> None:
    reply = parse(warnings=sent)
    assert status_of(reply).warnings == read_as
    assert [kind for kind, _ in drift_of(reply)] == drift


@pytest.mark.parametrize(
    ("sent", "read_as", "drift"),
    [
        (["a", "b", "a"], ("a", "b"), []),
        ("a", ("a",), ["wrong_type"]),
        ({"a": 1}, ("a",), ["wrong_type"]),
        (None, (), ["wrong_type"]),
        ([1, "", "a"], ("a",), ["wrong_type"]),
        ([f"v{at}" for at in range(101)], tuple(f"v{at}" for at in range(100)), ["too_many"]),
        (["n" * 200], ("n" * 127 + "…",), ["too_long"]),
    ],
)
def test_ignored_variations_are_read_as_far_as_they_go(
    sent: object, read_as: tuple[str, ...], drift: list[str]
) -> None:
    reply = parse(ignored_variations=sent)
    assert status_of(reply).ignored_variations == read_as
    assert [kind for kind, _ in drift_of(reply)] == drift


@pytest.mark.parametrize(
    ("sent", "read_as", "drift"),
    [
        ({"a": "https://x"}, {"a": "https://x"}, []),
        (["https://x"], {"0": "https://x"}, ["wrong_type"]),
        ({"a": None, "b": "https://x"}, {"b": "https://x"}, ["wrong_type"]),
        (None, {}, ["wrong_type"]),
        ("https://x", {}, ["wrong_type"]),
    ],
)
def test_final_urls_are_read_as_far_as_they_go(
    sent: object, read_as: dict[str, str], drift: list[str]
) -> None:
    reply = parse(final_urls=sent)
    assert status_of(reply).final_urls == read_as
    assert [kind for kind, _ in drift_of(reply)] == drift


def test_texts_of_a_wrong_type_or_length_are_drift() -> None:
    reply = parse(status=5, mode=None, job_id=..., final_url=7, surprise=1)
    status = status_of(reply)
    assert (status.step, status.mode, status.job_id, status.final_url) == (None,) * 4
    assert set(drift_of(reply)) == {
        ("unknown_field", "surprise"),
        ("missing_field", "job_id"),
        ("wrong_type", "status"),
        ("wrong_type", "mode"),
        ("wrong_type", "final_url"),
    }
    assert drift_of(parse(status="s" * 200)) == [("too_long", "status")]


def test_the_list_of_drift_is_limited() -> None:
    reply = parse(
        progress="x", warnings=5, **{f"field{at}": 1 for at in range(100)}, status="s" * 200
    )
    assert len(reply.drift) <= MAX_DRIFTS
    unknown = [kind for kind, _ in drift_of(reply) if kind == "unknown_field"]
    assert len(unknown) == MAX_UNKNOWN_FIELDS
    assert ("wrong_type", "progress") in drift_of(reply)  # there is room for other kinds


def test_the_first_entries_of_drift_are_kept_and_each_once() -> None:
    drift = DriftLog()
    for number in range(MAX_DRIFTS + 5):
        drift.add(DriftKind.UNKNOWN_FIELD, str(number))
        drift.add(DriftKind.UNKNOWN_FIELD, str(number))
    assert len(drift.found) == MAX_DRIFTS
    assert drift.found[-1].detail == str(MAX_DRIFTS - 1)


def test_the_texts_of_one_answer_are_limited_together() -> None:
    warnings = {f"v{at}": [f"{at}-{n}" * 100 for n in range(50)] for at in range(10)}
    urls = {f"v{at}": f"https://a.example/{at}" * 300 for at in range(45)}
    reply = parse(warnings=warnings, final_urls=urls, state="done")
    status = status_of(reply)
    taken = [text for texts in status.warnings.values() for text in texts]
    assert 0 < sum(map(len, taken)) <= MAX_WARNINGS_CHARS
    assert 0 < sum(map(len, status.final_urls.values())) <= MAX_URLS_CHARS
    assert {("too_many", "warnings"), ("too_many", "final_urls")} <= set(drift_of(reply))
    assert all(url in urls.values() for url in status.final_urls.values())  # none is cut


def test_texts_that_just_fill_the_limit_of_one_answer_are_all_read() -> None:
    room = MAX_WARNINGS_CHARS // MAX_MESSAGE_CHARS
    messages = [f"{at:04}" * (MAX_MESSAGE_CHARS // 4) for at in range(room)]
    urls: dict[str, object] = {
        f"v{at}": "u" * MAX_URL_CHARS for at in range(MAX_URLS_CHARS // MAX_URL_CHARS)
    }
    reply = parse(warnings={"a": messages}, final_urls=urls)
    assert status_of(reply).warnings == {"a": tuple(messages)}
    assert status_of(reply).final_urls == urls
    assert reply.drift == ()
    reply = parse(warnings={"a": [*messages, "more"]}, final_urls=urls | {"none": None})
    assert status_of(reply).warnings == {"a": tuple(messages)}
    assert status_of(reply).final_urls == urls
    assert set(drift_of(reply)) == {("too_many", "warnings"), ("wrong_type", "final_urls")}


def test_lone_surrogates_and_bad_bytes_become_replacement_characters() -> None:
    body = json.dumps(PENDING | {"status": "a\ud800b"}).encode()
    assert status_of(parse_reply(200, {}, body)).step == "a???b".replace("?", "\ufffd")
    bad = json.dumps(PENDING).encode().replace(b"compose", b"comp\xffse")
    reply = parse_reply(200, {}, bad)
    assert status_of(reply).step == "pending_comp\ufffdse"
    assert [kind for kind, _ in drift_of(reply)] == ["invalid_utf8"]


def test_an_answer_about_another_job_is_unreadable_for_this_one() -> None:
    reply = read("pending.json")
    assert reply.about(JOB_ID.upper()) is reply
    assert parse(job_id=...).about("any").kind is Kind.OK
    assert read("404.json", 404).about("any").kind is Kind.NOT_FOUND
    other = reply.about("another")
    assert (other.kind, other.status) == (Kind.UNREADABLE, None)
    assert drift_of(other) == [("wrong_job_id", JOB_ID)]


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"RETRY-AFTER": " 1.5 "}, 1.5),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1800000000"}, 1_800_000_000.0),
        ({"Retry-After": "9" * 40}, None),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        (
            {
                "Retry-After": "Fri, 13 Nov 2026 08:00:30 GMT",
                "Date": "Fri, 13 Nov 2026 08:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "Retry-After": "Fri, 13 Nov 2026 08:00:00 GMT",
                "Date": "Fri, 13 Nov 2026 08:00:00 GMT",
            },
            0.0,
        ),
        ({"Retry-After": "Fri, 13 Nov 99999 08:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    headers: dict[str, str], delay: float | None
) -> None:
    assert parse_reply(429, headers, b"").retry_delay(10.0) == delay


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is not GMT."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "date",
    ["00:01:40", *(f"00:01:40 {zone}" for zone in ("GMT", "UTC", "-0000")), "02:01:40 +0200"],
)
def test_a_date_without_a_time_zone_is_in_gmt(date: str) -> None:
    headers = {"Retry-After": f"Thu, 01 Jan 1970 {date}"}
    assert parse_reply(429, headers, b"").retry_delay(10.0) == 90.0


def test_an_error_body_may_be_anything() -> None:
    assert parse_reply(500, {}, b'{"error": 5}').error is None
    assert parse_reply(500, {}, b'["error"]').error is None
    assert parse_reply(500, {}, b'{"error": ""}').error is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = st.sampled_from([*PENDING, "final_urls", "warnings", "ignored_variations", "x"])
BODIES = st.binary(max_size=200) | st.dictionaries(FIELDS, JSON).map(
    lambda document: json.dumps(document).encode()
)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Content-Type"]), st.text(max_size=40)
)


@pytest.mark.fuzz
@fuzzed(400)
@given(st.integers(), HEADERS, BODIES, st.booleans())
def test_no_bytes_make_it_raise(
    http_status: int, headers: dict[str, str], body: bytes, complete: bool
) -> None:
    reply = parse_reply(http_status, headers, body, complete=complete)
    repr(reply).encode()  # no lone surrogate came through
    reply.content_type.encode()
    if reply.kind is Kind.OK:
        assert reply.status is not None
        assert reply.status.progress is None or 0 <= reply.status.progress <= 100
        render_status(reply.status)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
URLS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
STATUSES = st.builds(
    Status,
    state=st.sampled_from([ReplyState.PENDING, ReplyState.DONE]),
    job_id=NAMES,
    step=NAMES,
    mode=NAMES,
    progress=st.integers(0, 100) | st.floats(0, 100),
    final_url=st.none() | URLS,
    final_urls=st.dictionaries(NAMES, URLS, max_size=4),
    warnings=st.dictionaries(
        NAMES, st.lists(URLS, min_size=1, max_size=3, unique=True).map(tuple), max_size=3
    ),
    ignored_variations=st.lists(NAMES, max_size=4, unique=True).map(tuple),
)


@pytest.mark.fuzz
@fuzzed(300)
@given(STATUSES)
def test_what_is_rendered_is_read_back_without_drift(status: Status) -> None:
    reply = parse_reply(200, {}, render_status(status))
    assert reply.status == status
    assert reply.drift == ()


def test_rendering_leaves_out_empty_fields() -> None:
    status = Status(ReplyState.PENDING, None, None, None, None, None, {}, {}, ())
    assert render_status(status) == b'{"state":"pending","final_url":null}'


def test_the_kinds_of_drift_are_a_closed_list() -> None:
    assert len(DriftKind) == 13


@pytest.mark.parametrize(("http_status", "kind"), [(404, Kind.NOT_FOUND), (422, Kind.INVALID)])
@pytest.mark.parametrize(
    ("body", "drift"),
    [
        (
            b"<html>404 Not Found</html>",
            ("not_json", "<html>404 Not Found</html>"),
        ),
        (b"default backend - 404", ("not_json", "default backend - 404")),
        (b"", ("not_json", "an empty body")),
        (b'"Not Found"', ("wrong_type", '"Not Found"')),
        (b'{"detail": "Not Found"}', ("wrong_type", '{"detail": "Not Found"}')),
        (b'{"error": "Not Found"}', ("wrong_type", '{"error": "Not Found"}')),
        (b'{"error": {"code": 1}}', ("wrong_type", '{"error": {"code": 1}}')),
    ],
)
def test_a_404_or_422_that_is_not_the_apis_is_unreadable_and_says_what_came(
    http_status: int, kind: Kind, body: bytes, drift: tuple[str, str]
) -> None:
    reply = parse_reply(http_status, {}, body)
    assert (reply.kind, reply.code) == (Kind.UNREADABLE, "invalid_body")
    assert [(one.kind.value, one.detail) for one in reply.drift] == [
        (drift[0], f"{http_status} {drift[1]}")
    ]
    assert reply.detail == f"{http_status} {drift[1]}"
    known = parse_reply(http_status, {}, b'{"error": "no_such_job2"}')
    assert (known.kind, known.code, known.detail) == (kind, str(http_status), "")
    assert known.drift == (Drift(DriftKind.UNKNOWN_ERROR, f"{http_status} no_such_job2"),)


@pytest.mark.parametrize(("http_status", "error"), [(404, "not_found"), (422, "validation")])
def test_the_apis_own_404_and_422_are_no_drift(http_status: int, error: str) -> None:
    body = b'{"error": "%s"}' % error.encode()
    assert parse_reply(http_status, {}, body).drift == ()
    swapped = {404: 422, 422: 404}[http_status]
    assert parse_reply(swapped, {}, body).drift[0].kind is DriftKind.UNKNOWN_ERROR


@pytest.mark.parametrize(
    ("fields", "drift"),
    [
        ({"final_urls": ["https://x"]}, ("wrong_type", "final_urls")),
        ({"final_urls": 1}, ("wrong_type", "final_urls")),
        ({"final_urls": {"a": None}}, ("wrong_type", "final_urls")),
        ({"final_urls": {"a": ""}}, ("wrong_type", "final_urls")),
        ({"final_urls": {f"v{at}": "u" for at in range(101)}}, ("too_many", "final_urls")),
        ({"final_urls": {"a": "u" * 8193}}, ("too_long", "final_urls")),
        ({"final_urls": {"n" * 129: "u"}}, ("too_long", "variation")),
        ({"warnings": "x"}, ("wrong_type", "warnings")),
        ({"warnings": 1}, ("wrong_type", "warnings")),
        ({"warnings": {"a": "x"}}, ("wrong_type", "warnings")),
        ({"warnings": {"a": [None]}}, ("wrong_type", "warnings")),
        ({"warnings": {f"v{at}": ["m"] for at in range(101)}}, ("too_many", "warnings")),
        ({"warnings": {"a": [f"m{at}" for at in range(51)]}}, ("too_many", "warnings")),
        ({"warnings": {"a": ["m" * 1025]}}, ("too_long", "warnings")),
        ({"warnings": {"n" * 129: ["m"]}}, ("too_long", "variation")),
        ({"ignored_variations": "a"}, ("wrong_type", "ignored_variations")),
        ({"ignored_variations": 1}, ("wrong_type", "ignored_variations")),
        ({"ignored_variations": [1]}, ("wrong_type", "ignored_variations")),
        ({"ignored_variations": ["v"] * 101}, ("too_many", "ignored_variations")),
        ({"ignored_variations": ["n" * 129]}, ("too_long", "variation")),
        ({"job_id": "i" * 1025}, ("too_long", "job_id")),
        ({"status": "s" * 129}, ("too_long", "status")),
    ],
)
def test_drift_names_its_kind_and_its_field(fields: dict[str, Any], drift: tuple[str, str]) -> None:
    assert drift_of(parse(**fields)) == [drift]


def test_values_exactly_at_the_limits_are_not_drift() -> None:
    reply = parse(
        job_id="i" * 1024,
        status="s" * 128,
        progress=100,
        final_url="u" * 8192,
        final_urls={f"v{at}": "u" * (MAX_URLS_CHARS // 100) for at in range(100)},
        warnings={f"v{at}": [f"m{n}" for n in range(50)] for at in range(100)},
        ignored_variations=[f"{at}".zfill(128) for at in range(100)],
    )
    assert reply.drift == ()
    status = status_of(reply)
    assert len(status.final_urls) == len(status.warnings) == len(status.ignored_variations) == 100
    assert parse(progress=0).drift == ()
    assert status_of(parse(progress=-0.5)).progress == 0


@pytest.mark.parametrize(
    ("http_status", "kind"),
    [
        *((200, Kind.OK), (299, Kind.OK), (300, Kind.OTHER), (199, Kind.OTHER)),
        *((499, Kind.OTHER), (500, Kind.SERVER_ERROR), (599, Kind.SERVER_ERROR)),
    ],
)
def test_the_classes_of_status_codes_end_where_http_says(http_status: int, kind: Kind) -> None:
    reply = parse(http_status, surprise=1)
    assert reply.kind is kind
    assert (reply.status is not None) is (kind is Kind.OK)
    assert bool(reply.drift) is (kind is Kind.OK)


def test_states_are_recognised_in_any_case() -> None:
    assert status_of(parse(state="Pending")).state is ReplyState.PENDING
    assert status_of(parse(state=" done")).state is ReplyState.DONE


def test_numbers_of_up_to_18_digits_are_read_exactly() -> None:
    body = json.dumps(PENDING | {"warnings": {"a": [10**18 - 1, 10**18]}}).encode()
    assert status_of(parse_reply(200, {}, body)).warnings == {"a": ("999999999999999999", "1e+18")}


def test_a_rendered_body_is_compact_and_not_escaped() -> None:
    body = render_status(status_of(parse(status="größer", final_url=None)))
    assert body.decode() == (
        f'{{"job_id":"{JOB_ID}","status":"größer","state":"pending","mode":"params",'
        '"progress":33,"final_url":null}'
    )


def test_a_media_type_is_kept_unchanged_up_to_a_limit() -> None:
    reply = parse_reply(500, {"CONTENT-type": "text/html; charset=x"}, b"")
    assert reply.content_type == "text/html; charset=x"
    assert parse_reply(500, {}, b"").content_type == ""
    for length, kept in ((128, True), (129, False)):
        told = "t" * length
        assert parse_reply(500, {"Content-Type": told}, b"").content_type == (told if kept else "")


@pytest.mark.parametrize(
    "told", ["a/b;\x01c", "a/b\x0b", "a/b\x7f", "a/b\r\nX: y", "a/\udcff\udcfe", "a/\ufffd", "a/é"]
)
def test_a_media_type_that_cannot_be_sent_again_is_not_kept(told: str) -> None:
    assert parse_reply(200, {"Content-Type": told}, b"{}").content_type == ""


def test_a_header_value_of_one_line_can_be_passed_on() -> None:
    assert all(is_field_value(value) for value in ("", "a\tb", "café", "\x80 \ufffd"))
    assert not any(is_field_value(value) for value in ("a\n", "\x00", "a\x1fb", "\x7f", "\udcff"))


def test_a_body_of_exactly_the_limit_is_read() -> None:
    body = json.dumps(PENDING).encode().ljust(MAX_BODY_BYTES)
    assert parse_reply(200, {}, body).kind is Kind.OK


@pytest.mark.parametrize("http_status", [199, 300, 500])
def test_only_a_2xx_has_drift(http_status: int) -> None:
    assert parse_reply(http_status, {}, b"\xff").drift == ()


@pytest.mark.parametrize("http_status", [200, 202, 299])
def test_an_upload_is_accepted_by_any_2xx_that_names_a_job(http_status: int) -> None:
    body = json.dumps({"job_id": JOB_ID, "mode": "clipping", "status": "accepted"}).encode()
    assert parse_upload(http_status, body) == UploadReply(http_status, JOB_ID, "clipping", None)


@pytest.mark.parametrize("http_status", [199, 300, 402, 500])
def test_an_upload_is_not_accepted_by_any_other_status(http_status: int) -> None:
    body = json.dumps({"job_id": JOB_ID, "mode": "clipping", "error": "no_credits"}).encode()
    assert parse_upload(http_status, body) == UploadReply(http_status, None, None, "no_credits")


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"<html>", b"[]", b"null", b'{"job_id": 7, "mode": []}', b'{"job_id": null}'],
)
def test_the_answer_to_an_upload_may_lack_a_job_id(body: bytes) -> None:
    assert parse_upload(202, body) == UploadReply(202, None, None, None)


def test_the_fields_of_an_upload_answer_are_limited() -> None:
    body = json.dumps({"job_id": "x" * 99_999, "mode": "y" * 999}).encode()
    read = parse_upload(202, body)
    assert (len(read.job_id or ""), len(read.mode or "")) == (MAX_MESSAGE_CHARS, MAX_NAME_CHARS)


def test_equal_modes_and_steps_of_different_answers_are_one_text() -> None:
    one, other = (status_of(parse(mode="clip" + "ping", status="some step")) for _ in range(2))
    assert (one.mode, one.step) == ("clipping", "some step")
    assert one.mode is other.mode
    assert one.step is other.step
