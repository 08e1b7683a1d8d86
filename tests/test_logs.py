"""Each event is one log line at its level, and no line shows a secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from called import restored_logging
from structlog.stdlib import BoundLogger
from support import JOB_ID, START, answered

from exporter.core.events import Event, EventType
from exporter.core.job import Job, JobState
from exporter.core.published import Published
from exporter.logs import (
    MAX_WARNING_CHARS,
    MAX_WARNING_LINES,
    WINDOW_SECONDS,
    EventLog,
    configure,
    make_logger,
)
from exporter.repeated_lines import MOST_KINDS, REPEATED_SECONDS, RepeatedLines


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    with restored_logging():
        yield


def lines(level: str, *events: Event, subject: Job | None = None) -> list[dict[str, Any]]:
    stream = io.StringIO()
    configure(level, "json", [], stream)
    subject = subject or answered(mode="params", key="sku", state=JobState.DONE)
    EventLog(make_logger()).published(Published(None, subject, events))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def event(what: EventType, /, time: float = START, **data: Any) -> Event:
    return Event(what, JOB_ID, time, data)


FROM_FAILED: dict[str, Any] = {"from": "failed"}


@pytest.mark.parametrize(
    ("happened", "name", "level", "fields"),
    [
        (event(EventType.REGISTERED), "job registered", "debug", {}),
        (
            event(EventType.STEP_CHANGED, step="b", from_step="a"),
            "step changed",
            "debug",
            {"step": "b", "from_step": "a"},
        ),
        (
            event(EventType.FINISHED, state="done", evidence=None),
            "job finished",
            "info",
            {"state": "done", "evidence": None},
        ),
        (
            event(EventType.FINISHED, state="failed", evidence="why"),
            "job finished",
            "warning",
            {"state": "failed", "evidence": "why"},
        ),
        (
            event(EventType.OVERTURNED, **FROM_FAILED),
            "verdict overturned",
            "warning",
            {"from_state": "failed"},
        ),
        (
            event(EventType.FORGOTTEN, state="pending", reason="deleted"),
            "job forgotten",
            "info",
            {"reason": "deleted"},
        ),
        (
            event(EventType.WARNING_RAISED, variation="v", messages=["m"]),
            "warning raised",
            "warning",
            {"variation": "v", "messages": ["m"]},
        ),
        (
            event(EventType.VARIATION_IGNORED, variation="v", messages=["m"]),
            "variation ignored",
            "warning",
            {"variation": "v", "messages": ["m"]},
        ),
        (
            event(EventType.SUSPECTED, http_status=500, missing=("a witness",)),
            "job suspected",
            "info",
            {"http_status": 500, "missing": ["a witness"]},
        ),
        (event(EventType.CLEARED), "job cleared", "info", {}),
        (
            event(EventType.DRIFT, kind="wrong_type", detail="progress"),
            "contract drift",
            "warning",
            {"kind": "wrong_type", "detail": "progress"},
        ),
    ],
)
def test_each_event_is_one_line_at_its_level(
    happened: Event, name: str, level: str, fields: dict[str, Any]
) -> None:
    [line] = lines("debug", happened)
    assert list(line)[:4] == ["event", "level", "timestamp", "logger"]
    assert (line["event"], line["level"], line["logger"]) == (name, level, "removit_exporter")
    assert (line["job_id"], line["mode"], line["source"], line["key"]) == (
        JOB_ID,
        "params",
        "api",
        "sku",
    )
    assert line.items() >= fields.items()


def test_lines_below_the_level_are_neither_written_nor_counted() -> None:
    counted: list[str] = []
    configure("warning", "json", [], io.StringIO())
    logger = make_logger(counted.append)
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.critical("d")
    assert counted == ["warning", "error"]


def test_invented_warnings_are_a_limited_number_of_lines_and_the_rest_is_counted() -> None:
    def raised(time: float) -> Event:
        return event(EventType.WARNING_RAISED, time, variation="v", messages=["m"])

    surplus = 25
    events = [raised(START) for _ in range(MAX_WARNING_LINES + surplus)]
    told = lines("info", *events, raised(START + WINDOW_SECONDS))
    assert [line["event"] for line in told[:MAX_WARNING_LINES]] == (
        ["warning raised"] * MAX_WARNING_LINES
    )
    left_out, next_one = told[MAX_WARNING_LINES:]
    assert (left_out["event"], left_out["lines"]) == ("warnings left out of the log", surplus)
    assert next_one["event"] == "warning raised"


def test_long_invented_warnings_are_limited_in_size_as_well() -> None:
    def raised(time: float) -> Event:
        return event(EventType.WARNING_RAISED, time, variation="v", messages=["m" * 1024] * 32)

    fitting = MAX_WARNING_CHARS // (32 * 1024)
    logged = lines("info", *[raised(START)] * (fitting + 3), raised(START + WINDOW_SECONDS))
    assert [line["event"] for line in logged[:fitting]] == ["warning raised"] * fitting
    left_out, next_one = logged[fitting:]
    assert (left_out["event"], left_out["lines"]) == ("warnings left out of the log", 3)
    assert next_one["event"] == "warning raised"


def test_the_drift_of_each_field_is_logged_once_an_hour() -> None:
    def drift(time: float, kind: str = "wrong_type", detail: str = "x") -> Event:
        return event(EventType.DRIFT, time, kind=kind, detail=detail)

    events = [
        *(drift(START), drift(START + 3599), drift(START + 3599, detail="y")),
        *(drift(START + 3599, "too_long"), drift(START + 3600)),
    ]
    assert [(line["kind"], line["detail"]) for line in lines("info", *events)] == [
        ("wrong_type", "x"),
        ("wrong_type", "y"),
        ("too_long", "x"),
        ("wrong_type", "x"),
    ]
    invented = [drift(START, detail=str(number)) for number in range(300)]
    assert len(lines("info", *invented)) == 100


def test_a_hosts_own_format_shows_the_data_in_the_line() -> None:
    stream = io.StringIO()
    logging.basicConfig(stream=stream, format="%(levelname)s %(message)s", force=True)
    ignored = event(EventType.VARIATION_IGNORED, variation="shadow wall", messages=["a=b\nc"])
    log = EventLog(make_logger(upstream="main"))
    log.published(Published(None, answered(mode="params", key="sku"), [ignored]))
    assert stream.getvalue() == (
        f"WARNING variation ignored upstream=main job_id={JOB_ID} mode=params source=api key=sku"
        ' variation="shadow wall" messages="[\\"a=b\\\\nc\\"]"\n'
    )


def test_each_line_names_the_upstream() -> None:
    stream = io.StringIO()
    configure("info", "json", [], stream)
    make_logger(upstream="main").info("started")
    [line] = [json.loads(one) for one in stream.getvalue().splitlines()]
    assert (line["event"], line["upstream"]) == ("started", "main")


@pytest.mark.parametrize(
    ("former", "after", "expected"),
    [
        ("well", "down", [("upstream down", "error")]),
        ("down", "well", [("upstream up", "info")]),
        ("unknown", "well", [("upstream up", "info")]),
        ("well", "suspect", [("upstream suspected", "warning")]),
        ("well", "throttled", [("upstream throttled", "warning")]),
        ("throttled", "well", [("upstream up", "info")]),
        ("well", "key_rejected", [("key rejected", "error")]),
        ("key_rejected", "down", [("upstream down", "error")]),
        ("key_rejected", "well", [("key accepted", "info")]),
        ("well", "blocked", [("upstream down", "error")]),
        ("down", "key_rejected", [("key rejected", "error")]),
    ],
)
def test_each_change_of_the_upstreams_state_is_one_line_at_its_level(
    former: str, after: str, expected: list[tuple[str, str]]
) -> None:
    stream = io.StringIO()
    configure("info", "json", [], stream)
    change = Event(
        EventType.UPSTREAM_CHANGED, None, START, {"from": former, "to": after, "code": "503"}
    )
    EventLog(make_logger()).published(Published(None, None, [change]))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"]) for line in told] == expected


def test_events_without_a_line_are_silent() -> None:
    assert lines("debug", event(EventType.FIRST_ANSWER)) == []


def test_a_secret_that_is_added_later_is_hidden_also_in_its_json_spelling() -> None:
    stream, secrets = io.StringIO(), set[str]()
    configure("info", "json", secrets, stream)
    secrets.add('with"quotes')
    make_logger().error('failed with"quotes')
    assert "quotes" not in stream.getvalue()
    assert json.loads(stream.getvalue())["event"] == "failed <secret>"


@pytest.mark.parametrize("form", ["json", "console", None])
def test_secrets_are_removed_from_every_line(form: str | None) -> None:
    stream = io.StringIO()
    configure("info", form, ["hush-hush"], stream)
    try:
        raise ValueError("with hush-hush inside")
    except ValueError as error:
        make_logger().error("failed hush-hush", error=str(error), exc_info=error)
    logging.getLogger("aiohttp.server").warning("a host's hush-hush line")
    assert "hush-hush" not in stream.getvalue()
    assert "failed <secret>" in stream.getvalue()
    assert "a host's <secret> line" in stream.getvalue()
    assert "ValueError" in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_text_forges_a_line_or_hides_a_part_of_one(form: str) -> None:
    stream = io.StringIO()
    configure("info", form, [], stream)
    evil = "\x1b[2Jcleared\nforged \x9b1m \u202elive\u2066 \u2028line \ufeff"
    make_logger().warning("job finished", step=evil, texts=[evil])
    text = stream.getvalue()
    assert text.count("\n") == 1
    for sign in "\x1b\x9b\u202e\u2066\u2028\ufeff":
        assert sign not in text
    if form == "json":
        assert json.loads(text)["step"] == evil


def test_an_event_whose_line_the_level_leaves_out_binds_no_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure("info", "json", [], io.StringIO())
    log = EventLog(make_logger())
    monkeypatch.setattr(BoundLogger, "bind", None)
    happened = [event(EventType.REGISTERED), event(EventType.FIRST_ANSWER)]
    log.published(Published(None, answered(mode="params"), happened))


def test_a_line_about_the_store_that_repeats_is_written_once_a_minute() -> None:
    now = 5.0
    repeated = RepeatedLines(lambda: now)

    def written(**event: object) -> dict[str, object] | None:
        try:
            return dict(repeated(None, "error", {"event": "store unavailable", **event}))
        except structlog.DropEvent:
            return None

    full = {"event": "store unavailable", "error": "disk full"}
    assert written(error="disk full") == full
    assert [written(error="disk full") for _ in range(3)] == [None] * 3
    assert written(error="gone") is not None
    assert written(error="disk full", operation="prune") is not None
    now += REPEATED_SECONDS
    assert written(error="disk full") == {**full, "repeated": 3}
    assert written(error="disk full") is None
    now += REPEATED_SECONDS
    assert written(error="gone") is not None
    assert written(error="disk full") == {**full, "repeated": 1}
    assert written(error="disk full") is None
    for number in range(MOST_KINDS):
        assert written(error=str(number)) is not None
    assert written(error="disk full") == full
    for _ in range(2):
        assert repeated(None, "info", {"event": "job finished"}) == {"event": "job finished"}


def test_the_logger_leaves_repeated_lines_about_the_store_out() -> None:
    stream, counted = io.StringIO(), list[str]()
    configure("info", "json", [], stream)
    log = make_logger(counted.append)
    for _ in range(5):
        log.error("store unavailable", error="disk full")
    assert (len(stream.getvalue().splitlines()), counted) == (1, ["error"])
