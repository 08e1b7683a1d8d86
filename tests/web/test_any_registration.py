"""Any input to the routes for registration gives no 500, no unclear error, and no lost line."""

import itertools
import json
from typing import Any
from urllib.parse import quote

import pytest
from conftest import Open, Site
from hypothesis import given
from hypothesis import strategies as st
from support import fuzzed
from yarl import URL

QUIET: dict[str, Any] = {
    "upstream": {"base_url": "http://127.0.0.1:9", "rate": 0.001, "burst": 1},
    "registration": {"allowed_labels": ["shop"], "max_body_bytes": 4096},
}
COUNTER = itertools.count()

characters = st.characters()  # lone surrogates too: JSON can hold them, UTF-8 cannot
anything = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats()), st.text(characters, max_size=20)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(characters, max_size=8), inner, max_size=4),
    ),
    max_leaves=8,
)
jobs = st.fixed_dictionaries(
    {},
    optional={
        "job_id": st.one_of(st.from_regex(r"[A-Za-z0-9._~-]{1,8}", fullmatch=True), anything),
        "labels": st.one_of(
            st.dictionaries(st.sampled_from(["shop", "job", "x"]), st.text(characters, max_size=4)),
            anything,
        ),
        "key": st.one_of(st.text(characters, max_size=5), anything),
        "registered_at": st.one_of(
            st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()), anything
        ),
        "more": anything,
    },
)
ERRORS = {400, 404, 405, 409, 413, 415, 422}


@pytest.fixture
async def quiet(open_site: Open) -> Site:
    return await open_site(**QUIET)


def is_clear(body: dict[str, Any]) -> bool:
    """An error has its code, and names the fields or the place."""
    details = body.get("details")
    if details is None:
        return bool(body["error"]) and bool(body["message"])
    return bool(details) and all(
        isinstance(texts, list) and texts and all(texts) for texts in details.values()
    )


@pytest.mark.fuzz
@fuzzed(60)
@given(
    method=st.sampled_from(["PUT", "POST"]),
    path_id=st.text(min_size=1, max_size=10),
    body=st.one_of(
        st.binary(max_size=50),
        anything.map(lambda value: json.dumps(value).encode()),
        jobs.map(lambda value: json.dumps(value).encode()),
        st.lists(jobs, max_size=4).map(lambda value: json.dumps(value).encode()),
        st.just(b"[" * 5000),
    ),
    media_type=st.sampled_from(["application/json", "text/plain", "application/json; charset=x"]),
)
async def test_any_body_gets_a_clear_answer(
    quiet: Site, method: str, path_id: str, body: bytes, media_type: str
) -> None:
    path = f"/api/v1/jobs/{quote(path_id, safe='')}" if method == "PUT" else "/api/v1/jobs"
    url = URL(str(quiet.client.make_url("/")).rstrip("/") + path, encoded=True)
    async with quiet.client.session.request(
        method, url, data=body, headers={"Content-Type": media_type}
    ) as response:
        answer = await response.json()
        assert response.status in ERRORS | {200, 201}, answer
        assert response.status in (200, 201) or is_clear(answer), answer


@pytest.mark.fuzz
@fuzzed(60)
@given(st.data())
async def test_every_line_of_a_stream_is_stored_or_refused_with_a_reason(
    quiet: Site, data: st.DataObject
) -> None:
    lines: list[bytes] = []
    good: dict[int, str] = {}
    for number in range(1, data.draw(st.integers(0, 12)) + 1):
        if data.draw(st.booleans()):
            good[number] = f"good-{next(COUNTER)}"
            lines.append(json.dumps({"job_id": good[number]}).encode())
        else:
            texts = jobs.map(lambda one: json.dumps(one).encode())
            bad = data.draw(st.one_of(st.binary(max_size=30), texts))
            lines.append(bad.replace(b"\n", b" "))
    async with quiet.client.post(
        "/api/v1/jobs",
        data=b"\n".join(lines),
        headers={"Content-Type": "application/x-ndjson"},
    ) as response:
        assert response.status == 200
        answers = [json.loads(line) async for line in response.content]
    done = answers[-1]
    refused = {one["line"]: one for one in answers if "line" in one}
    blank = sum(not line.strip() for line in lines)
    assert done["done"]
    assert done["registered"] + done["known"] + done["refused"] == len(lines) - blank
    assert done["refused"] == len(refused)
    assert all(is_clear(one) for one in refused.values()), refused
    assert not refused.keys() & good.keys()
    assert all(name in quiet.exporter.registry.jobs for name in good.values())
