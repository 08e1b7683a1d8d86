"""Registering, reading and forgetting over HTTP."""

import asyncio
import json
from typing import Any

import pytest
from conftest import AUTHORIZATION, BEARER, AsTheCommand, Open, Site, until
from yarl import URL

from exporter.simulator import Script, Simulator
from exporter.stop import State
from exporter.storage import job_rows
from exporter.web import bodies

QUIET = {"polling": {"min_interval": "1h", "max_interval": "1h", "stalled_after": "2h"}}
"""One poll of each job, and then none for a long time."""


async def call(site: Site, method: str, path: str, **request: Any) -> tuple[int, Any]:
    async with site.client.request(method, path, **request) as response:
        text = await response.text()
        assert response.content_type in ("application/json", "application/octet-stream")
        return response.status, json.loads(text) if text else None


async def labelled(open_site: Open, **sections: Any) -> Site:
    return await open_site(
        **{
            "registration": {"allowed_labels": ["shop", "team"]},
            "metrics": {"group_labels": ["shop"]},
            **sections,
        }
    )


async def test_put_is_201_when_new_and_200_when_known(open_site: Open) -> None:
    site = await labelled(open_site)
    document = {"labels": {"shop": "eu"}, "key": "sku-1"}
    status, first = await call(site, "PUT", "/api/v1/jobs/a", json=document)
    assert status == 201
    assert (first["job_id"], first["labels"], first["key"]) == ("a", {"shop": "eu"}, "sku-1")
    assert (first["source"], first["sources"]) == ("api", ["api"])
    status, second = await call(site, "PUT", "/api/v1/jobs/a", json=document)
    assert (status, second["registered_at"]) == (200, first["registered_at"])
    assert await site.value('removit_jobs_registered_total{shop="eu",source="api"}') == 1


async def test_put_registers_without_a_body(site: Site) -> None:
    assert (await call(site, "PUT", "/api/v1/jobs/a"))[0] == 201


async def test_a_second_registration_adds_missing_labels_and_key(open_site: Open) -> None:
    site = await labelled(open_site)
    await site.put("a", labels={"shop": "eu"})
    status, shown = await call(
        site, "PUT", "/api/v1/jobs/a", json={"labels": {"team": "x"}, "key": "sku"}
    )
    assert (status, shown["labels"], shown["key"]) == (200, {"shop": "eu", "team": "x"}, "sku")


async def test_a_conflict_is_409_and_changes_nothing(open_site: Open) -> None:
    site = await labelled(open_site)
    await site.put("a", labels={"shop": "eu"}, key="sku")
    document = {"labels": {"shop": "us"}, "key": "other"}
    assert await call(site, "PUT", "/api/v1/jobs/a", json=document) == (
        409,
        {
            "error": "conflict",
            "details": {
                "labels.shop": ["registered as 'eu', cannot become 'us'"],
                "key": ["registered as 'sku', cannot become 'other'"],
            },
        },
    )
    shown = await site.job("a")
    assert (shown["labels"], shown["key"]) == ({"shop": "eu"}, "sku")


async def test_a_list_is_registered_all_or_nothing(open_site: Open) -> None:
    site = await labelled(open_site)
    await site.put("a")
    good = [{"job_id": "a"}, {"job_id": "b", "labels": {"shop": "eu"}}, {"job_id": "b"}]
    assert await call(site, "POST", "/api/v1/jobs", json=good) == (
        200,
        {"registered": 1, "known": 2},
    )
    bad = [
        {"job_id": "c"},
        {"job_id": "d e"},
        {"labels": {"colour": "x"}},
        3,
        {"job_id": "f", "x": 1},
    ]
    status, answer = await call(site, "POST", "/api/v1/jobs", json=bad)
    assert status == 422
    assert set(answer["details"]) == {"1.job_id", "2.job_id", "2.labels.colour", "3", "4.x"}
    assert (await call(site, "GET", "/api/v1/jobs/c"))[0] == 404
    conflict = [{"job_id": "g"}, {"job_id": "b", "labels": {"shop": "us"}}]
    status, answer = await call(site, "POST", "/api/v1/jobs", json=conflict)
    assert (status, list(answer["details"])) == (409, ["1.labels.shop"])
    assert (await call(site, "GET", "/api/v1/jobs/g"))[0] == 404
    refused = 'removit_exporter_registrations_refused_total{reason="%s"}'
    assert await site.value(refused % "invalid") == 5
    assert await site.value(refused % "conflict") == 2


async def test_a_job_may_be_back_filled_but_not_from_the_future(site: Site) -> None:
    shown = await site.put("a", registered_at="2026-03-11T10:57:08+01:00")
    assert shown["registered_at"] == "2026-03-11T09:57:08.000Z"
    for wrong in (
        "2999-01-01T00:00:00Z",
        "2026-03-11T09:57:08",
        "yesterday",
        5,
        "1900-01-01T00:00:00Z",
    ):
        status, answer = await call(site, "PUT", "/api/v1/jobs/b", json={"registered_at": wrong})
        assert (status, list(answer["details"])) == (422, ["registered_at"])


@pytest.mark.parametrize(
    ("path", "document", "field", "message"),
    [
        ("a%20b", {}, "job_id", "does not match registration.job_id_pattern"),
        ("x" * 129, {}, "job_id", "does not match registration.job_id_pattern"),
        ("a", {"labels": {"colour": "red"}}, "labels.colour", "not among registration.allowed"),
        ("a", {"labels": {"job_id": "x"}}, "labels.job_id", "the label name is reserved"),
        ("a", {"labels": {"job": "x"}}, "labels.job", "the label name is reserved"),
        ("a", {"labels": {"instance": "x"}}, "labels.instance", "the label name is reserved"),
        ("a", {"labels": {"le": "x"}}, "labels.le", "the label name is reserved"),
        ("a", {"labels": {"__x": "x"}}, "labels.__x", "the label name is reserved"),
        ("a", {"labels": {"shop": 5}}, "labels.shop", "expected a string, got 5"),
        ("a", {"labels": {"shop": "é" * 129}}, "labels.shop", "longer than 256 bytes"),
        ("a", {"labels": {"shop": "\ud800"}}, "labels.shop", "labels cannot have"),
        ("a", {"labels": {f"l{at}": "" for at in range(17)}}, "labels", "17 labels; at most 16"),
        ("a", {"labels": []}, "labels", "expected an object such as"),
        ("a", {"key": ""}, "key", "a string of 1 to 256 characters"),
        ("a", {"key": "a\nb"}, "key", "contains a control character"),
        ("a", {"key": 5}, "key", "a string of 1 to 256 characters"),
        ("a", {"lables": {}}, "lables", "unknown field; known are: key, labels, registered_at"),
        ("a", [], "", "expected an object such as"),
    ],
)
async def test_an_error_names_the_field_and_what_is_expected(
    open_site: Open, path: str, document: Any, field: str, message: str
) -> None:
    site = await labelled(open_site)
    status, answer = await call(site, "PUT", f"/api/v1/jobs/{path}", json=document)
    assert (status, answer["error"], list(answer["details"])) == (422, "validation", [field])
    assert message in answer["details"][field][0]
    assert (await call(site, "GET", "/api/v1/jobs"))[1] == {
        "jobs": [],
        "next": None,
        "newest_event_id": 0,
    }


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"{", "application/json", 400, "the body is not JSON"),
        (b'{"a": "\xff"}', "application/json", 400, "the body is not UTF-8"),
        (b"[" * 100_000, "application/json", 400, "nested too deeply"),
        (b"{}", "text/plain", 415, "send Content-Type: application/json, not text/plain"),
        (b"x" * 3000, "application/json", 413, "longer than registration.max_body_bytes: 2048"),
    ],
)
async def test_a_refused_body_says_why(
    open_site: Open, body: bytes, kind: str, status: int, message: str
) -> None:
    limit = 2048 if status == 413 else 1024 * 1024
    site = await open_site(registration={"max_body_bytes": limit})
    got, answer = await call(
        site, "PUT", "/api/v1/jobs/a", data=body, headers={"Content-Type": kind}
    )
    assert got == status
    assert message in answer["message"]


@pytest.mark.parametrize("job_id", ["a\ud800b", "a\x01b", "a\x7f"])
async def test_an_id_can_be_stored_whatever_the_pattern_admits(
    open_site: Open, job_id: str
) -> None:
    site = await open_site(registration={"job_id_pattern": r"[^\s/\x00]{1,64}"})
    status, answer = await call(site, "POST", "/api/v1/jobs", json=[{"job_id": job_id}])
    assert (status, list(answer["details"])) == (422, ["0.job_id"])
    assert "a character that ids cannot have" in answer["details"]["0.job_id"][0]
    await site.put("é")


async def test_a_post_of_anything_but_a_list_is_an_error(site: Site) -> None:
    status, answer = await call(site, "POST", "/api/v1/jobs", json={"job_id": "a"})
    assert (status, answer["details"]) == (
        422,
        {"": ['expected a list of jobs such as [{"job_id": "…"}]']},
    )
    assert await call(site, "POST", "/api/v1/jobs", json=[]) == (200, {"registered": 0, "known": 0})


@pytest.mark.parametrize("job_id", ["{a}", "a{", "%7Ba%7D"])
async def test_an_id_with_braces_is_an_id_all_the_same(site: Site, job_id: str) -> None:
    url = URL(f"{site.url}/api/v1/jobs/{job_id}", encoded=True)
    async with site.client.session.get(url) as response:
        assert response.status == 404
        assert "no job" in (await response.json())["message"]
    async with site.client.session.put(url, headers=BEARER) as response:
        assert response.status == 422
        assert "job_id" in (await response.json())["details"]
    assert 'route="/api/v1/jobs/{job_id}"' in await site.metrics()


async def test_a_chunked_body_over_http_1_0_is_refused_and_the_connection_closed(
    site: Site,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.client.port)
    writer.write(b"GET /-/healthy HTTP/1.0\r\nTransfer-Encoding: chunked\r\n")
    writer.write(b"Connection: keep-alive\r\n\r\n0\r\n\r\nGET /-/ready HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert answer.count(b"HTTP/1.0 ") == 1


@pytest.mark.parametrize(
    ("offer", "gzipped"),
    [("*;q=0, gzip", True), ("gzip;q=0, *", False), ("*", True), ("br, *;q=0", False)],
)
async def test_gzip_by_its_name_counts_before_the_star(
    site: Site, offer: str, gzipped: bool
) -> None:
    async with site.client.get("/metrics", headers={"Accept-Encoding": offer}) as response:
        assert (response.headers.get("Content-Encoding") == "gzip") is gzipped


async def test_unknown_routes_and_wrong_methods_are_json(site: Site) -> None:
    assert await call(site, "GET", "/nope") == (
        404,
        {"error": "not_found", "message": "no such route"},
    )
    async with site.client.request("PATCH", "/api/v1/jobs/a") as response:
        assert (response.status, response.headers["Allow"]) == (405, "DELETE, GET, HEAD, PUT")
        assert (await response.json())["error"] == "method_not_allowed"
    series = 'removit_exporter_http_requests_total{code="404",method="GET",route="unknown"}'
    assert await site.value(series) == 1


async def test_a_list_names_the_newest_event_that_it_includes(site: Site) -> None:
    await site.put("job-a")
    await site.ends("job-a", "invalid")
    shown = await site.job("job-a")
    assert shown["newest_event_id"] >= shown["events"][-1]["id"]
    _, page = await call(site, "GET", "/api/v1/jobs")
    assert page["newest_event_id"] >= shown["newest_event_id"]


async def test_pages_continue_and_keep_the_filters(open_site: Open) -> None:
    site = await labelled(open_site)
    for at in range(5):
        await site.put(f"job-{at}", labels={"shop": "eu" if at % 2 else "us"})
    status, page = await call(site, "GET", "/api/v1/jobs?limit=2")
    assert [job["job_id"] for job in page["jobs"]] == ["job-4", "job-3"]
    status, page = await call(site, "GET", f"/api/v1/jobs?limit=3&after={page['next']}")
    assert [job["job_id"] for job in page["jobs"]] == ["job-2", "job-1", "job-0"]
    assert (status, page["next"]) == (200, None)
    _, page = await call(site, "GET", "/api/v1/jobs?label.shop=eu&source=api")
    assert [job["job_id"] for job in page["jobs"]] == ["job-3", "job-1"]
    assert (await call(site, "GET", "/api/v1/jobs?state=done"))[1]["jobs"] == []


async def test_lists_show_the_jobs_of_an_ignored_variation_or_a_warning(
    site: Site, simulator: Simulator
) -> None:
    warned, sound = simulator.add(Script.warned(0.0)), simulator.add(Script.sound(0.0))
    for job_id in (warned, sound):
        await site.put(job_id)
        await site.ends(job_id, "done")
    for name in ("variation", "warning"):
        _, page = await call(site, "GET", f"/api/v1/jobs?{name}=shadow_wall")
        assert [job["job_id"] for job in page["jobs"]] == [warned]
        assert (await call(site, "GET", f"/api/v1/jobs?{name}=clipping"))[1]["jobs"] == []


async def test_a_page_of_very_large_jobs_has_fewer_of_them(
    open_site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await open_site()
    names = [f"job-{at}" for at in range(6)]
    for name in names:
        await site.put(name, key="k" * 200)
    monkeypatch.setattr(job_rows, "MAX_PAGE_BYTES", 700)
    found: list[str] = []
    after: dict[str, str] = {}
    for _ in names:
        async with site.client.get("/api/v1/jobs", params={"limit": "5", **after}) as response:
            page = await response.json()
        assert 1 <= len(page["jobs"]) < 5
        found += [one["job_id"] for one in page["jobs"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == names[::-1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("after=x", "after"),
        ("state=melted", "state"),
        ("source=me", "source"),
        ("colour=red", "colour"),
    ],
)
async def test_a_bad_query_is_422_by_parameter(site: Site, query: str, field: str) -> None:
    status, answer = await call(site, "GET", f"/api/v1/jobs?{query}")
    assert (status, list(answer["details"])) == (422, [field])


async def test_forgetting_is_204_and_then_404(site: Site) -> None:
    await site.put("a")
    assert (await call(site, "DELETE", "/api/v1/jobs/a"))[0] == 204
    assert (await call(site, "DELETE", "/api/v1/jobs/a"))[0] == 404
    assert (await call(site, "GET", "/api/v1/jobs/a"))[0] == 404
    assert (await site.put("a"))["state"] == "pending"


async def test_a_job_that_the_config_names_cannot_be_deleted_over_http(open_site: Open) -> None:
    site = await open_site(jobs=["named"])
    status, answer = await call(site, "DELETE", "/api/v1/jobs/named")
    assert (status, answer["error"]) == (409, "conflict")
    assert (await site.job("named"))["source"] == "config"


async def test_a_full_registry_answers_503_with_retry_after_and_keeps_its_jobs(
    open_site: Open,
) -> None:
    site = await open_site(registration={"max_pending": 2}, **QUIET)
    await site.put("019cdc54-2673-dc32-b9e5-6e1d36cc9e8a")
    async with site.client.post(
        "/api/v1/jobs", json=[{"job_id": "b"}, {"job_id": "c"}]
    ) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        answer = await response.json()
    assert answer["error"] == "exporter_unavailable"
    assert "registration.max_pending: 2" in answer["message"]
    assert (await call(site, "GET", "/api/v1/jobs/b"))[0] == 404
    refused = 'removit_exporter_registrations_refused_total{reason="full"}'
    assert await site.value(refused) == 2


async def test_healthy_and_ready_do_not_depend_on_the_upstream(
    site: Site, simulator: Simulator
) -> None:
    with simulator.faults.outage():
        for path in ("/-/healthy", "/-/ready"):
            async with site.client.get(path) as response:
                assert (response.status, response.content_type) == (200, "text/plain")
    site.exporter.stopping.state = State.LOADING
    status, answer = await call(site, "GET", "/-/ready")
    assert (status, answer["message"]) == (503, "jobs are still being loaded")
    site.exporter.begin_stop()
    status, answer = await call(site, "GET", "/-/ready")
    assert (status, answer["message"]) == (503, "the exporter is shutting down")


async def test_concurrent_registrations_make_one_job(site: Site) -> None:
    answers = await asyncio.gather(
        *(call(site, "PUT", "/api/v1/jobs/a") for _ in range(20)),
        *(call(site, "POST", "/api/v1/jobs", json=[{"job_id": "a"}]) for _ in range(20)),
    )
    new = sum(status == 201 for status, _ in answers)
    new += sum(answer.get("registered", 0) for _, answer in answers)
    assert new == 1


async def test_an_error_inside_is_json_and_logged_without_details(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(site.exporter.registry, "page", broken)
    status, answer = await call(site, "GET", "/api/v1/jobs")
    assert (status, answer["error"]) == (500, "internal")
    assert "a bug" not in str(answer)
    await until(lambda: "request failed" in caplog.text)


async def test_malformed_requests_are_client_errors(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.put("a")
    async with site.client.get("/api/v1/jobs/a", headers={"Origin": "http://[::1"}) as response:
        assert response.status == 200
    accept = {"Accept": "application/openmetrics-text; version=abc"}
    async with site.client.get("/probe?job_id=a", headers=accept) as response:
        assert response.status == 200
    key = {"key": "\ud800"}
    async with site.client.post("/api/v1/failures/ack", json=key) as response:
        assert response.status == 422
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with site.client.put("/api/v1/jobs/b", data=b"no gzip", headers=headers) as response:
        assert response.status == 415
    assert "request failed" not in caplog.text


async def test_left_out_jobs_are_counted_by_complete_pages_only(open_site: Open) -> None:
    site = await open_site(
        metrics={"per_job": {"max_jobs": 1, "after": "0s"}}, upstream={"rate": 0.001, "burst": 1}
    )
    for name in ("a", "b", "c"):
        await site.put(name)
    left_out = "removit_exporter_series_left_out_jobs"
    await site.metrics()
    assert await site.value(left_out) == 2
    await site.client.head("/metrics")
    assert (await site.value("removit_exporter_scrape_size_bytes") or 0) > 0
    await site.metrics(**{"collect[]": "exporter"})
    assert await site.value(left_out) == 2


async def test_a_client_that_disconnects_early_is_not_logged_as_an_error(
    open_site: Open, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site(server=AsTheCommand)
    url = site.client.make_url("/")
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"PUT /api/v1/jobs/a HTTP/1.1\r\n"
        + AUTHORIZATION
        + b"Host: localhost\r\nContent-Length: 9\r\n\r\n{"
    )
    await until(lambda: site.exporter.stopping.requests)
    writer.transport.abort()
    answered = 'http_requests_total{code="400",method="PUT",route="/api/v1/jobs/{job_id}"}'
    await until(lambda: site.value(f"removit_exporter_{answered}"))
    assert "request failed" not in caplog.text


async def test_an_incomplete_body_is_408(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection(site.client.host, site.client.port)
    writer.write(
        b"PUT /api/v1/jobs/a HTTP/1.1\r\n"
        + AUTHORIZATION
        + b"Host: localhost\r\nContent-Length: 9\r\n\r\n{"
    )
    told = await asyncio.wait_for(reader.readuntil(b"}"), 60)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert json.loads(told.partition(b"\r\n\r\n")[2]) == {
        "error": "timeout",
        "message": "the body was not complete within 0.3 s",
    }
    writer.close()
