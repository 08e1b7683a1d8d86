"""The last answers: which one is kept about a job, and in which form."""

import asyncio

import pytest
from support import answered, error, ok

from exporter.core.published import Published
from exporter.core.reply import Kind, Reply, transport_failure
from exporter.polling.last_answers import (
    Answer,
    LastAnswers,
    answer_of,
    final_answer,
    from_store,
    verbatim,
)
from exporter.storage.store import MAX_FINAL_BODY_BYTES, FinalAnswer


def make(kind: Kind = Kind.OK, body: bytes = b"{}", status: int = 200) -> Answer:
    return Answer(status, "application/json", body, 0.0, kind)


def test_an_error_replaces_a_good_answer_only_when_it_ends_the_job() -> None:
    answers = LastAnswers()
    answers.put("a", make())
    answers.put("a", make(Kind.SERVER_ERROR, status=500))
    assert answers.get("a") == make()
    assert answers.final("a") is None
    answers.put("a", make(Kind.SERVER_ERROR, status=500), final=True)
    assert answers.final("a") == make(Kind.SERVER_ERROR, status=500)
    answers.put("a", make())
    assert answers.final("a") is None


def test_the_answer_about_a_job_that_leaves_memory_is_dropped() -> None:
    answers, job = LastAnswers(), answered("a")
    answers.put("a", make(), final=True)
    answers.published(Published(job, job))
    assert len(answers) == 1
    answers.published(Published(job, None))
    assert len(answers) == 0
    assert answers.final("a") is None


def test_a_body_that_is_too_long_is_replaced_by_what_was_parsed_from_it() -> None:
    reply = ok("done")
    long = Reply(Kind.OK, 200, status=reply.status, body=b"x" * (MAX_FINAL_BODY_BYTES + 1))
    kept = answer_of(long, 1.0)
    assert kept is not None
    assert kept.body.startswith(b'{"status":"done"')
    broken = answer_of(error(500, b"x" * (MAX_FINAL_BODY_BYTES + 1)), 1.0)
    assert broken is not None
    assert broken.body == b""


@pytest.mark.parametrize("reply", [transport_failure("timeout"), error(401), error(429)])
def test_a_reply_that_says_nothing_about_the_job_is_not_served_again(reply: Reply) -> None:
    assert answer_of(reply, 1.0) is None


async def test_only_an_answer_that_differs_is_notified() -> None:
    answers = LastAnswers()
    answers.put("a", make())
    waiting = asyncio.create_task(answers.changes.wait("a"))
    await asyncio.sleep(0)
    answers.put("a", make())
    await asyncio.sleep(0)
    assert not waiting.done()
    answers.put("a", make(body=b'{"progress": 1}'))
    await asyncio.wait_for(waiting, 60)


def test_an_answer_of_any_kind_can_be_kept_verbatim() -> None:
    kept = verbatim(error(401, b"no"), 1.0)
    assert kept is not None
    assert (kept.http_status, kept.body, kept.at) == (401, b"no", 1.0)
    assert verbatim(transport_failure("timeout"), 1.0) is None


def test_a_stored_answer_is_served_as_it_was_kept() -> None:
    answer = make(Kind.NOT_FOUND, b'{"error": "not_found"}', 404)
    assert from_store(final_answer(answer), 0.0, Kind.NOT_FOUND) == answer
    older = FinalAnswer(200, "text/html; x=\n", b"{}")  # as an older version could keep it
    assert "\n" not in from_store(older, 0.0, Kind.OK).content_type


def test_an_etag_depends_on_the_body_alone() -> None:
    answer = make()
    assert answer.etag_in({'"other"', answer.etag})
    assert make(status=404).etag == answer.etag
    assert not make(body=b"[]").etag_in({answer.etag})
