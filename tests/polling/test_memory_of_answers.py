"""What is kept of the upstream's answers, who waits for them, and when they are given again."""

import asyncio
from typing import Any

import pytest
from support import answered, error, ok

from exporter.core.published import Published
from exporter.core.reply import Kind, Reply, transport_failure
from exporter.polling.asks import MAX_UNKNOWN_ASKS, Asks
from exporter.polling.last_answers import Answer, LastAnswers, answer_of
from exporter.registry.waiting import Waiting
from exporter.storage.store import MAX_FINAL_BODY_BYTES


def make(kind: Kind = Kind.OK, body: bytes = b"{}", status: int = 200) -> Answer:
    return Answer(status, "application/json", body, 0.0, kind)


def test_an_error_takes_no_good_answers_place_before_the_end() -> None:
    answers = LastAnswers()
    answers.put("a", make())
    answers.put("a", make(Kind.SERVER_ERROR, status=500))
    assert answers.get("a") == make()
    assert answers.final("a") is None
    answers.put("a", make(Kind.SERVER_ERROR, status=500), final=True)
    assert answers.final("a") == make(Kind.SERVER_ERROR, status=500)
    answers.put("a", make())
    assert answers.final("a") is None


def test_what_memory_holds_no_more_is_let_go() -> None:
    answers, job = LastAnswers(), answered("a")
    answers.put("a", make(), final=True)
    answers.published(Published(job, job))
    assert len(answers) == 1
    answers.published(Published(job, None))
    assert len(answers) == 0
    assert answers.final("a") is None


def test_a_body_too_long_is_kept_as_it_was_read() -> None:
    reply = ok("done")
    long = Reply(Kind.OK, 200, status=reply.status, body=b"x" * (MAX_FINAL_BODY_BYTES + 1))
    kept = answer_of(long, 1.0)
    assert kept is not None
    assert kept.body.startswith(b'{"status":"done"')
    broken = answer_of(error(500, b"x" * (MAX_FINAL_BODY_BYTES + 1)), 1.0)
    assert broken is not None
    assert broken.body == b""


@pytest.mark.parametrize("reply", [transport_failure("timeout"), error(401), error(429)])
def test_what_says_nothing_of_the_job_is_no_answer(reply: Reply) -> None:
    assert answer_of(reply, 1.0) is None


async def test_a_bell_wakes_those_who_wait_for_its_name_and_leaves_nothing_behind() -> None:
    waiting = Waiting()
    tasks = {name: asyncio.create_task(waiting.wait(name)) for name in ("a", "b", "c")}
    again = asyncio.create_task(waiting.wait("a"))
    await asyncio.sleep(0)
    waiting.notify("a")
    waiting.notify("nobody waits for this")
    await asyncio.wait([tasks["a"], again], timeout=20)
    assert not tasks["b"].done()
    tasks["b"].cancel()
    await asyncio.gather(tasks["b"], return_exceptions=True)
    assert len(waiting) == 1
    waiting.close()
    await asyncio.wait_for(tasks["c"], 20)
    assert len(waiting) == 0


async def test_one_question_a_job_however_many_wait() -> None:
    asks = Asks()
    first = asks.join("a", "client", last=True)
    assert first is not None
    assert asks.join("a", "probe", last=True) is first
    assert (asks.first, asks.last) == (0, 1)
    assert asks.join("a", "client", last=False) is first  # it is tracked by now
    assert (asks.first, asks.last) == (1, 0)
    asks.leave(first)
    asks.leave(first)
    assert "a" in asks
    asks.leave(first)
    assert "a" not in asks


async def test_questions_come_in_their_order_and_end_with_the_exporter() -> None:
    asks = Asks()
    for name in ("a", "b"):
        asks.join(name, "client", last=False)
    taken = asks.next(last=False)
    assert asks.take("a") is taken
    assert asks.take("a") is None
    asks.leave(taken)  # no longer queued: nothing to take out
    assert asks.first == 1
    with pytest.raises(KeyError, match="nobody asks"):
        asks.next(last=True)
    rest: Any = asks.join("b", "client", last=False)
    asks.close()
    assert (await rest.reply).code == "not_asked"
    assert asks.first == 0


async def test_past_a_limit_no_more_strangers_wait_and_tracked_jobs_do() -> None:
    asks = Asks()
    for at in range(MAX_UNKNOWN_ASKS):
        assert asks.join(str(at), "client", last=True)
    assert asks.join("one more", "client", last=True) is None
    assert asks.join("tracked", "client", last=False) is not None
    assert asks.join("0", "client", last=True) is not None
