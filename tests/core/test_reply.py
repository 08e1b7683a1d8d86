"""Replies that are no answers of the upstream."""

from exporter.core.reply import Kind, transport_failure, unasked


def test_a_request_without_an_answer_keeps_why() -> None:
    reply = transport_failure("connection", "dns", "no such host")
    assert (reply.kind, reply.http_status) == (Kind.TRANSPORT, None)
    assert (reply.failure, reply.reason, reply.detail) == ("connection", "dns", "no such host")


def test_a_reply_says_no_more_than_is_known() -> None:
    assert (transport_failure("timeout").reason, transport_failure("timeout").detail) == ("", "")
    assert (unasked("not_asked").reason, unasked("not_asked").detail) == ("", "")
