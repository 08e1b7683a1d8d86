"""Permissions: each row of the table in `exporter/web/auth.py`, for every route."""

import base64
from collections.abc import Mapping
from typing import Any

import bcrypt
import pytest
from conftest import BEARER, KEY, NOBODY, Open, Site

from exporter.config.credentials import Secret
from exporter.config.secrets import Secrets
from exporter.simulator import Script, Simulator
from exporter.web.auth import KEY_ROUTES, OPEN_ROUTES

LOGIN = {"Authorization": "Basic " + base64.b64encode(b"alice:secret").decode()}
WRONG_LOGIN = {"Authorization": "Basic " + base64.b64encode(b"alice:wrong").decode()}
API_KEY = {"X-API-Key": KEY} | NOBODY
WRITES = (
    ("PUT", "/api/v1/jobs/a"),
    ("POST", "/api/v1/jobs"),
    ("DELETE", "/api/v1/jobs/a"),
    ("POST", "/api/v1/failures/ack"),
    ("POST", "/-/reload"),
)
PROXIED: tuple[Mapping[str, str], ...] = (
    {},
    {"Host": "exporter.example"},
    {"X-Forwarded-For": "192.0.2.1"},
    {"Forwarded": "for=192.0.2.1"},
    {"Via": "1.1 proxy"},
    {"X-Real-IP": "192.0.2.1"},
    {"CF-Connecting-IP": "192.0.2.1"},
    {"True-Client-IP": "192.0.2.1"},
)
"""What proxies add to requests, or do not add."""


async def ask(site: Site, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    async with site.client.request(method, path, headers=headers) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.text()


@pytest.fixture
async def guarded(site: Site) -> Site:
    """An exporter that asks for logins."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    site.exporter.logins.change({"alice": Secret(hashed)})
    return site


async def test_a_start_without_a_token_logs_that_nobody_can_write(
    open_site: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(secrets: Secrets) -> None:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(Secrets, "create_token", fails)
    await open_site(registration={"token_file": None})
    [line] = [one for one in caplog.records if "nobody can write" in one.getMessage()]
    assert (line.levelname, vars(line)["error"]) == ("ERROR", "Permission denied")


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("headers", PROXIED)
async def test_writing_takes_the_token_whatever_else_a_request_says(
    site: Site, method: str, path: str, headers: Mapping[str, str]
) -> None:
    for shown in (NOBODY, {"Authorization": "Bearer wrong"}, LOGIN, API_KEY):
        status, body = await ask(site, method, path, {**headers, **shown})
        assert (status, body["error"]) == (401, "unauthorized")
        assert "removit-exporter token" in body["message"]
    status, _ = await ask(site, method, path, {**headers, **BEARER})
    assert status not in (401, 403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[oops"])
async def test_a_page_of_another_site_writes_nothing_even_with_the_token(
    site: Site, origin: str
) -> None:
    status, body = await ask(site, "PUT", "/api/v1/jobs/a", {**BEARER, "Origin": origin})
    assert (status, body["error"]) == (403, "forbidden")
    assert repr(origin) in body["message"]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("", "null"),
        ("", ""),
        ("", "http://"),
        ("exporter:9166", "http://me@exporter:9166"),
        ("exporter:9166", "http://exporter:9166@evil.example"),
        ("exporter:9166", "http://exporter"),
        ("exporter:9166", "http://exporter.:9166"),
        ("exporter:9166", "ftp://exporter:9166"),
        ("[::1]:9166", "http://[::1]"),
        ("[::1]:9166", "http://[::1]:9166.evil.example"),
    ],
)
async def test_an_origin_that_only_looks_like_the_host_is_another_site(
    site: Site, host: str, origin: str
) -> None:
    headers = {**BEARER, "Host": host, "Origin": origin}
    status, _ = await ask(site, "PUT", "/api/v1/jobs/a", headers)
    assert status in (400, 403)


@pytest.mark.parametrize("host", ["exporter", "exporter.:9166", "[::1]:9166", "EXPORTER:9166"])
async def test_an_origin_that_equals_the_host_is_the_exporters_own(site: Site, host: str) -> None:
    headers = {**BEARER, "Host": host, "Origin": f"http://{host}"}
    status, _ = await ask(site, "PUT", "/api/v1/jobs/a", headers)
    assert status in (200, 201)


async def test_the_exporters_own_page_writes(open_site: Open) -> None:
    site = await open_site(web={"external_url": "https://removit.example/x"})
    for origin in (site.url, "https://removit.example"):
        status, _ = await ask(site, "PUT", "/api/v1/jobs/a", {**BEARER, "Origin": origin})
        assert status in (200, 201)


async def test_result_urls_are_shown_to_the_token_and_on_the_status_route(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.05))
    await site.put(job_id)
    assert (await site.ends(job_id, "done"))["final_urls"]
    path = f"/api/v1/jobs/{job_id}"
    for shown in (NOBODY, LOGIN, API_KEY):
        assert (await ask(site, "GET", path, shown))[1]["final_urls"] == {}
        listed = (await ask(site, "GET", "/api/v1/jobs", shown))[1]["jobs"]
        assert [job["final_urls"] for job in listed] == [{}]
    told = await ask(site, "GET", f"/api/v1/status?job_id={job_id}", API_KEY)
    assert (told[0], bool(told[1]["final_urls"])) == (200, True)


async def test_where_logins_are_required_reading_takes_a_login_or_the_token(
    guarded: Site,
) -> None:
    for route in guarded.exporter.routes():
        if route.method not in ("GET", "HEAD") or route.path in OPEN_ROUTES | KEY_ROUTES:
            continue
        path = route.path.replace("{job_id:[^/]+}", "a").replace("{name:.+}", "main.js")
        for shown in (NOBODY, WRONG_LOGIN, {"Authorization": "Bearer wrong"}, API_KEY):
            async with guarded.client.request(route.method, path, headers=shown) as response:
                assert response.status == 401, (route.path, shown)
                assert response.headers["WWW-Authenticate"].startswith("Basic ")
        for shown in (LOGIN, BEARER):
            async with guarded.client.request(route.method, path, headers=shown) as response:
                assert response.status != 401, (route.path, shown)


async def test_a_login_does_not_write(guarded: Site) -> None:
    for method, path in WRITES:
        assert (await ask(guarded, method, path, LOGIN))[0] == 401


async def test_an_unknown_path_says_nothing_to_a_stranger(guarded: Site) -> None:
    assert (await ask(guarded, "GET", "/nothing/here", NOBODY))[0] == 401
    assert (await ask(guarded, "GET", "/nothing/here", LOGIN))[0] == 404


async def test_healthy_and_ready_need_no_login(guarded: Site) -> None:
    for path in OPEN_ROUTES:
        assert (await ask(guarded, "GET", path, NOBODY))[0] == 200


async def test_the_upstreams_routes_take_its_key_and_no_login(
    guarded: Site, simulator: Simulator
) -> None:
    path = f"/api/v1/status?job_id={simulator.add(Script.stuck(0.0))}"
    for shown in (NOBODY, LOGIN, BEARER):
        assert (await ask(guarded, "GET", path, shown))[0] == 401
        assert (await ask(guarded, "POST", "/api/v1/upload", shown))[0] == 401
    assert (await ask(guarded, "GET", path, API_KEY))[0] == 200
