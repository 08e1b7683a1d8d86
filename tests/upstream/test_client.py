"""The client over real connections: why requests fail, proxies, certificates, credentials."""

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from conftest import KEY, Open, until

from exporter.ca_file import CaFileError
from exporter.core.contract import parse_reply
from exporter.core.reply import Kind, Reply
from exporter.upstream import client as client_module
from exporter.upstream.client import Client, hide
from exporter.upstream.encoding import inflate
from exporter.upstream.exchange import Exchange
from exporter.upstream.proxies import find_proxy

GOOD = json.dumps({"job_id": "a", "state": "pending", "status": "x", "progress": 5}).encode()


@dataclass(frozen=True)
class Upstream:
    """The section `upstream`, as far as the client reads it."""

    base_url: str
    timeout: float = 10.0
    connect_timeout: float = 5.0
    upload_timeout: float = 10.0
    proxy: str | None = None
    ca_file: Path | None = None
    connection_max_age: float = 300.0
    auth: str = "x-api-key"


@asynccontextmanager
async def client_of(
    upstream: Upstream,
    environ: Mapping[str, str] | None = None,
    key: Callable[[], str] = lambda: KEY,
) -> AsyncIterator[Client]:
    async with Client(lambda: upstream, key, "tests", environ=environ or {}) as client:
        yield client


@dataclass
class Heard:
    """A server, and what it was sent: the head of each request, and how many connections."""

    port: int
    heads: list[str]
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer(body: bytes, status: str = "200 OK", **fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def server(
    said: bytes | Callable[[], bytes], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Heard]:
    """Answer each request with the same bytes; nothing at all closes the connection."""
    heard = Heard(0, [])
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        open_ones.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                heard.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                data = said() if callable(said) else said
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    heard.port = made.sockets[0].getsockname()[1]
    try:
        yield heard
    finally:
        made.close()
        for writer in open_ones:
            writer.close()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


async def reason_of(upstream: Upstream) -> tuple[str, str]:
    async with client_of(upstream) as client:
        reply = await client.status("a")
        assert (reply.kind, reply.code) == (Kind.TRANSPORT, "connection")
        return reply.reason, reply.detail


async def test_a_refused_connection_says_so() -> None:
    reason = await reason_of(Upstream(f"http://127.0.0.1:{unused_port()}"))
    assert reason == ("refused", "Connection refused")


async def test_an_unknown_name_says_so() -> None:
    reason, detail = await reason_of(Upstream("http://nobody.invalid"))
    assert reason == "dns"
    assert "name" in detail


async def test_a_connection_closed_before_the_answer_says_so() -> None:
    async with server(b"") as heard:
        assert (await reason_of(Upstream(heard.url)))[0] == "reset"


async def test_a_connection_closed_before_the_tls_handshake_says_so() -> None:
    async def open_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(open_tunnel, "127.0.0.1", 0) as proxy:
        url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        reason = await reason_of(Upstream("https://api.example", proxy=url))
    assert reason == ("reset", "the connection was closed during the TLS handshake")


async def test_bytes_that_are_not_http_say_so() -> None:
    async with server(b"SSH-2.0-OpenSSH\r\n\r\n") as heard:
        assert (await reason_of(Upstream(heard.url)))[0] == "protocol"


def tls_of(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_an_untrusted_certificate_says_so() -> None:
    async with server(answer(GOOD), tls_of(trustme.CA())) as heard:
        reason, detail = await reason_of(Upstream(heard.url.replace("http:", "https:")))
    assert reason == "tls"
    assert detail.startswith("the certificate is not trusted: ")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_a_login_says_so(scheme: str) -> None:
    async with server(answer(b"", "407 Proxy Authentication Required")) as proxy:
        url = f"http://us:secret@127.0.0.1:{proxy.port}"
        reason = await reason_of(Upstream(f"{scheme}://api.example", proxy=url))
    assert reason == ("proxy", "the proxy wants a user and password (407)")


async def test_a_proxy_that_is_down_says_so() -> None:
    url = f"http://us:secret@127.0.0.1:{unused_port()}"
    reason, detail = await reason_of(Upstream("https://api.example", proxy=url))
    assert (reason, detail) == ("proxy", "no connection to the proxy: Connection refused")


async def test_the_reason_is_shown_wherever_a_person_looks(
    open_site: Open, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site(upstream={"base_url": f"http://127.0.0.1:{unused_port()}"})
    await site.put("a")

    async def polls() -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = (await site.job("a"))["polls"]
        return shown if len(shown) >= 3 else []

    shown = await until(polls)
    assert {(poll["code"], poll["reason"]) for poll in shown} == {("connection", "refused")}
    async with site.client.get("/api/v1/summary") as response:
        failure = (await response.json())["upstream"]["failure"]
    assert failure == {"reason": "refused", "detail": "Connection refused"}
    labels = 'code="connection",endpoint="status",error="refused"'
    assert (await site.value(f"removit_upstream_errors_total{{{labels}}}") or 0) >= 3
    lines = [record for record in caplog.records if "no answer" in record.getMessage()]
    assert [(line.__dict__["reason"], line.__dict__["error"]) for line in lines] == [
        ("refused", "Connection refused")
    ]


async def test_a_probe_tells_the_reason(open_site: Open) -> None:
    site = await open_site(upstream={"base_url": f"http://127.0.0.1:{unused_port()}"})
    async with site.client.get("/probe", params={"job_id": "a", "debug": "true"}) as response:
        assert "did not answer (refused: Connection refused)" in await response.text()


async def test_an_old_connection_is_not_used_again() -> None:
    async with server(answer(GOOD)) as heard:
        async with client_of(Upstream(heard.url, connection_max_age=0.0)) as client:
            for _ in range(3):
                assert (await client.status("a")).kind is Kind.OK
        assert heard.connections == 3
        async with client_of(Upstream(heard.url, connection_max_age=300.0)) as client:
            for _ in range(3):
                assert (await client.status("a")).kind is Kind.OK
        assert heard.connections == 4


@pytest.mark.parametrize(
    ("auth", "header"),
    [("x-api-key", f"X-API-Key: {KEY}"), ("bearer", f"Authorization: Bearer {KEY}")],
)
async def test_the_key_goes_into_the_header_that_is_configured(auth: str, header: str) -> None:
    async with server(answer(GOOD)) as heard, client_of(Upstream(heard.url, auth=auth)) as client:
        await client.status("a")
        response, _ = await client.upload(None, {})
        response.close()
        for head in heard.heads:
            assert [line for line in head.splitlines() if KEY in line] == [header]


async def test_a_status_request_is_prepared_once_until_something_in_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared, keys = list[str](), ["one", "two"]
    original = Exchange.__init__

    def prepare(self: Exchange, *args: Any, **options: Any) -> None:
        prepared.append(keys[0])
        original(self, *args, **options)

    monkeypatch.setattr(Exchange, "__init__", prepare)
    async with (
        server(answer(GOOD)) as heard,
        client_of(Upstream(heard.url), key=lambda: keys[0]) as client,
    ):
        for _ in range(2):
            await client.status("a")
        del keys[0]
        for _ in range(2):
            await client.status("a")
    assert prepared == ["one", "two"]
    sent = [line for head in heard.heads for line in head.splitlines() if "API-Key" in line]
    assert sent == [f"X-API-Key: {key}" for key in ("one", "one", "two", "two")]


async def test_a_key_of_two_lines_is_not_sent() -> None:
    async with server(answer(GOOD)) as heard:
        async with client_of(Upstream(heard.url), key=lambda: "a\r\nHost: b") as client:
            assert (await client.status("a")).kind is Kind.TRANSPORT
        assert heard.heads == []


@pytest.mark.parametrize(
    ("job_id", "query"),
    [("a-B_c.9~", "?job_id=a-B_c.9~"), ("a&b=c #d/é", "?job_id=a%26b%3Dc%20%23d%2F%C3%A9")],
)
async def test_a_job_id_of_any_characters_is_asked_about(job_id: str, query: str) -> None:
    async with server(answer(GOOD)) as heard:
        async with client_of(Upstream(f"{heard.url}/some path")) as client:
            await client.status(job_id)
            await client.status(None)
        path = "/some%20path/api/v1/status"
        assert [head.split()[1] for head in heard.heads] == [path + query, path]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed_and_another_host_never_sees_the_key(status: str) -> None:
    async with server(answer(GOOD)) as other:
        moved = answer(b"", status, Location=f"{other.url}/api/v1/status")
        async with server(moved) as heard, client_of(Upstream(heard.url)) as client:
            reply = await client.status("a")
            response, _ = await client.upload(None, {})
            response.close()
        assert reply.http_status == response.status == int(status[:3])
        assert other.heads == []


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"\xef\xbb\xbf" + GOOD, "identity"),
        (gzip.compress(GOOD), "gzip"),
        (gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:]), "gzip"),
        (gzip.compress(b"\xef\xbb\xbf" + GOOD), "X-GZIP"),
        (zlib.compress(GOOD), "deflate"),
        (zlib.compress(GOOD, wbits=-zlib.MAX_WBITS), "deflate"),
    ],
    ids=["mark", "gzip", "two members", "mark in gzip", "zlib", "deflate"],
)
async def test_an_answer_with_a_byte_order_mark_or_compressed_is_read(
    body: bytes, encoding: str
) -> None:
    said = answer(body, Content_Encoding=encoding)
    async with server(said) as heard, client_of(Upstream(heard.url)) as client:
        reply = await client.status("a")
        assert reply.kind is Kind.OK
        assert reply.status is not None
        assert reply.status.progress == 5


ZSTD = b"\x28\xb5\x2f\xfd\x04\x58"


async def test_an_answer_in_an_unsupported_encoding_says_so_and_quotes_no_bytes() -> None:
    said = answer(ZSTD, Content_Encoding="zstd")
    async with server(said) as heard, client_of(Upstream(heard.url)) as client:
        reply = await client.status("a")
    assert reply.kind is Kind.UNREADABLE
    assert [each.detail for each in reply.drift] == ["Content-Encoding zstd is not supported"]


def test_an_unsupported_encoding_is_named_unless_the_body_is_text() -> None:
    assert inflate(GOOD, {"Content-Encoding": "utf-8"}, 1000) == (GOOD, True)
    assert inflate(ZSTD, {"Content-Encoding": "identity"}, 1000) == (ZSTD, True)
    named, _ = inflate(ZSTD, {"Content-Encoding": "gzip, \udcff" + "x" * 1000}, 1000)
    assert named == b"Content-Encoding gzip, ?" + b"x" * 23 + "… is not supported".encode()


def test_no_more_than_the_limit_is_inflated() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    inflated, complete = inflate(bomb, {"Content-Encoding": "gzip"}, 1000)
    assert (len(inflated), complete) == (1001, True)
    inflated, complete = inflate(gzip.compress(GOOD)[:-9], {"Content-Encoding": "gzip"}, 1000)
    assert not complete
    assert inflate(b"no gzip", {"Content-Encoding": "gzip"}, 1000) == (b"no gzip", False)


async def test_others_have_their_turn_between_two_large_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns, parsed_at = 0, list[int]()
    original = parse_reply

    def parse(*args: Any, **options: Any) -> Reply:
        parsed_at.append(turns)
        return original(*args, **options)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(client_module, "parse_reply", parse)
    said = answer(GOOD + b" " * client_module.LARGE_BYTES)
    async with server(said) as heard, client_of(Upstream(heard.url)) as client:
        counting = asyncio.create_task(count())
        await asyncio.gather(*(client.status("a") for _ in range(8)))
        counting.cancel()
    assert len(set(parsed_at)) == 8


def test_the_members_of_a_compressed_body_are_limited() -> None:
    some = b"".join(gzip.compress(bytes([one])) for one in GOOD[:40])
    assert inflate(some, {"Content-Encoding": "gzip"}, 1000) == (GOOD[:40], True)
    none = gzip.compress(b"") * 100
    assert inflate(none, {"Content-Encoding": "gzip"}, 1000) == (b"", False)


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("base_url", "environ", "origin"),
    [
        ("https://api.example", {"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ("https://api.example", {"https_proxy": PROXY, "HTTPS_PROXY": "x"}, "https_proxy"),
        ("https://api.example", {"ALL_PROXY": "proxy.example:3128"}, "ALL_PROXY"),
        ("https://api.example", {"HTTP_PROXY": PROXY}, None),
        ("http://api.example", {"HTTP_PROXY": PROXY}, "HTTP_PROXY"),
        ("http://api.example", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
        ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "a, .example"}, None),
        ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "API.example"}, None),
        ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ("https://api.example.", {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example"}, None),
        ("https://[2001:db8::1]", {"HTTPS_PROXY": PROXY, "NO_PROXY": "2001:DB8:0::1"}, None),
        ("https://[2001:db8::1]", {"HTTPS_PROXY": PROXY, "NO_PROXY": "[2001:db8::1]:443"}, None),
        ("https://[2001:db8::1]", {"HTTPS_PROXY": PROXY, "NO_PROXY": "[::1]:443"}, "HTTPS_PROXY"),
        ("https://api.example", {"HTTPS_PROXY": PROXY, "no_proxy": "api.example:443"}, None),
        ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "x.org:443"}, "HTTPS_PROXY"),
        ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "ample"}, "HTTPS_PROXY"),
        ("https://10.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://127.0.0.1:8000", {"HTTPS_PROXY": PROXY}, None),
        ("https://localhost", {"HTTPS_PROXY": PROXY}, None),
        ("https://[::1]", {"HTTPS_PROXY": PROXY}, None),
    ],
)
def test_proxies_of_the_environment_count(
    base_url: str, environ: dict[str, str], origin: str | None
) -> None:
    proxy = find_proxy(base_url, None, environ)
    assert (proxy.origin if proxy else None) == origin
    assert proxy is None or proxy.url == PROXY


async def test_requests_go_through_the_proxy_of_the_environment() -> None:
    async with server(answer(GOOD)) as proxy:
        environ = {"HTTP_PROXY": f"http://us:secret@127.0.0.1:{proxy.port}"}
        async with client_of(Upstream("http://api.example"), environ) as client:
            assert (await client.status("a")).kind is Kind.OK
    assert proxy.heads[0].startswith("GET http://api.example/api/v1/status?job_id=a HTTP/1.1")
    assert "Proxy-Authorization: Basic dXM6c2VjcmV0" in proxy.heads[0]


async def test_the_proxy_is_looked_for_once_until_the_config_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[tuple[str, str | None]] = []

    def counted(base_url: str, configured: str | None, environ: Mapping[str, str]) -> None:
        looked.append((base_url, configured))

    monkeypatch.setattr("exporter.upstream.client.find_proxy", counted)
    async with server(answer(GOOD)) as heard:
        hosts = ["127.0.0.1", "localhost"]
        upstreams = [Upstream(f"http://{host}:{heard.port}") for host in hosts]
        used = list(upstreams)
        async with Client(lambda: used[0], lambda: KEY, "tests", environ={}) as client:
            for _ in range(2):
                assert (await client.status("a")).kind is Kind.OK
            del used[0]
            assert (await client.status("a")).kind is Kind.OK
    assert looked == [(upstream.base_url, None) for upstream in upstreams]


async def test_the_proxy_in_use_is_logged_without_its_password(
    open_site: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://us:secret@127.0.0.1:9")
    with caplog.at_level("INFO"):
        await open_site(upstream={"base_url": "http://api.example"})
    [line] = [one for one in caplog.records if "through a proxy" in one.getMessage()]
    assert line.__dict__["proxy"] == "http://127.0.0.1:9"
    assert line.__dict__["named_by"] == "HTTP_PROXY"
    assert "secret" not in caplog.text


async def test_a_ca_file_that_changes_is_loaded_without_a_restart(tmp_path: Path) -> None:
    path, right = tmp_path / "ca.pem", trustme.CA()
    trustme.CA().cert_pem.write_to_path(path)
    async with server(answer(GOOD), tls_of(right)) as heard:
        upstream = Upstream(heard.url.replace("http:", "https:"), ca_file=path)
        async with client_of(upstream) as client:
            assert (await client.status("a")).reason == "tls"
            right.cert_pem.write_to_path(path)
            await client.trust.check()
            assert (await client.status("a")).kind is Kind.OK
            path.write_text("garbage")
            await client.trust.check()
            assert (await client.status("a")).kind is Kind.OK


@pytest.mark.parametrize("content", [None, "", "garbage", "-----BEGIN CERTIFICATE-----\nx\n"])
async def test_a_ca_file_that_cannot_be_used_is_an_error_that_names_it(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CaFileError, match=r"ca\.pem"):
        async with client_of(Upstream("https://api.example", ca_file=path)):
            pass


@pytest.mark.parametrize("key", ["sk-0123456789", "a+b/c=="])
def test_a_key_that_the_upstream_echoes_is_hidden(key: str) -> None:
    body = json.dumps(
        {"message": f"key {key}", "url": f"https://x.example/?k={quote(key, safe='')}"}
    )
    hidden = hide(body.encode(), key).decode()
    assert json.loads(hidden) == {"message": "key <secret>", "url": "https://x.example/?k=<secret>"}
    assert hide(b"nothing", "") == b"nothing"


@pytest.mark.parametrize(
    "spelt",
    ["a+b/c==", r"a\u002Bb\/c\u003d\u003D", r"\u0061+b/c==", "a%2bb%2Fc%3D%3d", r"a\u002bb/c%3D="],
)
def test_a_key_is_hidden_however_json_or_a_url_spells_it(spelt: str) -> None:
    assert hide(f'{{"m": "\\n{spelt}!"}}'.encode(), "a+b/c==") == b'{"m": "\\n<secret>!"}'
