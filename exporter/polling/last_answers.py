"""The upstream's last answer about each job in memory, byte for byte, to be served again.

An answer is kept only after its change is committed, so that no client sees a final state that
could still be lost.
"""

import hashlib
import sys
from collections.abc import Collection
from typing import Final

from ..core.contract import media_type, render_status
from ..core.published import Published
from ..core.reply import Kind, Reply
from ..core.value import value
from ..registry.waiting import Waiting
from ..storage.store import MAX_FINAL_BODY_BYTES, FinalAnswer

_JSON: Final = "application/json"
_OF_THE_JOB: Final = frozenset({Kind.OK, Kind.NOT_FOUND, Kind.INVALID, Kind.SERVER_ERROR})


@value(frozen=True, slots=True)
class Answer:
    """An answer of the upstream; `at` is its time in steady seconds, so that ages are exact."""

    http_status: int
    content_type: str
    body: bytes
    at: float
    kind: Kind

    @property
    def good(self) -> bool:
        """Whether it states the job's state."""
        return self.kind is Kind.OK

    @property
    def etag(self) -> str:
        """A strong validator of the body (RFC 9110, 8.8.3)."""
        return f'"{hashlib.blake2b(self.body, digest_size=12).hexdigest()}"'

    def says_the_same(self, other: "Answer") -> bool:
        """Whether a client could not distinguish the two."""
        return (self.http_status, self.body) == (other.http_status, other.body)

    def etag_in(self, etags: Collection[str]) -> bool:
        """Whether a client with these validators already has this answer."""
        return self.etag in etags


def answer_of(reply: Reply, at: float) -> Answer | None:
    """Return a reply in the form that is served again; None if it says nothing about the job."""
    return verbatim(reply, at) if reply.kind in _OF_THE_JOB else None


def verbatim(reply: Reply, at: float) -> Answer | None:
    """Return a reply of any kind in that form; None when there was no HTTP answer.

    A body that is too long is replaced by what was parsed from it.
    """
    if reply.http_status is None:
        return None
    content_type, body = reply.content_type or _JSON, reply.body
    if len(body) > MAX_FINAL_BODY_BYTES:
        content_type, body = _JSON, render_status(reply.status) if reply.status else b""
    # Interned: all jobs then share one text.
    return Answer(reply.http_status, sys.intern(content_type), body, at, reply.kind)


def final_answer(answer: Answer) -> FinalAnswer:
    """Return an answer in the form that the store keeps."""
    return FinalAnswer(answer.http_status, answer.content_type, answer.body)


def from_store(final: FinalAnswer, at: float, kind: Kind) -> Answer:
    """Return a stored answer; an older version may have stored any `Content-Type`."""
    content_type = media_type(final.content_type) or _JSON
    return Answer(final.http_status, content_type, final.body, at, kind)


class LastAnswers:
    """The last answer about each job, or the last good one if there was one."""

    def __init__(self) -> None:
        self.changes = Waiting()
        """Notified, by job id, when the answer differs from the former one."""
        self._latest: dict[str, Answer] = {}
        self._final: set[str] = set()

    def __len__(self) -> int:
        return len(self._latest)

    def get(self, job_id: str) -> Answer | None:
        """Return the last answer about a job."""
        return self._latest.get(job_id)

    def final(self, job_id: str) -> Answer | None:
        """Return the answer with which a job ended; None if it is not in memory."""
        return self._latest[job_id] if job_id in self._final else None

    def put(self, job_id: str, answer: Answer, *, final: bool = False) -> None:
        """Keep an answer. An error replaces a good one only when it ends the job (`final`)."""
        former = self._latest.get(job_id)
        if former is not None and former.good and not answer.good and not final:
            return
        self._latest[job_id] = answer
        (self._final.add if final else self._final.discard)(job_id)
        if former is None or not former.says_the_same(answer):
            self.changes.notify(job_id)

    def published(self, published: Published) -> None:
        """Drop the answer of a job that leaves memory; a listener of the registry."""
        if published.after is None and published.before is not None:
            self._latest.pop(published.before.job_id, None)
            self._final.discard(published.before.job_id)
            self.changes.notify(published.before.job_id)
