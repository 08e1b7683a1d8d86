"""No output of a whole run has a secret in it: streams, answers, the database and its log."""

import asyncio
import base64
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from urllib.parse import quote

import aiohttp
import bcrypt
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import send_raw, until
from system_ports import free_port

from exporter.config import ConfigFile

KEY = "kEy+4711/of-the/upstream=="
TOKEN = "tOken-that-4712-nobody-may-see"
PASSWORD = "pAssword 4713 of alice"
PROXY_PASSWORD = "pRoxy-4714-password"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
SECRETS = (KEY, TOKEN, PASSWORD, PROXY_PASSWORD, HASH)
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
API_KEY = {"X-API-Key": KEY, **BEARER}
MALFORMED = f"GET / HTTP/9.9\r\nX-API-Key: {KEY}\r\nAuthorization: {TOKEN}\0\r\n\r\n".encode()


def spellings(secret: str) -> set[bytes]:
    """Return the forms in which a secret could be written."""
    texts = {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]}
    encoded = (f"{user}{secret}" for user in ("", "alice:", "proxy:"))
    texts |= {base64.b64encode(text.encode()).decode() for text in encoded}
    texts |= {secret.replace("/", "\\/"), secret.encode().hex()}
    return {text.encode() for text in texts}


def shown_in(output: bytes) -> list[str]:
    return [secret for secret in SECRETS if any(one in output for one in spellings(secret))]


class Talkative:
    """An upstream, behind a proxy, that puts the key it was sent wherever it can."""

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        key = request.headers.get("X-API-Key", "")
        self.asked += 1
        job_id = request.query.get("job_id", "")
        if request.path.endswith("/upload"):
            return web.json_response({"job_id": f"up-{self.asked}", "mode": key}, status=202)
        if job_id == "fails":
            return web.json_response({"error": "server", "message": key}, status=500)
        if job_id == "html":
            return web.Response(text=f"<h1>{key}</h1>", content_type="text/html")
        if job_id == "refused":
            return web.json_response({"error": key}, status=403)
        state = "done" if job_id == "done" else "pending"
        return web.json_response(
            {
                "job_id": job_id,
                "state": state,
                "status": f"step {key}",
                "mode": f"mode {key}",
                "progress": 40,
                "final_url": f"https://results.example/?key={quote(key, safe='')}",
                "final_urls": {key: f"https://results.example/{key}"},
                "warnings": {f"variation {key}": [f"bad key {key}", json.dumps(key)]},
                "ignored_variations": [key],
                key: key,
            },
            headers={"X-Echo": key},
        )


@pytest.fixture
async def talkative() -> AsyncIterator[tuple[Talkative, int]]:
    made, app = Talkative(), web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    server = TestServer(app)
    await server.start_server()
    assert server.port is not None
    yield made, server.port
    await server.close()


class Outputs:
    """Everything that came out, by where it came from."""

    def __init__(self) -> None:
        self.all: dict[str, bytes] = {}

    async def ask(
        self, session: aiohttp.ClientSession, method: str, url: str, **request: object
    ) -> int:
        async with session.request(method, url, **request) as response:  # type: ignore[arg-type]
            head = repr((response.status, response.reason, response.raw_headers)).encode()
            async with asyncio.timeout(20):
                async for chunk in response.content.iter_any():
                    head += chunk
                    if b"event: finished" in head:  # the stream itself does not end
                        break
            self.all[f"{method} {url} {request}"] = head
            return response.status


async def run_command(folder: Path, *arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return out


def prepare(
    write_config: Callable[..., ConfigFile], folder: Path, address: str, proxy: int
) -> None:
    write_config(
        web={"listen_address": address},
        upstream={
            "base_url": "http://api.example",
            "proxy_url": f"http://proxy:{PROXY_PASSWORD}@127.0.0.1:{proxy}",
        },
        registration={"token_file": "own.token"},
        log={"level": "debug"},
        jobs=["done", "fails", "html", "pending"],
    )
    (folder / "api.key").write_text(KEY)
    (folder / "own.token").write_text(TOKEN)
    (folder / "web.yaml").write_text(yaml.safe_dump({"basic_auth_users": {"alice": HASH}}))


STREAM = "/api/v1/events?follow=true&after=0"
ROUTES = (
    *("/", "/metrics", "/-/healthy", "/-/ready", "/openapi.json", "/sd/jobs", "/none"),
    *("/api/v1/jobs?limit=1000", "/api/v1/jobs/done", "/api/v1/jobs/none", "/api/v1/jobs?x=1"),
    *("/api/v1/failures", "/api/v1/events", STREAM, "/api/v1/summary"),
    *("/probe?target=pending&debug=true", "/probe?target=fails&debug=true", "/probe"),
    *("/api/v1/status?job_id=done", "/api/v1/status?job_id=refused", "/api/v1/status"),
)
CREDENTIALS: Iterable[dict[str, str]] = (
    *({}, LOGIN, BEARER, API_KEY, {"Authorization": "Basic !"}),
    {"Authorization": f"Bearer {TOKEN}x"},
    {"X-API-Key": f"{KEY}x"},
)


async def ask_everything(outputs: Outputs, url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for credentials in CREDENTIALS:
            for route in ROUTES:
                accept = {"Accept": "text/event-stream"} if route == STREAM else {}
                await outputs.ask(session, "GET", url + route, headers=credentials | accept)
            for method, path, body in (
                ("PUT", "/api/v1/jobs/put", b'{"key": "sku"}'),
                ("PUT", "/api/v1/jobs/put", b"{"),
                ("POST", "/api/v1/jobs", b"[1]"),
                ("POST", "/api/v1/upload", b"{}"),
                ("POST", "/api/v1/failures/ack", b"{}"),
                ("POST", "/-/reload", b""),
                ("DELETE", "/api/v1/jobs/put", b""),
                ("PATCH", "/api/v1/jobs", b""),
            ):
                headers = {**credentials, "Content-Type": "application/json"}
                await outputs.ask(session, method, url + path, data=body, headers=headers)


async def test_no_output_of_a_whole_run_has_a_secret_in_it(
    write_config: Callable[..., ConfigFile], tmp_path: Path, talkative: tuple[Talkative, int]
) -> None:
    address, outputs = f"127.0.0.1:{free_port()}", Outputs()
    prepare(write_config, tmp_path, address, talkative[1])
    for command in ("check-config", "token"):
        outputs.all[command] = await run_command(tmp_path, command)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "run", "--web.config.file", "web.yaml"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    reading = asyncio.create_task(process.communicate())
    try:
        async with aiohttp.ClientSession() as session:

            async def all_asked() -> bool:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(
                        f"http://{address}/api/v1/jobs/done", headers=BEARER
                    ) as response:
                        shown = await response.json()
                        return bool(shown.get("state") == "done")
                return False

            await until(all_asked)
        await ask_everything(outputs, f"http://{address}")
        outputs.all["malformed"] = await send_raw(f"http://{address}", MALFORMED)
        (tmp_path / "own.token").unlink()  # errors name the file, not its content
        (tmp_path / "api.key").write_text(f"{KEY} {KEY}")
        async with aiohttp.ClientSession() as session:

            async def reported() -> bool:
                async with session.get(f"http://{address}/metrics", headers=LOGIN) as response:
                    page = await response.text()
                wanted = 'removit_exporter_log_events_total{level="error"'
                return any(
                    line.startswith(wanted) and float(line.rpartition(" ")[2]) >= 1
                    for line in page.splitlines()
                )

            await until(reported)
    finally:
        process.kill()  # so that the log of the database stays
        outputs.all["stdout"], outputs.all["stderr"] = await reading
    for path in tmp_path.glob("jobs.db*"):
        outputs.all[path.name] = path.read_bytes()
    for command in ("check-storage", "check-config"):
        outputs.all[f"{command} afterwards"] = await run_command(tmp_path, command)
    assert "jobs.db-wal" in outputs.all
    assert b"<secret>" in outputs.all["jobs.db"] + outputs.all["jobs.db-wal"]
    assert b"secret cannot be read" in outputs.all["stderr"]
    assert talkative[0].asked > 4
    streamed = b"".join(out for name, out in outputs.all.items() if STREAM in name)
    assert b"event: warning_raised" in streamed
    # An upload's answer passes through unchanged, and its sender knows the key.
    [upload] = [name for name in outputs.all if "/upload" in name and f"'{KEY}'" in name]
    assert shown_in(outputs.all.pop(upload)) == [KEY]
    assert {name: shown for name, out in outputs.all.items() if (shown := shown_in(out))} == {}
