"""Events become deltas; labels that others invent are bounded."""

from typing import Any

from support import JOB_ID, START, answered, job

from exporter.core.events import Event, EventType
from exporter.core.job import FINAL_STATES, Job, JobState
from exporter.core.reply import DriftKind
from exporter.core.tally import (
    BUCKETS,
    FORGOTTEN_REASONS,
    Delta,
    LabelBounds,
    Tally,
    bucket_of,
    layout,
)


def tally(limit: int = 50, groups: tuple[str, ...] = ()) -> Tally:
    return Tally(LabelBounds(limit), groups)


def deltas(what: EventType, subject: Job | None = None, /, **data: Any) -> list[Delta]:
    return tally().deltas(subject or answered(mode="params"), [Event(what, JOB_ID, START, data)])


def test_a_registration_counts_by_source_and_group() -> None:
    counted = tally(groups=("shop", "team")).deltas(
        job(labels={"shop": "eu"}), [Event(EventType.REGISTERED, JOB_ID, START, {})]
    )
    labels = (("shop", "eu"), ("source", "api"), ("team", ""))
    assert counted == [Delta("removit_jobs_registered_total", labels)]


def test_a_step_counts_as_entered_and_the_one_left_has_its_duration() -> None:
    assert deltas(EventType.STEP_CHANGED, step="queued", from_step=None) == [
        Delta("removit_job_step_transitions_total", (("step", "queued"),))
    ]
    counted = deltas(EventType.STEP_CHANGED, step="done", from_step="queued", seconds=3.0)
    assert counted[1] == Delta(
        "removit_job_step_duration_seconds", (("step", "queued"),), 3.0, 2, JOB_ID
    )


def test_each_message_of_a_warning_counts_with_the_job_as_exemplar() -> None:
    assert deltas(EventType.WARNING_RAISED, variation="a", messages=["x", "y"]) == [
        Delta(
            "removit_job_warnings_total",
            (("mode", "params"), ("variation", "a")),
            2,
            exemplar=JOB_ID,
        )
    ]


def test_an_ignored_variation_counts_once_with_the_jobs_mode_and_groups() -> None:
    event = Event(EventType.VARIATION_IGNORED, JOB_ID, START, {"variation": "a", "messages": []})
    counted = tally(groups=("shop",)).deltas(
        answered(mode="params", labels={"shop": "eu"}), [event]
    )
    labels = (("mode", "params"), ("shop", "eu"), ("variation", "a"))
    assert counted == [Delta("removit_job_ignored_variations_total", labels, 1, exemplar=JOB_ID)]


def test_drift_overturns_and_forgetting_count_by_their_reason() -> None:
    assert deltas(EventType.DRIFT, kind="wrong_type") == [
        Delta("removit_contract_drift_total", (("kind", "wrong_type"),))
    ]
    assert deltas(EventType.OVERTURNED, **{"from": "failed"}) == [
        Delta("removit_verdicts_overturned_total", (("from", "failed"),))
    ]
    assert deltas(EventType.FORGOTTEN, state="pending", reason="deleted") == [
        Delta("removit_jobs_forgotten_total", (("reason", "deleted"),))
    ]
    assert FORGOTTEN_REASONS == ("deleted", "config", "file")


def test_only_pending_jobs_count_as_forgotten() -> None:
    assert deltas(EventType.FORGOTTEN, state="done", reason="deleted") == []


def test_the_end_of_a_job_counts_by_state_and_mode_and_measures_its_times() -> None:
    counted = deltas(
        EventType.FINISHED, state="done", evidence=None, seconds=7.0, unseen_seconds=0.4
    )
    labels = (("mode", "params"), ("state", "done"))
    assert counted == [
        Delta("removit_jobs_finished_total", labels, exemplar=JOB_ID),
        Delta("removit_job_duration_seconds", labels, 7.0, 3, JOB_ID),
        Delta("removit_job_detection_delay_seconds", (), 0.4, 0),
    ]


def test_an_end_seen_first_or_without_result_counts_apart() -> None:
    counted = deltas(
        EventType.FINISHED,
        state="done",
        evidence=None,
        first_seen_final=True,
        without_result=True,
    )
    assert [delta.name for delta in counted] == [
        "removit_jobs_finished_total",
        "removit_jobs_done_without_result_total",
        "removit_jobs_first_seen_final_total",
    ]


def test_events_that_nothing_counts_give_no_delta() -> None:
    for kind in (EventType.FIRST_ANSWER, EventType.SUSPECTED, EventType.CLEARED):
        assert deltas(kind) == []


def test_past_the_limit_a_new_value_counts_as_other_and_old_ones_stay() -> None:
    bounds = LabelBounds(2)
    assert [bounds.admit("x", value) for value in ("a", "b", "c", "a")] == ["a", "b", "other", "a"]
    assert bounds.values("x") == ("a", "b")
    assert bounds.values("y") == ()
    assert bounds.take_fresh() == (("x", "a"), ("x", "b"))
    assert bounds.take_fresh() == ()


def test_what_was_stored_is_admitted_before_anything_new() -> None:
    bounds = LabelBounds(2)
    bounds.restore([("x", "a"), ("x", "b")])
    assert (bounds.admit("x", "b"), bounds.admit("x", "c")) == ("b", "other")
    assert bounds.take_fresh() == ()


def test_nothing_is_unknown_and_known_values_need_no_room() -> None:
    bounds = LabelBounds(1, {"mode": ["fancy"]})
    assert bounds.admit("mode", None) == "unknown"
    assert bounds.admit("mode", "fancy") == "fancy"
    assert bounds.admit("mode", "params") == "params"
    assert bounds.admit("mode", "new") == "other"


def test_known_values_start_at_zero() -> None:
    zeros = list(tally().zeros({}))
    assert {delta.amount for delta in zeros} == {0}
    finished = {
        dict(delta.labels)["state"]
        for delta in zeros
        if delta.name == "removit_jobs_finished_total"
    }
    assert finished == {state.value for state in FINAL_STATES}
    series = {(delta.name, delta.labels) for delta in zeros}
    assert len(series) == len(zeros)
    for variation in ("background", "compose", "shadowTop", "clipping", "shadow_wall"):
        labels = (("mode", "params"), ("variation", variation))
        assert ("removit_job_ignored_variations_total", labels) in series
    assert ("removit_job_step_transitions_total", (("step", "pending_compose"),)) in series
    modes = {"background", "clipping", "params", "unknown"}
    assert {
        dict(labels)["mode"] for name, labels in series if name == "removit_jobs_finished_total"
    } == modes


def test_a_bucket_holds_what_is_not_above_its_bound() -> None:
    name = "removit_job_duration_seconds"
    assert BUCKETS[name][0] == 1.0
    assert [bucket_of(name, value) for value in (0.0, 1.0, 1.1, 14400.0, 14401.0)] == [
        0,
        0,
        1,
        18,
        19,
    ]


def test_another_grouping_is_another_layout() -> None:
    assert layout(["shop"]) == layout(["shop"]) != layout(["team"])


def test_the_states_of_a_job_are_the_designs() -> None:
    assert [state.value for state in JobState] == [
        "pending",
        "done",
        "failed",
        "not_found",
        "invalid",
        "expired",
    ]


def test_every_family_that_starts_at_zero_does_so_for_each_known_value() -> None:
    bounds = LabelBounds(50, {"step": ["own_step"], "variation": ["own_variation"]})
    found: dict[tuple[str, str], set[str]] = {}
    for delta in Tally(bounds).zeros({}):
        for label, value in delta.labels:
            found.setdefault((delta.name, label), set()).add(value)
    modes = {"background", "clipping", "params", "unknown"}
    variations = {"background", "compose", "shadowTop", "clipping", "shadow_wall", "own_variation"}
    assert found == {
        ("removit_jobs_registered_total", "source"): {
            *("config", "file", "api", "status", "upload", "plugin")
        },
        ("removit_jobs_finished_total", "state"): {
            *("done", "failed", "not_found", "invalid", "expired")
        },
        ("removit_jobs_finished_total", "mode"): modes,
        ("removit_jobs_done_without_result_total", "mode"): modes,
        ("removit_jobs_first_seen_final_total", "state"): {"done", "failed"},
        ("removit_jobs_forgotten_total", "reason"): {"deleted", "config", "file"},
        ("removit_verdicts_overturned_total", "from"): {"failed", "not_found", "expired"},
        ("removit_contract_drift_total", "kind"): {kind.value for kind in DriftKind},
        ("removit_job_step_transitions_total", "step"): {
            *("queued", "pending_compose", "done", "own_step")
        },
        ("removit_job_warnings_total", "variation"): variations,
        ("removit_job_warnings_total", "mode"): modes,
        ("removit_job_ignored_variations_total", "variation"): variations,
        ("removit_job_ignored_variations_total", "mode"): modes,
    }


def test_a_groups_zeros_carry_its_labels() -> None:
    zeros = [delta for delta in tally().zeros({"shop": "eu"}) if "finished" in delta.name]
    assert zeros
    assert all(("shop", "eu") in delta.labels for delta in zeros)


def test_each_label_is_bounded_by_its_own_set() -> None:
    bounds = LabelBounds(0)
    full = Tally(bounds, ("shop",))
    subject = answered(mode="new", labels={"shop": "new"})
    data = {"step": "new", "from_step": "newer", "seconds": 1.0, "variation": "new", "messages": []}
    for kind, label in (
        (EventType.REGISTERED, "shop"),
        (EventType.STEP_CHANGED, "step"),
        (EventType.WARNING_RAISED, "variation"),
        (EventType.VARIATION_IGNORED, "variation"),
    ):
        for delta in full.deltas(subject, [Event(kind, JOB_ID, START, data)]):
            assert dict(delta.labels)[label] == "other", delta
    assert full.mode(subject) == "other"
    known = {"mode": ["new"], "step": ["new", "newer"], "variation": ["new"], "shop": ["new"]}
    bounds.change(0, known)
    for kind in (EventType.STEP_CHANGED, EventType.WARNING_RAISED, EventType.VARIATION_IGNORED):
        for delta in full.deltas(subject, [Event(kind, JOB_ID, START, data)]):
            assert set(dict(delta.labels).values()) <= {"new", "newer"}
    assert (full.mode(subject), full.groups(subject.labels)) == ("new", {"shop": "new"})
    bounds.change(1, {"colour": ["red"]})
    assert [bounds.admit("colour", value) for value in ("red", "blue")] == ["red", "other"]


def test_what_could_not_be_stored_is_given_back_beside_what_came_since() -> None:
    bounds = LabelBounds(9)
    bounds.admit("x", "a")
    fresh = bounds.take_fresh()
    bounds.admit("x", "b")
    bounds.give_back(fresh)
    assert bounds.take_fresh() == (("x", "b"), ("x", "a"))


def test_an_end_counts_apart_in_its_group_with_the_job_as_exemplar() -> None:
    subject = answered(mode="params", labels={"shop": "eu"})
    data = {"state": "done", "evidence": None, "first_seen_final": True, "without_result": True}
    event = Event(EventType.FINISHED, JOB_ID, START, data)
    labels = (("mode", "params"), ("shop", "eu"))
    assert tally(groups=("shop",)).deltas(subject, [event]) == [
        Delta("removit_jobs_finished_total", (*labels, ("state", "done")), exemplar=JOB_ID),
        Delta("removit_jobs_done_without_result_total", labels, exemplar=JOB_ID),
        Delta("removit_jobs_first_seen_final_total", (("state", "done"),)),
    ]
