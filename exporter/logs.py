"""Logs through structlog: one line for each event, after its commit, and never one per poll.

All parts log through a structlog logger that wraps the stdlib logger `removit_exporter` and needs
no global configuration: an application that embeds the exporter decides where the lines go.
`configure` is global; only the command calls it.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Collection, Mapping, MutableMapping
from typing import Any, Final, Self, TextIO

import structlog

from .core.events import Event, EventType
from .core.health.health import UpstreamState
from .core.job import Job, JobState
from .core.printable import printable
from .core.published import Published
from .repeated_lines import RepeatedLines

LOGGER_NAME: Final = "removit_exporter"
DRIFT_SECONDS: Final = 3600.0
"""A field's drift is logged once in this time. The metric counts every job's."""
MOST_DRIFT_LINES: Final = 100
"""Drift that is logged in this time; the upstream invents the names of fields."""

Logger = structlog.stdlib.BoundLogger
EventDict = MutableMapping[str, Any]


class _Line(str):
    """An event's name, which as a message has the event's data behind it.

    A host's format shows `%(message)s` and nothing else; our own shows the data apart.
    """

    __slots__ = ("data",)

    def __new__(cls, event: str, data: Mapping[str, Any]) -> Self:
        line = super().__new__(cls, event)
        line.data = data  # type: ignore[attr-defined]
        return line

    def __str__(self) -> str:
        data: Mapping[str, Any] = self.data  # type: ignore[attr-defined]
        shown = (f"{name}={_value(value)}" for name, value in data.items() if value is not None)
        return " ".join([self.event, *shown])

    @property
    def event(self) -> str:
        """The name alone."""
        return super().__str__()


def _value(value: Any) -> str:
    """Write a value as one word, or in quotation marks."""
    text = printable(value if isinstance(value, str) else json.dumps(value, default=str))
    plain = text and not (set(text) & _QUOTED)
    return text if plain else json.dumps(text, ensure_ascii=False)


_QUOTED: Final = frozenset(' "=')


def _with_data(logger: Any, level: str, event: EventDict) -> EventDict:
    """Put the data of an event into its message as well."""
    data = {name: value for name, value in event.items() if name not in _NOT_DATA}
    event["event"] = _Line(event["event"], data)
    return event


_NOT_DATA: Final = frozenset({"event", "exc_info", "stack_info", "stacklevel"})


def _event_alone(logger: Any, level: str, event: EventDict) -> EventDict:
    """Show the event's name alone: its data come as fields."""
    message = event["_record"].msg
    if isinstance(message, _Line):
        event["event"] = message.event
    return event


def make_logger(
    count: Callable[[str], None] = lambda level: None, upstream: str | None = None
) -> Logger:
    """Return the exporter's logger; `count` is called with the level of each logged line.

    Every line names the `upstream`.
    """

    def counted(logger: Any, level: str, event: EventDict) -> EventDict:
        count("error" if level == "critical" else level)
        return event

    logger: Logger = structlog.wrap_logger(
        logging.getLogger(LOGGER_NAME),
        processors=[
            structlog.stdlib.filter_by_level,
            RepeatedLines(),
            counted,
            _with_data,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
        **({} if upstream is None else {"upstream": upstream}),
    )
    return logger


_HIDDEN: Final = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters that do not show, or change the order of what does. JSON does not escape them."""
_OF_MANY_LINES: Final = frozenset({"exception", "stack"})


def _escape(sign: re.Match[str]) -> str:
    return f"\\u{ord(sign[0]):04x}"


def _shown(key: str, value: Any) -> Any:
    """Return a value that forges no line and moves no cursor; a traceback keeps its lines."""
    is_text = isinstance(value, str) and key not in _OF_MANY_LINES
    return printable(value) if is_text else value


def configure(
    level: str, form: str | None, secrets: Collection[str], stream: TextIO = sys.stderr
) -> None:
    """Write all logs to `stream`: as JSON, or for people (the default on a terminal).

    Every text of `secrets` is replaced in every line. The set may grow: it is read for each line.
    """
    if form is None:
        form = "console" if stream.isatty() else "json"
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())

    def render(logger: Any, name: str, event: EventDict) -> str:
        if form == "console":
            event = {key: _shown(key, value) for key, value in event.items()}
        line = _HIDDEN.sub(_escape, str(renderer(logger, name, event)))
        for secret in secrets:
            for spelt in (secret, json.dumps(secret)[1:-1]):
                line = line.replace(spelt, "<secret>")
        return line

    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                _event_alone,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([structlog.processors.format_exc_info] if form == "json" else []),
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """Log our own lines from this level upwards; only the command calls it."""
    logging.getLogger(LOGGER_NAME).setLevel(level.upper())


MAX_WARNING_LINES: Final = 600
"""Lines about warnings and ignored variations in `WINDOW_SECONDS`; the rest is counted."""
MAX_WARNING_CHARS: Final = 256 * 1024
"""The characters of their messages: one answer may have 32,768, which JSON may write in 393,216."""
WINDOW_SECONDS: Final = 60.0
_WARNINGS: Final = {
    EventType.WARNING_RAISED: "warning raised",
    EventType.VARIATION_IGNORED: "variation ignored",
}
_DEBUG_EVENTS: Final = frozenset(
    (EventType.REGISTERED, EventType.FIRST_ANSWER, EventType.STEP_CHANGED, EventType.PROGRESS_FELL)
)
"""Events without a line above the level `debug`."""


class EventLog:
    """Turns published events into log lines."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._drift_logged: dict[tuple[str, str], float] = {}
        """When each kind of drift of a field was logged."""
        self._window_ends = 0.0
        self._lines_left = self._chars_left = 0
        self._left_out = 0

    def published(self, published: Published) -> None:
        """Log the events of a change; a listener of the registry."""
        job = published.after or published.before
        for event in published.events:
            if event.type is EventType.UPSTREAM_CHANGED:
                self._upstream(event)
            elif job is not None and self._has_line(event):
                self._job(job, event)

    def _has_line(self, event: Event) -> bool:
        """Whether the level admits the event's line: binding its fields takes 20 us."""
        return event.type not in _DEBUG_EVENTS or self._logger.isEnabledFor(logging.DEBUG)

    def _job(self, job: Job, event: Event) -> None:
        data = event.data
        log = self._logger.bind(job_id=job.job_id, mode=job.mode, source=job.source.value)
        if job.key is not None:
            log = log.bind(key=job.key)
        match event.type:
            case EventType.REGISTERED:
                log.debug("job registered")
            case EventType.STEP_CHANGED:
                log.debug("step changed", step=data["step"], from_step=data["from_step"])
            case EventType.PROGRESS_FELL:
                log.debug("progress fell", **data)
            case EventType.FINISHED:
                level = logging.INFO if data["state"] == JobState.DONE else logging.WARNING
                log.log(
                    level,
                    "job finished",
                    state=data["state"],
                    step=job.step,
                    evidence=data["evidence"],
                    without_result=data.get("without_result", False),
                )
            case EventType.OVERTURNED:
                log.warning("verdict overturned", from_state=data["from"], state=job.state.value)
            case EventType.FORGOTTEN:
                log.info("job forgotten", state=data["state"], reason=data["reason"])
            case EventType.WARNING_RAISED | EventType.VARIATION_IGNORED:
                self._noted(log, event)
            case EventType.SUSPECTED:
                log.info("job suspected", http_status=data.get("http_status"), missing=_list(data))
            case EventType.CLEARED:
                log.info("job cleared", step=job.step)
            case EventType.DRIFT:
                self._drift(log, event)

    def _noted(self, log: Logger, event: Event) -> None:
        """Write a line for a warning or an ignored variation, while there is room."""
        data = event.data
        if self._has_room(event.time, sum(map(len, data["messages"]))):
            fields = {"variation": data["variation"], "messages": data["messages"]}
            log.warning(_WARNINGS[event.type], **fields)

    def _has_room(self, time: float, chars: int) -> bool:
        """Whether a warning of the upstream may be logged: it may invent any number of them."""
        if time >= self._window_ends:
            if self._left_out:
                self._logger.warning("warnings left out of the log", lines=self._left_out)
            self._window_ends, self._left_out = time + WINDOW_SECONDS, 0
            self._lines_left, self._chars_left = MAX_WARNING_LINES, MAX_WARNING_CHARS
        self._lines_left -= 1
        self._chars_left -= chars
        has_room = min(self._lines_left, self._chars_left) >= 0
        self._left_out += not has_room
        return has_room

    def _drift(self, log: Logger, event: Event) -> None:
        kind, detail = event.data["kind"], event.data["detail"]
        recent = {
            drift: time
            for drift, time in self._drift_logged.items()
            if event.time - time < DRIFT_SECONDS
        }
        if (kind, detail) not in recent and len(recent) < MOST_DRIFT_LINES:
            recent[kind, detail] = event.time
            log.warning("contract drift", kind=kind, detail=detail)
        self._drift_logged = recent

    def _upstream(self, event: Event) -> None:
        """Write one line for a change of the upstream's state."""
        former, now = UpstreamState(event.data["from"]), UpstreamState(event.data["to"])
        level, name = _CHANGES[now]
        if now is UpstreamState.WELL and former is UpstreamState.KEY_REJECTED:
            name = "key accepted"
        fields = {"from_state": former.value, "state": now.value, "code": event.data["code"]}
        self._logger.log(level, name, **fields)


def _list(data: Mapping[str, Any]) -> list[str]:
    return list(data.get("missing", ()))


_CHANGES: Final[Mapping[UpstreamState, tuple[int, str]]] = {
    UpstreamState.UNKNOWN: (logging.INFO, "upstream unknown"),
    UpstreamState.WELL: (logging.INFO, "upstream up"),
    UpstreamState.SUSPECT: (logging.WARNING, "upstream suspected"),
    UpstreamState.DOWN: (logging.ERROR, "upstream down"),
    UpstreamState.THROTTLED: (logging.WARNING, "upstream throttled"),
    UpstreamState.BLOCKED: (logging.ERROR, "upstream down"),
    UpstreamState.KEY_REJECTED: (logging.ERROR, "key rejected"),
}
"""The line for each state; errors are those in which nothing is polled until someone acts."""
