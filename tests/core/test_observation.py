"""The effect of a reply on a job: transitions, events, and what never changes."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support import JOB_ID, START, answered, error, job, now, ok, only, timeout, types

from exporter.core.contract import parse_reply
from exporter.core.events import Event, EventType, Now
from exporter.core.job import TRANSITIONS, Job, JobState, Source, Verdict
from exporter.core.observation import (
    MAX_REMEMBERED_CHARS,
    MAX_REMEMBERED_MESSAGES,
    conclude,
    observe,
)
from exporter.core.registration import forget, register
from exporter.core.reply import Drift, DriftKind, Kind, Reply
from exporter.core.tally import LabelBounds, Tally

PENDING, DONE, FAILED = JobState.PENDING, JobState.DONE, JobState.FAILED
NOT_FOUND, INVALID, EXPIRED = JobState.NOT_FOUND, JobState.INVALID, JobState.EXPIRED


def ended(state: JobState) -> Job:
    """A job that had a good answer and then ended in `state`."""
    if state is DONE:
        return observe(answered(), ok("done"), now(50))[0]
    return conclude(answered(), Verdict(state, "because"), now(50))[0]


def test_the_first_answer_tells_mode_step_and_itself() -> None:
    after, events = observe(job(), ok(), now(2))
    assert types(events) == ["first_answer", "step_changed"]
    assert (after.mode, after.step, after.progress) == ("params", "pending_compose", 33)
    assert after.first_answer_at == after.last_polled_at == after.last_progress_at == START + 2
    assert only(events, EventType.STEP_CHANGED).data == {
        "step": "pending_compose",
        "from_step": None,
    }


def test_the_same_answer_twice_gives_no_second_event() -> None:
    reply = ok(
        warnings={"a": ("x", "y")},
        ignored_variations=("b",),
    )
    reply = replace(reply, drift=(Drift(DriftKind.UNKNOWN_FIELD, "z"),))
    first, events = observe(job(), reply, now(2))
    assert types(events) == [
        "drift",
        "first_answer",
        "step_changed",
        "warning_raised",
        "variation_ignored",
    ]
    second, events = observe(first, reply, now(4))
    assert events == []
    assert replace(second, last_polled_at=first.last_polled_at) == first


def test_jobs_share_their_empty_mappings_before_and_after_an_answer() -> None:
    body = b'{"job_id": "%s", "state": "pending", "status": "a", "mode": "params", "progress": 1}'
    jobs = [job("a"), job("b")]
    jobs += [
        observe(one, parse_reply(200, {}, body % one.job_id.encode()), now(2))[0] for one in jobs
    ]
    assert [one.mode for one in jobs] == [None, None, "params", "params"]
    assert len({id(one.final_urls) for one in jobs}) == 1
    assert len({id(texts) for one in jobs for texts in (one.warnings, one.reported_warnings)}) == 1


def test_a_fall_of_progress_is_reported_once_a_job() -> None:
    before, _ = observe(job(), ok(progress=80), now(2))
    after, events = observe(before, ok(progress=20), now(9))
    assert after.progress == 20
    assert [event.type for event in events] == [EventType.PROGRESS_FELL]
    assert events[0].data == {"progress": 20, "from_progress": 80}
    assert (events[0].job_id, events[0].time) == (after.job_id, START + 9)
    risen, _ = observe(after, ok(progress=90), now(11))
    assert observe(risen, ok(progress=10), now(12))[1] == []


@pytest.mark.parametrize(("before", "after", "falls"), [(10.0, 0.0, 0), (10.5, 0.0, 1)])
def test_a_fall_by_ten_points_is_not_reported(before: float, after: float, falls: int) -> None:
    seen, _ = observe(job(), ok(progress=before), now(2))
    _, events = observe(seen, ok(progress=after), now(9))
    assert len(events) == falls


def test_a_first_percentage_is_no_fall() -> None:
    _, events = observe(job(), ok(progress=0), now(2))
    assert EventType.PROGRESS_FELL not in [event.type for event in events]


def test_a_weak_verdict_is_remembered_until_it_is_overturned() -> None:
    failed, _ = conclude(answered(), Verdict(JobState.FAILED, "because", weak=True), now(5))
    assert failed.weakly_failed
    pending, _ = observe(failed, ok(), now(9))
    assert pending.weakly_failed is False
    strongly, _ = conclude(answered(), Verdict(JobState.FAILED, "because"), now(5))
    assert not strongly.weakly_failed


def test_the_messages_told_of_one_job_are_limited_in_size() -> None:
    known, told = job(), 0
    for at in range(40):
        messages = tuple(f"{at}-{number}-" + "x" * 990 for number in range(10))
        known, events = observe(known, ok(warnings={"a": messages}), now(2 + at))
        told += sum(
            len(text)
            for event in events
            if event.type is EventType.WARNING_RAISED
            for text in event.data["messages"]
        )
    assert 0 < told <= MAX_REMEMBERED_CHARS
    remembered = sum(len(text) for texts in known.reported_warnings.values() for text in texts)
    assert remembered == told


@pytest.mark.parametrize(("more", "reported"), [(0, 1), (1, 0)])
def test_a_message_is_reported_up_to_the_last_character_of_the_limit(
    more: int, reported: int
) -> None:
    message = "x" * (MAX_REMEMBERED_CHARS + more)
    _, events = observe(job(), ok(warnings={"a": (message,)}), now(2))
    assert types(events).count("warning_raised") == reported


def test_progress_is_no_event_and_may_fall_a_little() -> None:
    before, _ = observe(job(), ok(progress=50), now(2))
    after, events = observe(before, ok(progress=40), now(9))
    assert (after.progress, after.last_progress_at, events) == (40, START + 9, [])
    silent, _ = observe(after, ok(progress=None, step=None), now(11))
    assert (silent.progress, silent.step, silent.last_progress_at) == (
        40,
        "pending_compose",
        START + 9,
    )


def test_a_step_left_tells_how_long_it_took() -> None:
    before, _ = observe(job(), ok(step="queued"), now(2))
    after, events = observe(before, ok(step="pending_compose"), now(7))
    assert only(events, EventType.STEP_CHANGED).data == {
        "step": "pending_compose",
        "from_step": "queued",
        "seconds": 5.0,
    }
    assert after.step_since == START + 7


def test_mode_is_learned_once() -> None:
    before, _ = observe(job(), ok(mode=None), now(1))
    assert before.mode is None
    learned, _ = observe(before, ok(mode="params"), now(2))
    kept, _ = observe(learned, ok(mode="clipping"), now(3))
    assert kept.mode == "params"


def test_done_keeps_results_and_says_how_long_it_took() -> None:
    before, _ = observe(job(), ok(), now(2))
    after, events = observe(before, ok("done"), now(9))
    assert types(events) == ["step_changed", "finished"]
    assert only(events, EventType.FINISHED).data == {
        "state": "done",
        "evidence": None,
        "seconds": 9.0,
        "unseen_seconds": 7.0,
    }
    assert (after.state, after.finished_at, after.final_url) == (
        DONE,
        START + 9,
        "https://cdn.example.com/a.webp",
    )


def test_a_first_answer_that_is_final_has_no_duration() -> None:
    after, events = observe(job(), ok("done"), now(9))
    assert only(events, EventType.FINISHED).data == {
        "state": "done",
        "evidence": None,
        "first_seen_final": True,
    }
    assert after.first_seen_final


@pytest.mark.parametrize(
    ("fields", "without"),
    [
        ({"final_url": None}, True),
        ({"final_url": None, "final_urls": {"a": "https://x"}}, False),
        ({}, False),
    ],
)
def test_done_without_any_url_is_done_without_result(
    fields: dict[str, object], without: bool
) -> None:
    after, events = observe(job(), ok("done", **fields), now(1))
    assert after.state is DONE
    assert only(events, EventType.FINISHED).data.get("without_result", False) is without


def test_an_explicit_failure_needs_no_verdict() -> None:
    after, events = observe(answered(), ok("failed", final_url=None), now(5))
    assert (after.state, after.evidence) == (FAILED, "explicit")
    assert only(events, EventType.FINISHED).data["evidence"] == "explicit"


def test_a_warning_is_told_once_and_a_new_message_of_its_variation_again() -> None:
    before, _ = observe(job(), ok(warnings={"a": ("x",)}), now(1))
    after, events = observe(before, ok(warnings={"a": ("x", "y")}), now(2))
    assert only(events, EventType.WARNING_RAISED).data == {"variation": "a", "messages": ["y"]}
    gone, events = observe(after, ok(warnings={}), now(3))
    assert (gone.warnings, events) == ({}, [])
    back, events = observe(gone, ok(warnings={"a": ("x",)}), now(4))
    assert (back.warnings, events) == ({"a": ("x",)}, [])


def test_an_ignored_variation_is_told_beside_the_warnings_that_name_it() -> None:
    reply = ok(warnings={"b": ("no params",), "c": ("x",)}, ignored_variations=("b",))
    _, events = observe(job(), reply, now(1))
    assert only(events, EventType.VARIATION_IGNORED).data == {
        "variation": "b",
        "messages": ["no params"],
    }


def test_an_ignored_variation_that_comes_back_is_not_told_again() -> None:
    before, _ = observe(job(), ok(ignored_variations=("b",)), now(1))
    gone, _ = observe(before, ok(), now(2))
    assert gone.ignored_variations == ()
    back, events = observe(gone, ok(ignored_variations=("b",)), now(3))
    assert (back.ignored_variations, events) == (("b",), [])


def test_an_upstream_with_ever_new_warnings_fills_no_memory() -> None:
    current = job()
    counted = 0
    for at in range(30):
        texts = tuple(f"{at}-{number}" for number in range(50))
        reply = ok(warnings={"a": texts}, ignored_variations=texts)
        current, events = observe(current, reply, now(at))
        counted += sum(
            len(event.data["messages"])
            for event in events
            if event.type is EventType.WARNING_RAISED
        )
    assert counted == MAX_REMEMBERED_MESSAGES
    assert len(current.reported_warnings["a"]) == MAX_REMEMBERED_MESSAGES
    assert len(current.reported_ignored) == MAX_REMEMBERED_MESSAGES


def test_drift_is_told_once_a_job_and_kind() -> None:
    drifts = (Drift(DriftKind.UNKNOWN_FIELD, "a"), Drift(DriftKind.UNKNOWN_FIELD, "b"))
    after, events = observe(job(), replace(ok(), drift=drifts), now(1))
    told = [event for event in events if event.type is EventType.DRIFT]
    assert [event.data["kind"] for event in told] == ["unknown_field"]
    assert after.reported_drift == ("unknown_field",)


@pytest.mark.parametrize("http_status", [500, 404, 422])
def test_a_5xx_404_or_422_begins_a_row(http_status: int) -> None:
    after, events = observe(answered(), error(http_status), now(5))
    assert types(events) == ["suspected"]
    named = {500: "x", 404: "not_found", 422: "validation"}[http_status]
    assert only(events, EventType.SUSPECTED).data == {"http_status": http_status, "error": named}
    assert after.suspicion is not None
    assert (after.suspicion.answers, after.suspicion.since) == (1, 5.0)
    longer, events = observe(after, error(http_status), now(9))
    assert events == []
    assert longer.suspicion is not None
    assert (longer.suspicion.answers, longer.suspicion.length) == (2, 4.0)


def test_runs_of_each_kind_are_kept_side_by_side_until_a_2xx() -> None:
    current = answered()
    for seconds, code in ((5, 500), (6, 404), (7, 500), (9, 422), (10, 404)):
        current, _ = observe(current, error(code), now(seconds))
    runs = {
        run.kind: (run.answers, run.since, run.until)
        for kind in (Kind.SERVER_ERROR, Kind.NOT_FOUND, Kind.INVALID)
        if (run := current.run_of(kind)) is not None
    }
    assert runs == {
        Kind.SERVER_ERROR: (2, 5, 7),
        Kind.NOT_FOUND: (2, 6, 10),
        Kind.INVALID: (1, 9, 9),
    }
    assert current.suspicion == current.run_of(Kind.NOT_FOUND)
    assert current.run_of(Kind.OK) is None
    after, events = observe(current, ok(), now(11))
    assert (after.suspicion, after.other_runs) == (None, ())
    assert only(events, EventType.CLEARED).data == {"http_status": 404, "answers": 2}


def test_each_kind_of_run_is_one_event() -> None:
    current, told = answered(), []
    for seconds, code in ((5, 500), (6, 404), (7, 500), (8, 404)):
        current, events = observe(current, error(code), now(seconds))
        told += types(events)
    assert told == ["suspected", "suspected"]


def test_an_answer_out_of_turn_begins_a_run_and_lengthens_none() -> None:
    begun, events = observe(answered(), error(404), now(5), in_turn=False)
    assert types(events) == ["suspected"]
    asked, events = observe(begun, error(404), now(6), in_turn=False)
    assert (asked.suspicion, events) == (begun.suspicion, [])
    polled, _ = observe(asked, error(404), now(7))
    assert polled.suspicion is not None
    assert (polled.suspicion.answers, polled.suspicion.length) == (2, 2)


def test_an_answer_out_of_turn_makes_the_run_of_its_kind_the_current_one() -> None:
    bad, _ = observe(answered(), error(500), now(5))
    lost, _ = observe(bad, error(404), now(6))
    again, _ = observe(lost, error(500), now(7), in_turn=False)
    assert again.suspicion == bad.suspicion
    assert again.other_runs == (lost.suspicion,)


def test_a_verdict_ends_every_run() -> None:
    current = answered()
    for seconds, code in ((5, 500), (6, 404)):
        current, _ = observe(current, error(code), now(seconds))
    over, _ = conclude(current, Verdict(FAILED, "because"), now(7))
    assert (over.suspicion, over.other_runs) == (None, ())


@pytest.mark.parametrize(
    "reply",
    [
        *(timeout(), error(401), error(403, b"<html>"), error(429), error(418)),
        *(replace(error(200, b"garbage"), drift=()), replace(error(404, b"<html>"), drift=())),
    ],
)
def test_what_comes_from_before_the_job_neither_grows_nor_ends_a_row(reply: Reply) -> None:
    before, _ = observe(answered(), error(500), now(5))
    after, events = observe(before, reply, now(9))
    assert (after.suspicion, events) == (before.suspicion, [])
    assert after.setbacks == 1


def test_setbacks_add_up_until_an_answer_says_something() -> None:
    current = answered()
    for at in range(3):
        current, _ = observe(current, timeout(), now(at))
    assert current.setbacks == 3
    assert observe(current, ok(), now(5))[0].setbacks == 0
    assert observe(current, error(500), now(5))[0].setbacks == 0


def clock_set(seconds: float, steady: float) -> Now:
    """A time at which the wall clock and the steady clock say different things."""
    return Now(START + seconds, 1000.0 + steady, steady)


@pytest.mark.parametrize("step", [82_800.0, -82_800.0, 1.0, -1.0])
def test_a_wall_clock_that_is_set_changes_no_duration(step: float) -> None:
    begun, _ = observe(job(), ok(), now(3))
    after, events = observe(begun, ok("done"), clock_set(8 + step, 8))
    assert only(events, EventType.FINISHED).data["seconds"] == 8
    assert only(events, EventType.FINISHED).data["unseen_seconds"] == 5
    assert only(events, EventType.STEP_CHANGED).data["seconds"] == 5
    assert (after.registered_at, after.finished_at) == (START + step, START + 8 + step)
    again, _ = observe(after, ok("done"), clock_set(20, 20))
    assert (again.registered_at, again.finished_at) == (START, START + 8)


def test_a_difference_of_less_than_a_second_between_the_clocks_moves_no_stamp() -> None:
    begun, _ = observe(job(), ok(), now(3))
    after, _ = observe(begun, ok("done"), clock_set(3 - 0.9, 3))
    assert (after.registered_at, after.finished_at) == (START, START + 3)
    assert conclude(begun, Verdict(FAILED, "because"), now(2))[0].finished_at == START + 3


def test_a_stamp_of_an_earlier_process_that_lies_in_the_future_is_corrected() -> None:
    stored = replace(
        answered(), registered_at=START + 5000, last_polled_at=START + 5040, clock_offset=None
    )
    after, events = observe(stored, ok("done"), now(0))
    assert (after.registered_at, after.finished_at) == (START - 40, START)
    assert only(events, EventType.FINISHED).data["seconds"] == 40
    earlier = replace(answered(), registered_at=START - 5000, clock_offset=None)
    for later in (0, 1000):
        assert observe(earlier, ok(), now(later))[0].registered_at == START - 5000


EXPECTED_TRANSITIONS = {
    ("pending", "done"),
    ("pending", "failed"),
    ("pending", "not_found"),
    ("pending", "invalid"),
    ("pending", "expired"),
    ("failed", "pending"),
    ("failed", "done"),
    ("not_found", "pending"),
    ("not_found", "done"),
    ("not_found", "failed"),
    ("expired", "done"),
    ("expired", "failed"),
}


def test_the_table_of_transitions_is_the_designs() -> None:
    assert {(a.value, b.value) for a, b in TRANSITIONS} == EXPECTED_TRANSITIONS


@pytest.mark.parametrize("state", [FAILED, NOT_FOUND, INVALID, EXPIRED])
def test_a_verdict_ends_a_pending_job_and_names_its_evidence(state: JobState) -> None:
    before = replace(answered(), suspicion=None)
    after, events = conclude(before, Verdict(state, "because"), now(50))
    assert (after.state, after.evidence, after.finished_at) == (state, "because", START + 50)
    assert only(events, EventType.FINISHED).data["evidence"] == "because"


@pytest.mark.parametrize("former", [DONE, INVALID, FAILED, NOT_FOUND, EXPIRED])
@pytest.mark.parametrize("state", list(JobState))
def test_a_verdict_changes_no_job_that_has_ended(former: JobState, state: JobState) -> None:
    before = ended(former)
    assert conclude(before, Verdict(state, "because"), now(60)) == (before, [])


def test_pending_is_no_verdict() -> None:
    assert conclude(answered(), Verdict(PENDING, "because"), now(60)) == (answered(), [])


@pytest.mark.parametrize(
    ("former", "said", "becomes"),
    [
        (FAILED, "pending", PENDING),
        (FAILED, "done", DONE),
        (NOT_FOUND, "pending", PENDING),
        (NOT_FOUND, "done", DONE),
        (NOT_FOUND, "failed", FAILED),
        (EXPIRED, "done", DONE),
        (EXPIRED, "failed", FAILED),
    ],
)
def test_a_better_answer_overturns_an_inference(
    former: JobState, said: str, becomes: JobState
) -> None:
    after, events = observe(ended(former), ok(said), now(120))
    assert after.state is becomes
    assert only(events, EventType.OVERTURNED).data == {"from": former.value}
    assert ("finished" in types(events)) is (becomes is not PENDING)
    assert (after.finished_at is None) is (becomes is PENDING)


@pytest.mark.parametrize(
    ("former", "said"),
    [
        (FAILED, "failed"),
        (EXPIRED, "pending"),
        *(
            (absorbing, said)
            for absorbing in (DONE, INVALID)
            for said in ("pending", "done", "failed")
        ),
    ],
)
def test_no_other_answer_overturns(former: JobState, said: str) -> None:
    before = ended(former)
    after, events = observe(before, ok(said), now(120))
    assert (after.state, events) == (former, [])
    assert after.finished_at == before.finished_at


def test_a_recheck_counts_when_the_job_itself_was_heard() -> None:
    before = ended(FAILED)
    assert observe(before, error(500), now(120))[0].rechecks == 1
    assert observe(before, ok("failed"), now(120))[0].rechecks == 1
    unheard = observe(before, timeout(), now(120))[0]
    assert (unheard.rechecks, unheard.setbacks) == (0, 1)


def test_an_overturned_job_begins_its_rechecks_anew() -> None:
    before = observe(ended(FAILED), error(500), now(120))[0]
    after = observe(before, ok(), now(200))[0]
    assert (after.state, after.rechecks, after.evidence) == (PENDING, 0, None)


REPLIES = st.sampled_from(
    [
        ok(),
        ok(step="queued", progress=1),
        ok(warnings={"a": ("x",)}, ignored_variations=("a",)),
        ok(mode="clipping", progress=99),
        ok("done"),
        ok("done", final_url=None),
        ok("failed"),
        error(500),
        error(502, b"<html>"),
        error(404),
        error(422),
        error(401),
        error(429),
        error(200, b"{}"),
        timeout(),
    ]
)
VERDICTS = st.sampled_from([Verdict(state, "because") for state in JobState])


class JobMachine(RuleBasedStateMachine):
    """Any replies and verdicts in any order, with a clock that may jump."""

    @initialize()
    def begin(self) -> None:
        self.time = 0.0
        self.tally = Tally(LabelBounds(50))
        self.job, events = register(JOB_ID, Source.API, now())
        self.identity = self.identify()
        self.counts: dict[str, float] = {}
        self.count(events)

    def identify(self) -> tuple[object, ...]:
        held = self.job
        return held.job_id, held.incarnation, held.source, held.key

    def count(self, events: list[Event]) -> None:
        for delta in self.tally.deltas(self.job, events):
            if delta.bucket is None:
                self.counts[delta.name] = self.counts.get(delta.name, 0) + delta.amount

    def take(self, after: Job, events: list[Event]) -> None:
        before, self.job = self.job, after
        if before.state is not after.state:
            assert (before.state, after.state) in TRANSITIONS
            assert ("overturned" in types(events)) is not before.pending
        for name in ("last_polled_at", "last_progress_at", "step_since"):
            since_registered = (getattr(after, name) or after.registered_at) - after.registered_at
            formerly = (getattr(before, name) or before.registered_at) - before.registered_at
            assert since_registered >= formerly - 1e-6
        assert before.mode in (None, after.mode)
        if before.state in (DONE, INVALID):
            assert after.state is before.state
            assert [kind for kind in types(events) if kind != "drift"] == []
        self.count(events)

    def now(self) -> Now:
        return now(self.time)

    @rule(seconds=st.floats(-100, 5000))
    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    @rule(reply=REPLIES)
    def answer(self, reply: Reply) -> None:
        self.take(*observe(self.job, reply, self.now()))
        again, events = observe(self.job, reply, self.now())
        if reply.kind is Kind.OK:
            assert events == []
        self.job = replace(again, rechecks=self.job.rechecks)

    @rule(verdict=VERDICTS)
    def judge(self, verdict: Verdict) -> None:
        self.take(*conclude(self.job, verdict, self.now()))

    @invariant()
    def identity_never_changes(self) -> None:
        assert self.identify() == self.identity

    @invariant()
    def what_was_registered_is_pending_or_finished(self) -> None:
        def total(name: str) -> float:
            return self.counts.get(f"removit_{name}_total", 0)

        assert total("jobs_registered") == (
            self.job.pending + total("jobs_finished") - total("verdicts_overturned")
        )

    @invariant()
    def a_final_state_has_a_time_and_a_pending_one_has_none(self) -> None:
        assert (self.job.finished_at is None) is self.job.pending


TestJobMachine = JobMachine.TestCase
TestJobMachine.settings = settings(max_examples=60, stateful_step_count=30)


def test_forgetting_tells_in_which_state() -> None:
    [event] = forget(ended(FAILED), now(60), "config")
    assert event.data == {"state": "failed", "reason": "config"}


def test_every_event_names_its_job_and_the_time_and_says_what_its_readers_need() -> None:
    told: list[Event] = []
    current = job()
    reply = replace(
        ok(warnings={"a": ("x",)}, ignored_variations=("a",)),
        drift=(Drift(DriftKind.UNKNOWN_FIELD, "z"),),
    )
    for at, answer in enumerate((reply, error(500), ok(warnings={"a": ("x",)})), start=5):
        current, events = observe(current, answer, now(at))
        told += events
    current, events = conclude(current, Verdict(FAILED, "because"), now(8))
    told += events
    current, events = observe(current, ok(), now(9))
    told += events
    assert [(event.type.value, event.job_id, event.time - START, event.data) for event in told] == [
        ("drift", JOB_ID, 5, {"kind": "unknown_field", "detail": "z"}),
        ("first_answer", JOB_ID, 5, {"state": "pending", "mode": "params"}),
        ("step_changed", JOB_ID, 5, {"step": "pending_compose", "from_step": None}),
        ("warning_raised", JOB_ID, 5, {"variation": "a", "messages": ["x"]}),
        ("variation_ignored", JOB_ID, 5, {"variation": "a", "messages": ["x"]}),
        ("suspected", JOB_ID, 6, {"http_status": 500, "error": "x"}),
        ("cleared", JOB_ID, 7, {"http_status": 500, "answers": 1}),
        (
            *("finished", JOB_ID, 8),
            {"state": "failed", "evidence": "because", "seconds": 8, "unseen_seconds": 1},
        ),
        ("overturned", JOB_ID, 9, {"from": "failed"}),
    ]


def test_a_suspicion_that_a_good_answer_clears_is_told_as_of_now() -> None:
    before, _ = observe(answered(step="pending_compose", mode="params"), error(500), now(5))
    _, events = observe(before, ok(), now(9))
    assert only(events, EventType.CLEARED).time == START + 9


def test_no_event_is_older_than_the_job() -> None:
    young = job(at=50)
    after, _ = observe(young, ok(), now(5))
    assert after.first_answer_at == START + 50
    assert conclude(young, Verdict(INVALID, "because"), now(5))[0].finished_at == START + 50


def test_a_row_tells_its_last_status_and_sets_no_poll_back() -> None:
    unheard, _ = observe(answered(), timeout(), now(1))
    begun, _ = observe(unheard, error(500), now(2))
    silent, _ = observe(begun, timeout(), now(3))
    grown, _ = observe(silent, error(503), now(4))
    assert grown.suspicion is not None
    assert (grown.suspicion.http_status, grown.suspicion.answers) == (503, 2)
    assert (begun.setbacks, silent.setbacks, grown.setbacks) == (0, 1, 0)


def test_in_time_that_does_not_count_a_row_stands_still_and_sets_no_poll_back() -> None:
    begun, _ = observe(answered(), error(500), now(2, well=2))
    silent, _ = observe(begun, timeout(), now(3, well=2))
    still, events = observe(silent, error(500), now(4, well=2))
    assert (still.suspicion, still.setbacks, events) == (begun.suspicion, 0, [])


def test_a_recheck_that_is_heard_ends_the_setbacks_before_it() -> None:
    unheard, _ = observe(ended(FAILED), timeout(), now(60))
    assert unheard.setbacks == 1
    assert observe(unheard, error(500), now(70))[0].setbacks == 0
    assert observe(unheard, ok("failed"), now(70))[0].setbacks == 0


def test_an_end_forgets_the_suspicion_and_begins_to_count_rechecks() -> None:
    before = observe(answered(rechecks=2), error(500), now(5))[0]
    after, _ = conclude(before, Verdict(FAILED, "because"), now(9))
    assert (after.suspicion, after.rechecks) == (None, 0)


def test_an_overturned_job_that_was_suspected_is_not_any_more() -> None:
    run = observe(answered(), error(500), now(5))[0].suspicion
    before = replace(ended(NOT_FOUND), suspicion=run)
    after, events = observe(before, ok(), now(120))
    assert after.suspicion is None
    assert "cleared" not in types(events)


def test_a_job_first_seen_final_is_told_so_at_that_end_only() -> None:
    before, _ = observe(job(), ok("failed", final_url=None), now(1))
    over = replace(before, state=JobState.PENDING)
    _, events = conclude(over, Verdict(EXPIRED, "because"), now(9))
    assert only(events, EventType.FINISHED).data.get("first_seen_final") is None


def test_the_messages_told_are_counted_over_all_variations() -> None:
    texts = {name: tuple(f"{name}{at}" for at in range(400)) for name in "abc"}
    after, events = observe(job(), ok(warnings=texts), now(1))
    assert sum(map(len, after.reported_warnings.values())) == MAX_REMEMBERED_MESSAGES
    told = [len(event.data["messages"]) for event in events if event.type == "warning_raised"]
    assert told == [400, 400, 200]
