"""The learner: watches, marks, modes, and what is saved of them."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.pacing.law import HEAVIEST, Law
from exporter.core.pacing.learner import MODES, Learner
from exporter.core.pacing.marks import RATIOS
from exporter.core.pacing.reasons import LEAST_SAMPLES, LEAST_SEEN, duration, estimate, explain
from exporter.core.pacing.saved import MOST, as_dict, from_dict
from exporter.core.pacing.scale import BUCKETS, EDGES
from exporter.core.pacing.watch import EXPECTATION, MARKS, Mode, Watch
from exporter.core.reply import MAX_NAME_CHARS

Progress = Callable[[float], tuple[str, int]]


def run_job(
    learner: Learner, life: float, progress: Progress, mode: str | None = "mode", cost: float = 0.5
) -> tuple[int, float]:
    """Poll a job as the learner says; return the number of calls, and the delay in seconds."""
    watch, age, calls = learner.watch(mode, 0.0), 0.0, 0
    while age < life:
        step, percent = progress(age / life)
        learner.pending(watch, age, step, percent)
        made = learner.forecast(watch, age)
        wait = min(60.0, max(1.0, made.wait(cost, 60.0)))
        learner.plan(watch, made, wait)
        age += wait
        calls += 1
    learner.ended(watch, age)
    return calls, age - life


def run_jobs(learner: Learner, count: int, seed: int, progress: Progress) -> tuple[float, float]:
    """Return the mean calls and the mean delay of log-normal jobs of a minute."""
    rng, calls, delays = random.Random(seed), 0, 0.0
    for _ in range(count):
        more, delay = run_job(learner, 53 * math.exp(rng.gauss(0, 0.5)), progress)
        calls, delays = calls + more, delays + delay
    return calls / count, delays / count


def silent(share: float) -> tuple[str, int]:
    return "running", 0


def fine(share: float) -> tuple[str, int]:
    return "running", int(share * 100)


def test_a_learner_makes_fewer_calls_than_a_fixed_interval_of_the_same_delay() -> None:
    learner = Learner()
    run_jobs(learner, 300, 1, silent)
    calls, delay = run_jobs(learner, 300, 2, silent)
    assert calls < 0.85 * (60 / (2 * delay) + 0.5)


def test_progress_that_predicts_the_end_halves_the_calls() -> None:
    told, untold = Learner(), Learner()
    run_jobs(told, 300, 1, fine)
    run_jobs(untold, 300, 1, silent)
    with_progress, delay = run_jobs(told, 300, 2, fine)
    assert with_progress < 0.6 * (60 / (2 * delay) + 0.5)
    assert with_progress * delay < 0.7 * math.prod(run_jobs(untold, 300, 2, silent))


def test_meaningless_progress_is_not_believed() -> None:
    rng = random.Random(5)

    def nonsense(share: float) -> tuple[str, int]:
        return "running", rng.randrange(100)

    learner, plain = Learner(), Learner()
    for one, progress in ((learner, nonsense), (plain, silent)):
        run_jobs(one, 300, 1, progress)
    calls, delay = run_jobs(learner, 300, 2, nonsense)
    silent_calls, silent_delay = run_jobs(plain, 300, 2, silent)
    assert calls * delay < 1.1 * silent_calls * silent_delay


def test_the_first_jobs_wait_longer_once_others_were_pending_at_their_age() -> None:
    def first_wait() -> float:
        return learner.forecast(learner.watch("mode", 0.0), 0.0).wait(0.5, 60.0)

    learner = Learner()
    assert first_wait() == pytest.approx(math.sqrt(2 * 0.5 * 30), rel=0.1)
    for _ in range(20):
        learner.pending(learner.watch("mode", 0.0), 20.0, "", 0)
    assert first_wait() > 10


def test_a_speed_up_is_followed() -> None:
    learner = Learner()
    for _ in range(400):
        run_job(learner, 100.0, silent)
    delays = [run_job(learner, 10.0, silent)[1] for _ in range(400)]
    assert sum(delays[300:]) / 100 < 3.0


def test_a_job_first_seen_late_counts_only_from_then_on() -> None:
    learner = Learner()
    watch = learner.watch("mode", 64.0)
    learner.pending(watch, 64.0, "", 0)
    learner.pending(watch, 80.0, "", 0)
    learner.ended(watch, 81.0)
    for law in (learner.modes["mode"].law, learner.all.law):
        assert sum(law.passed[:39]) == 0.0
        assert law.samples == 1
        assert law.lived == pytest.approx(16.5)


def test_skipped_time_is_not_counted() -> None:
    learner = Learner()
    watch = learner.watch("mode", 0.0)
    learner.pending(watch, 1.0, "", 0)
    learner.plan(watch, learner.forecast(watch, 1.0), 1.0)
    learner.skip(watch, 100.0)
    learner.pending(watch, 101.0, "", 0)
    assert learner.modes["mode"].law.lived == pytest.approx(2.0)
    assert watch.expectation == b""


def test_a_mode_that_is_not_known_yet_is_paced_by_the_law_over_all() -> None:
    learner = Learner()
    assert learner.watch(None, 0.0).mode is learner.all
    run_job(learner, 30.0, silent, mode=None)
    assert learner.all.law.samples == 1
    for _ in range(10):
        run_job(learner, 30.0, silent)
    assert learner.all.law.samples == 11
    risk = learner.watch("new", 0.0).mode.law.hazard
    assert risk == pytest.approx(learner.all.law.hazard)


def test_only_the_modes_watched_last_are_kept() -> None:
    learner = Learner()
    for number in range(MODES + 3):
        for name in ("kept", f"mode {number}"):
            learner.leave(learner.watch(name, 0.0))
    assert len(learner.modes) == MODES
    assert "kept" in learner.modes
    assert "mode 0" not in learner.modes
    assert f"mode {MODES + 2}" in learner.modes


def test_a_mode_that_is_being_watched_is_kept_and_a_further_one_shares_the_law_over_all() -> None:
    learner = Learner()
    for _ in range(LEAST_SAMPLES):
        run_job(learner, 60.0, silent, mode=None)
    watches = [learner.watch(f"mode {number}", 0.0) for number in range(MODES)]
    more = [learner.watch(f"more {number}", 0.0) for number in range(100)]
    for watch in more:
        learner.pending(watch, 5.0, watch.name or "", 50)
    assert len(learner.modes) == MODES
    assert {id(watch.mode) for watch in more} == {id(learner.all)}
    assert len({id(watch.mark) for watch in more}) <= MARKS + 1
    assert estimate(more[0], 5.0) is None  # the samples are not of its mode
    before = learner.all.law.samples
    learner.ended(more[0], 60.0)
    assert learner.all.law.samples == before + 1
    learner.leave(watches[3])
    learner.leave(watches[3])
    new = learner.watch("new", 0.0)
    assert new.mode is learner.modes["new"]
    assert "mode 3" not in learner.modes
    assert learner.watch("newer", 0.0).mode is learner.all


def test_an_end_and_a_second_watch_leave_the_mode_free_in_the_end() -> None:
    learner = Learner()
    first, second = learner.watch("mode", 0.0), learner.watch("mode", 0.0)
    mode = learner.modes["mode"]
    learner.ended(first, 60.0)
    learner.leave(first)
    assert mode.watches == 1
    learner.leave(second)
    assert mode.watches == 0


def test_reading_neither_creates_nor_displaces_modes() -> None:
    learner = Learner()
    for number in range(MODES):
        learner.leave(learner.watch(f"mode {number}", 0.0))
    before = list(learner.modes)
    assert learner.unwatched("mode 0", 5.0).mode is learner.modes["mode 0"]
    assert learner.unwatched("other", 5.0).mode is learner.all
    unwatched = learner.unwatched(None, 5.0)
    assert unwatched.mode is learner.all
    assert (unwatched.name, unwatched.first, unwatched.last) == (None, 5.0, 5.0)
    assert learner.unwatched("other", 5.0).name == "other"
    assert list(learner.modes) == before
    assert learner.modes["mode 0"].watches == 0


def test_a_thirteenth_mark_shares_one_with_all_others() -> None:
    mode = Mode()
    marks = [mode.mark(f"step {number}", 0) for number in range(MARKS + 3)]
    assert len(set(map(id, marks))) == MARKS + 1
    assert marks[MARKS] is marks[MARKS + 2]
    assert mode.mark("step 1", 0) is marks[1]


def test_a_mark_is_one_step_and_one_eighth_of_progress() -> None:
    mode = Mode()
    assert mode.mark("a", 26) is mode.mark("a", 37)
    assert mode.mark("a", 26) is not mode.mark("a", 38)
    assert mode.mark("a", 26) is not mode.mark("b", 26)
    assert mode.mark("a", 0) is not mode.mark("a", 1)


def moved(*seen: tuple[float, str, int]) -> Watch:
    watch = Watch(Mode(), "mode", first=0.0, last=0.0)
    for age, step, percent in seen:
        watch.move(age, step, percent)
        watch.last = age
    return watch


@pytest.mark.parametrize(
    ("wait", "lost", "teaches"),
    [(1.0, 2.0, True), (1.0, 2.25, False), (10.0, 2.5, True), (10.0, 2.75, False)],
)
def test_an_answer_teaches_if_the_upstream_was_well_for_most_of_the_wait_or_all_but_two_seconds(
    wait: float, lost: float, teaches: bool
) -> None:
    watch = Learner().watch("mode", 0.0)
    watch.planned_wait, watch.lost = wait, 5.0
    assert watch.can_teach(5.0 + lost) is teaches
    watch.is_disturbed = True
    assert not watch.can_teach(5.0)


def test_a_mark_is_entered_between_two_polls() -> None:
    watch = moved((0.0, "a", 0), (10.0, "a", 0), (20.0, "a", 50), (30.0, "a", 50))
    assert (watch.before, watch.since, watch.seen) == (10.0, 20.0, 30.0)
    run, last = watch.ended_runs()
    assert (run.percent, run.before, run.since, run.seen, run.left) == (0, 0.0, 0.0, 10.0, 20.0)
    assert (last.percent, last.before, last.since, last.seen, last.left) == (
        *(50, 10.0, 20.0, 30.0, None),
    )
    assert run.mark is not last.mark


def test_a_fall_of_progress_is_ignored() -> None:
    watch = moved((5.0, "a", 50), (10.0, "a", 20), (15.0, "a", 50))
    assert (watch.since, watch.percent, watch.runs) == (5.0, 50, ())
    watch.move(20.0, "b", 10)
    assert (watch.since, watch.percent, watch.step) == (20.0, 50, "b")
    assert watch.mark is watch.mode.mark("b", 50)


def test_a_mark_that_was_entered_at_the_start_and_lasts_says_nothing() -> None:
    watch = moved((0.0, "a", 0))
    assert watch.mark is not None
    assert not watch.is_marked(5.0)
    watch.mark.is_mute = False
    assert watch.is_marked(5.0)
    assert not watch.is_marked(0.1)
    watch.mark.is_mute = True
    watch.move(3.0, "a", 0)
    assert not watch.is_marked(5.0)
    watch.since = 0.1
    assert not watch.is_marked(5.0)
    watch.since = 0.2
    assert watch.is_marked(5.0)
    assert not moved().is_marked(5.0)
    assert moved().ended_runs() == ()


def planned(learner: Learner) -> Watch:
    watch = learner.watch("mode", 0.0)
    learner.pending(watch, 20.0, "a", 50)
    learner.plan(watch, learner.forecast(watch, 20.0), 10.0)
    planned_at, *_ = EXPECTATION.unpack(watch.expectation)
    watch.expectation = EXPECTATION.pack(planned_at, 0.2, 0.4)
    return watch


@pytest.mark.parametrize(
    ("age", "score"),
    [(30.0, math.log(0.6 / 0.8)), (31.5, math.log(0.6 / 0.8)), (31.6, 0.0), (28.4, 0.0)],
)
def test_a_forecast_is_rated_by_a_poll_that_comes_when_it_was_planned(
    age: float, score: float
) -> None:
    learner = Learner()
    watch = planned(learner)
    assert watch.mark is not None
    learner.pending(watch, age, "a", 50)
    assert watch.mark.score == pytest.approx(score)
    assert not watch.expectation


def test_a_forecast_is_not_rated_after_skipped_time() -> None:
    learner = Learner()
    watch = planned(learner)
    assert watch.mark is not None
    learner.skip(watch, 29.0)
    learner.pending(watch, 30.0, "a", 50)
    assert watch.mark.score == 0.0


def test_an_end_rates_the_forecast_as_well_and_once() -> None:
    learner = Learner()
    watch = planned(learner)
    mark = watch.mark
    assert mark is not None
    learner.ended(watch, 30.0)
    assert mark.score == pytest.approx(math.log(2))
    assert mark.new_ends == 0  # its tables were rebuilt after the first end
    assert mark.left.counts[0] == 1.0


def test_counts_are_rescaled_before_floats_lose_precision() -> None:
    mode = Mode()
    mark = mode.mark("a", 50)
    mark.left.counts[0] = 4e9
    mode.law.weight = HEAVIEST
    mode.end(30.0, 31.0)
    assert mode.law.weight == 1.0
    assert mark.left.counts[0] == pytest.approx(4e9 / (HEAVIEST * 1.005))


# --- saved ---


def taught() -> Learner:
    learner = Learner()
    run_jobs(learner, 120, 3, fine)
    for _ in range(30):
        run_job(learner, 300.0, silent, mode="slow")
    for number in range(20):
        run_job(learner, 30.0, lambda share, step=f"s{number}": (step, 0), mode="many")  # type: ignore[misc]
    return learner


def test_a_learner_survives_being_saved() -> None:
    learner = taught()
    learner.modes["mode"].rebuild()
    document = json.loads(json.dumps(as_dict(learner)))
    again = from_dict(document)
    assert list(again.modes) == list(learner.modes)
    before, after = learner.modes["mode"], again.modes["mode"]
    assert after.law.hazard == pytest.approx(before.law.hazard, rel=0.02, abs=1e-4)
    assert (after.law.samples, after.law.weight) == (120, 1.0)
    assert list(after.marks) == list(before.marks)
    for name, mark in before.marks.items():
        assert after.marks[name].score == pytest.approx(mark.score, abs=1e-3)
        assert after.marks[name].left.shares == pytest.approx(mark.left.shares, abs=0.01)
    assert again.all.law.samples == learner.all.law.samples
    assert again.watch("new", 0.0).mode.law.hazard == pytest.approx(again.all.law.hazard)
    assert (
        from_dict(as_dict(again)).modes["many"].marks.keys() == learner.modes["many"].marks.keys()
    )
    assert None in again.modes["many"].marks


def test_a_modes_end_is_estimated_after_a_restart_too() -> None:
    learner = taught()
    before = estimate(learner.watch("mode", 0.0), 20.0)
    after = estimate(from_dict(as_dict(learner)).watch("mode", 0.0), 20.0)
    assert before is not None
    assert after is not None
    assert after.samples == before.samples


def test_the_largest_number_that_is_read_is_the_limit() -> None:
    again = from_dict(change(("modes", "mode", "lived"), MOST))
    assert again.modes["mode"].law.lived == MOST


def test_a_mode_of_the_longest_name_survives_being_saved() -> None:
    learner = Learner()
    learner.watch("m" * MAX_NAME_CHARS, 0.0)
    assert list(from_dict(as_dict(learner)).modes) == ["m" * MAX_NAME_CHARS]


def test_saved_data_is_small() -> None:
    learner = taught()
    for number in range(100):
        run_job(learner, 30.0, fine, mode=f"mode {number}")
    assert len(json.dumps(as_dict(learner))) < 300_000


def change(path: tuple[Any, ...], value: Any) -> Any:
    document = json.loads(json.dumps(as_dict(taught())))
    place = document
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("version",), 2, "it was written by another version"),
        (("version",), None, "it was written by another version"),
        (("all",), None, "expected an object"),
        (("modes",), [], "expected an object"),
        (("modes", "mode"), 5, "expected an object"),
        (("modes", "mode", "ends"), [0.0] * (BUCKETS - 1), f"expected {BUCKETS} numbers"),
        (("modes", "mode", "ends"), "x" * BUCKETS, "expected a list"),
        (("modes", "mode", "passed", 3), -1, "expected a number"),
        (("modes", "mode", "passed", 3), 1e16, "expected a number"),
        (("modes", "mode", "passed", 3), 10**400, "expected a number"),
        (("modes", "mode", "passed", 3), math.nan, "expected a number"),
        (("modes", "mode", "passed", 3), True, "expected a number"),
        (("modes", "mode", "passed", 3), "1", "expected a number"),
        (("modes", "mode", "samples"), None, "expected a number"),
        (("modes", "mode", "lived"), math.inf, "expected a number"),
        (("modes", "mode", "ended"), None, "expected a number"),
        (("modes", "mode", "marks"), {}, "expected a list"),
        (("modes", "mode", "marks", 0), 5, "expected an object"),
        (("modes", "mode", "marks", 0, "step"), 5, "expected a name"),
        (("modes", "mode", "marks", 0, "step"), "x" * 129, "expected a name"),
        (("modes", "mode", "marks", 0, "band"), -2, "expected a number"),
        (("modes", "mode", "marks", 0, "score"), None, "expected a number"),
        (("modes", "mode", "marks", 0, "left"), [0.0] * (RATIOS + 1), f"expected {RATIOS} numbers"),
        (("modes", "mode", "marks", 0, "entered"), None, "expected a list"),
    ],
)
def test_unreadable_data_is_refused_with_a_reason(
    path: tuple[Any, ...], value: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        from_dict(change(path, value))


def test_surplus_modes_and_marks_are_not_read() -> None:
    document = json.loads(json.dumps(as_dict(taught())))
    document["modes"] = {str(number): document["all"] for number in range(MODES + 1)}
    document["modes"]["last"] = document["all"]
    again = from_dict(document)
    assert list(again.modes) == [*map(str, range(2, MODES + 1)), "last"]
    score = document["modes"]["last"]
    score["marks"] = [
        {"step": str(at), "band": -1, "score": 9, "entered": [0] * RATIOS, "left": [0] * RATIOS}
        for at in range(20)
    ]
    marks = from_dict(document).modes["last"].marks
    assert len(marks) == MARKS + 1
    assert marks["0", -1].score == 4.0
    score["marks"][0]["score"] = -9
    assert from_dict(document).modes["last"].marks["0", -1].score == -4.0


# --- bounds ---


@given(
    st.lists(
        st.tuples(st.floats(-1e5, 1e5), st.sampled_from(["pending", "skip", "ended"])),
        max_size=30,
    )
)
def test_what_was_learned_can_be_read_again_though_the_clock_was_set_back(
    polls: list[tuple[float, str]],
) -> None:
    learner = Learner()
    watch, age = learner.watch("mode", 5.0), 5.0
    for number, (change, what) in enumerate(polls):
        age = max(0.0, age + change)
        if what == "skip":
            learner.skip(watch, age)
        elif what == "pending":
            learner.pending(watch, age, f"step {number % 3}", number)
            learner.plan(watch, learner.forecast(watch, age), 1.0)
        else:
            learner.ended(watch, age)
            watch = learner.watch("mode", age)
    again = from_dict(json.loads(json.dumps(as_dict(learner))))
    assert again.all.law.samples == learner.all.law.samples


@pytest.mark.parametrize("age", [29.9, 29.0, 1.0])
def test_a_poll_at_a_lower_age_than_the_one_before_adds_no_time(age: float) -> None:
    learner = Learner()
    watch = learner.watch("mode", 0.0)
    learner.pending(watch, 30.0, "a", 0)
    learner.pending(watch, age, "b", 50)
    learner.ended(watch, age)
    law = learner.modes["mode"].law
    assert (watch.last, law.lived, law.samples) == (30.0, 30.0, 1)
    assert min(law.ends) >= 0
    assert min(law.passed) >= 0


POLLS = st.lists(
    st.tuples(
        st.floats(0, 1e6),
        st.sampled_from(["", "a", "b"]) | st.text(max_size=3),
        st.integers(-5, 200),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(POLLS, st.sampled_from([None, "mode"]))
def test_state_is_bounded_and_waits_are_valid_for_any_progress(
    polls: list[tuple[float, str, int, bool]], mode: str | None
) -> None:
    learner = Learner()
    watch, age = learner.watch(mode, 0.0), 0.0
    for wait, step, percent, ends in polls:
        age += wait
        learner.pending(watch, age, step, percent)
        made = learner.forecast(watch, age)
        assert 0 <= made.wait(0.5, 60.0) < math.inf
        learner.plan(watch, made, wait)
        if ends:
            learner.ended(watch, age + 1)
            watch, age = learner.watch(mode, 0.0), 0.0
    assert len(watch.mode.marks) <= MARKS + 1
    assert len(watch.runs) <= MARKS + 1
    assert from_dict(json.loads(json.dumps(as_dict(learner)))) is not None


# --- what people read ---


def test_nothing_is_estimated_beyond_the_ages_of_the_jobs_that_were_seen() -> None:
    learner = Learner()
    for number in range(40):
        run_job(learner, 60.0 + number, silent)
    watch = learner.watch("mode", 0.0)
    learner.pending(watch, 50.0, "a", 0)
    assert estimate(watch, 50.0) is not None
    for age in (300.0, 3600.0, 86400.0, 1e6):
        assert estimate(watch, age) is None
        assert explain(watch, age) is None
    for _ in range(5):
        run_job(learner, 5000.0, silent)
    assert estimate(watch, 3600.0) is not None


def test_ages_before_the_first_polls_have_an_estimate() -> None:
    learner = Learner()
    for number in range(40):
        watch = learner.watch("mode", 30.0)
        learner.pending(watch, 60.0 + number, "a", 0)
        learner.ended(watch, 62.0 + number)
    assert estimate(learner.watch("mode", 1.0), 1.0) is not None


@pytest.mark.parametrize(("weight", "known"), [(LEAST_SEEN, True), (2.9, False)])
def test_an_age_that_three_jobs_have_reached_has_an_estimate(weight: float, *, known: bool) -> None:
    mode = Mode(Law())
    mode.law.samples = LEAST_SAMPLES
    mode.law.passed[40] = weight
    watch = Watch(mode, "mode", first=0.0, last=0.0)
    assert (estimate(watch, EDGES[40]) is not None) is known


def test_durations_are_written_in_two_digits() -> None:
    written = [duration(seconds) for seconds in (0.04, 1.52, 9.94, 9.95, 119.4, 121, 4000, 7200)]
    assert written == ["0.0 s", "1.5 s", "9.9 s", "10 s", "119 s", "2.0 min", "67 min", "2.0 h"]


def test_nothing_is_estimated_before_the_mode_has_samples() -> None:
    learner = Learner()
    for _ in range(LEAST_SAMPLES - 1):
        run_job(learner, 60.0, silent)
    watch = learner.watch("mode", 0.0)
    assert estimate(watch, 10.0) is None
    assert explain(watch, 10.0) is None
    run_job(learner, 60.0, silent)
    assert estimate(learner.watch(None, 0.0), 10.0) is None
    known = estimate(watch, 10.0)
    assert known is not None
    assert known.samples == LEAST_SAMPLES


def test_the_estimate_is_the_rest_of_a_usual_job() -> None:
    learner = Learner()
    for _ in range(100):
        run_job(learner, 60.0, silent)
    known = estimate(learner.watch("mode", 0.0), 20.0)
    assert known is not None
    assert known.median is not None
    assert known.median == pytest.approx(40.0, abs=5.0)
    assert known.early is not None
    assert known.p90 is not None
    assert known.late is not None
    assert known.early < known.median < known.p90 < known.late


def test_the_reason_is_one_plain_sentence() -> None:
    learner = Learner()
    for _ in range(100):
        run_job(learner, 60.0, fine)
    watch = learner.watch("mode", 0.0)
    assert explain(watch, 20.0) == (
        "Nine in ten jobs of mode mode that are pending after 20 s"
        f" end between {between(watch, 20.0)} later."
    )
    learner.pending(watch, 0.0, "compose", 0)
    learner.pending(watch, 30.0, "compose", 50)
    assert watch.mark is not None
    watch.mark.score = 1.0
    sentence = explain(watch, 30.0) or ""
    assert "pending after 30 s at step compose with 50 % end" in sentence
    watch.percent = 1
    assert "at step compose with 1 % end" in (explain(watch, 30.0) or "")
    watch.step, watch.percent = "", 0
    assert "pending after 30 s end" in (explain(watch, 30.0) or "")
    watch.step = "compose"
    assert "pending after 30 s at step compose end" in (explain(watch, 30.0) or "")
    watch.mark.score = 0.0
    assert "pending after 30 s end" in (explain(watch, 30.0) or "")


def between(watch: Watch, age: float) -> str:
    known = estimate(watch, age)
    assert known is not None
    assert known.early is not None
    assert known.late is not None
    return f"{duration(known.early)} and {duration(known.late)}"


def test_an_end_beyond_the_tables_has_no_time() -> None:
    learner = Learner()
    for _ in range(LEAST_SAMPLES):
        run_job(learner, 60.0, silent)
    law = learner.modes["mode"].law
    law.hazard = [0.0] * BUCKETS
    law.chance = [0.1, *([0.0] * (BUCKETS - 1))]
    law.survival = [1.0, *([0.9] * BUCKETS)]
    watch = learner.watch("mode", 0.0)
    assert explain(watch, 0.0) == (
        "Nine in ten jobs of mode mode that are pending after 0.0 s end 0.0 s later, or after that."
    )
    law.chance = [0.0] * BUCKETS
    law.survival = [1.0] * (BUCKETS + 1)
    assert explain(watch, 0.0) is None
    known = estimate(watch, 0.0)
    assert known is not None
    assert (known.median, known.p90) == (None, None)
