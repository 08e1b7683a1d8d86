"""The simulator follows the vendor's pages, so that the exporter can be checked against it."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from conftest import KEY, until

from exporter.simulator import FAULTS, Faults, Script, Simulator, parse_fault
from exporter.simulator.script import STEPS, Kind, body_at, draw

UUID = "019cdc54-2673-dc32-b9e5-6e1d36cc9e8a"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"X-API-Key": KEY}) as made:
        yield made


async def status(
    session: aiohttp.ClientSession, simulator: Simulator, job_id: str | None = None, **options: Any
) -> tuple[int, Any]:
    parameters = {} if job_id is None else {"job_id": job_id}
    async with session.get(
        f"{simulator.url}/api/v1/status", params=parameters, **options
    ) as response:
        text = await response.text()
        is_json = response.content_type == "application/json"
        return response.status, json.loads(text) if is_json else text


async def upload(
    session: aiohttp.ClientSession, simulator: Simulator, **options: Any
) -> tuple[int, Any]:
    async with session.post(f"{simulator.url}/api/v1/upload", **options) as response:
        return response.status, await response.json()


async def test_a_job_goes_through_its_steps_to_the_vendors_done_body(
    session: aiohttp.ClientSession, simulator: Simulator
) -> None:
    simulator.speed = 1000.0
    job_id = simulator.add(Script.warned(100.0))
    _, first = await status(session, simulator, job_id)
    assert list(first) == ["job_id", "status", "state", "mode", "progress", "final_url"]
    assert first["state"] == "pending"

    async def ended() -> Any:
        _, body = await status(session, simulator, job_id)
        return body if body["state"] == "done" else None

    done = await until(ended)
    assert done["progress"] == 100
    assert done["warnings"] == {"shadow_wall": ["params not provided"]}
    assert done["ignored_variations"] == ["shadow_wall"]
    assert "background" in done["final_urls"]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_ends_as_its_name_says(kind: Kind) -> None:
    make = getattr(Script, kind.value)
    script = make() if kind is Kind.LOST else make(1.0)
    body = body_at(script, UUID, 2.0)
    states = {"stuck": "pending", "explicit": "failed"}
    if kind is Kind.FAILING:
        assert body is None
    else:
        assert body is not None
        assert body["state"] == states.get(kind.value, "done")
        has_result = bool(body.get("final_url") or body.get("final_urls"))
        assert has_result is (kind in (Kind.SOUND, Kind.WARNED, Kind.LOST))


def test_progress_never_falls_and_ends_below_100_until_done() -> None:
    script = Script.sound(100.0, "params")
    seen = [body_at(script, UUID, age / 2) for age in range(199)]
    progress = [body["progress"] for body in seen if body]
    assert progress == sorted(progress)
    assert progress[-1] < 100
    assert {body["status"] for body in seen if body} == set(STEPS["params"])


def test_the_same_seed_draws_the_same_scripts_and_every_kind_occurs() -> None:
    first, second = (
        [draw(rng) for _ in range(300)] for rng in (random.Random(5), random.Random(5))
    )
    assert first == second
    assert {script.kind for script in first} == set(Kind) - {Kind.EXPLICIT}
    assert {script.mode for script in first} == set(STEPS)


async def test_both_ways_of_sending_the_key_and_none(simulator: Simulator) -> None:
    job_id = simulator.add(Script.stuck())
    async with aiohttp.ClientSession() as bare:
        for headers, expected in (
            ({"X-API-Key": KEY}, 200),
            ({"Authorization": f"Bearer {KEY}"}, 200),
            ({"Authorization": f"bearer {KEY}"}, 200),
            ({"Authorization": f"Basic {KEY}"}, 401),
            ({"X-API-Key": "wrong"}, 401),
            ({}, 401),
        ):
            code, body = await status(bare, simulator, job_id, headers=headers)
            assert code == expected, headers
            if expected == 401:
                assert body == {"error": "unauthorized", "message": "API key invalid"}


async def test_the_error_bodies(session: aiohttp.ClientSession, simulator: Simulator) -> None:
    assert await status(session, simulator, UUID) == (404, {"error": "not_found"})
    code, body = await status(session, simulator, "no-uuid")
    assert (code, body["error"], list(body["details"])) == (422, "validation", ["job_id"])
    code, body = await status(session, simulator)
    assert (code, body["error"]) == (422, "validation")
    async with session.get(f"{simulator.url}/nowhere") as response:
        assert (response.status, await response.json()) == (404, {"error": "not_found"})
    async with session.delete(f"{simulator.url}/api/v1/status") as response:
        assert (response.status, (await response.json())["error"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("style", ["json", "html", "empty"])
async def test_a_failing_job_answers_5xx_in_each_style(
    session: aiohttp.ClientSession, simulator: Simulator, style: str
) -> None:
    job_id = simulator.add(Script.failing(0.0, failure_body=style))
    code, body = await status(session, simulator, job_id)
    assert code == 500
    assert {"json": isinstance(body, dict), "html": "<html>" in body, "empty": body == ""}[style]


async def test_uploads_as_json_and_as_multipart(
    session: aiohttp.ClientSession, simulator: Simulator
) -> None:
    code, body = await upload(session, simulator, json={"file_url": "https://x/y.png"})
    assert (code, body["status"], body["mode"]) == (200, "queued", "clipping")
    assert (await status(session, simulator, body["job_id"]))[0] in (200, 404)
    form = aiohttp.FormData()
    form.add_field("file", b"x" * 300_000, filename="a.png")
    form.add_field("mode", "params")
    form.add_field("params", "{}")
    code, body = await upload(session, simulator, data=form)
    assert (code, body["mode"]) == (200, "params")
    assert body["job_id"] in simulator.ledger.jobs


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "file"),
        ({"file_url": "u"}, "file_url"),
        ({"file_url": "https://x/y.png", "mode": "magic"}, "mode"),
        ({"file_url": "https://x/y.png", "mode": "params"}, "params"),
        ({"file_url": "https://x/y.png", "delivery_mode": "pigeon"}, "delivery_mode"),
        ({"file_url": "https://x/y.png", "output_format": "gif"}, "output_format"),
    ],
)
async def test_a_wrong_upload_names_the_field(
    session: aiohttp.ClientSession, simulator: Simulator, fields: dict[str, str], field: str
) -> None:
    code, body = await upload(session, simulator, json=fields)
    assert (code, body["error"], list(body["details"])) == (422, "validation", [field])
    assert simulator.ledger.jobs == {}


@pytest.mark.parametrize("body", [b"{", b"[]"])
async def test_an_upload_that_is_not_a_form_is_refused(
    session: aiohttp.ClientSession, simulator: Simulator, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await upload(session, simulator, data=body, headers=headers))[0] == 422
    assert (await upload(session, simulator, data=body))[0] == 422


async def test_a_test_can_choose_the_script_of_an_upload(
    session: aiohttp.ClientSession, simulator: Simulator
) -> None:
    document = {"file_url": "https://x/y.png"}
    headers = {"X-Simulator-Kind": "failing"}
    _, body = await upload(session, simulator, json=document, headers=headers)
    assert simulator.ledger.jobs[body["job_id"]].script.kind is Kind.FAILING
    headers = {"X-Simulator-Kind": "cursed"}
    assert (await upload(session, simulator, json=document, headers=headers))[0] == 422


@pytest.mark.parametrize(
    ("fault", "arguments", "code"),
    [
        ("outage", {}, 503),
        ("outage", {"status": 500, "body": "empty"}, 500),
        ("partial_outage", {"share": 1.0}, 500),
        ("partial_outage", {"share": 1.0, "mode": "clipping"}, 500),
        ("partial_outage", {"share": 1.0, "mode": "params"}, 200),
        ("partial_outage", {"share": 0.0}, 200),
        ("garbage", {}, 200),
        ("misrouted", {}, 404),
        ("misrouted", {"status": 422}, 422),
        ("throttled", {"retry_after": 7}, 429),
        ("revoked_key", {}, 401),
        ("forbidden", {}, 403),
        ("forbidden", {"html": False}, 403),
        ("slow", {"seconds": 0.05}, 200),
        ("no_credits", {}, 200),
        ("oversized", {}, 200),
        ("forgets", {}, 404),
        ("forgets", {"share": 0.0}, 200),
        ("dropped_connection", {"share": 0.0}, 200),
    ],
)
async def test_a_fault_lasts_while_it_is_active(
    session: aiohttp.ClientSession,
    simulator: Simulator,
    fault: str,
    arguments: dict[str, Any],
    code: int,
) -> None:
    job_id = simulator.add(Script.stuck())
    with getattr(simulator.faults, fault)(**arguments):
        assert (await status(session, simulator, job_id))[0] == code
    got, body = await status(session, simulator, job_id)
    assert (got, body["state"]) == (200, "pending")


async def test_faults_that_break_the_connection(
    session: aiohttp.ClientSession, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck())
    with simulator.faults.dropped_connection(), pytest.raises(aiohttp.ClientError):
        await status(session, simulator, job_id)
    with simulator.faults.cut_body(), pytest.raises(aiohttp.ClientPayloadError):
        await status(session, simulator, job_id)
    async with simulator.faults.refused():
        with pytest.raises(aiohttp.ClientConnectorError):
            await status(session, simulator, job_id)
    with simulator.faults.stall(), pytest.raises(TimeoutError):
        await asyncio.wait_for(status(session, simulator, job_id), 0.2)
    assert (await status(session, simulator, job_id))[0] == 200


async def test_faults_combine_and_the_newest_answers_first(
    session: aiohttp.ClientSession, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck())
    with simulator.faults.outage(status=500), simulator.faults.outage(status=502):
        assert (await status(session, simulator, job_id))[0] == 502
    with simulator.faults.outage(status=500), simulator.faults.no_credits():
        assert (await status(session, simulator, job_id))[0] == 500
        code, body = await upload(session, simulator, json={"file_url": "https://x/y.png"})
        assert (code, body) == (402, {"error": "insufficient_credits"})


async def test_only_jobs_made_during_the_fault_are_visible_late(
    session: aiohttp.ClientSession, simulator: Simulator
) -> None:
    with simulator.faults.late_visibility(0.2):
        late = simulator.add(Script.stuck())
    prompt = simulator.add(Script.stuck())
    assert (await status(session, simulator, late))[0] == 404
    assert (await status(session, simulator, prompt))[0] == 200

    async def visible() -> bool:
        return (await status(session, simulator, late))[0] == 200

    await until(visible)


@pytest.mark.parametrize("name", list(FAULTS))
def test_every_fault_is_known_to_the_command_line(name: str) -> None:
    read = FAULTS[name][1]
    text = name if read is None else f"{name}=1"

    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        simulator = Simulator(api_key=KEY)
        with parse_fault(text)(simulator.faults), parse_fault(name)(simulator.faults):
            yield

    async def hold() -> None:
        async with held():
            pass

    asyncio.run(hold())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("earthquake", "known are: outage"),
        ("stall=3", "takes no argument"),
        ("slow=very", "takes a number"),
    ],
)
def test_an_unknown_fault_says_what_is_expected(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_fault(text)


async def test_the_ledger_has_the_true_totals(
    session: aiohttp.ClientSession, simulator: Simulator
) -> None:
    warned = simulator.add(Script.warned(0.0))
    unseen = simulator.add(Script.warned(0.0))
    simulator.add(Script.failing(0.0))
    simulator.add(Script.resultless(0.0))
    simulator.add(Script.lost())
    a_control = str(uuid.uuid4())  # asked about once, to see whether ids are looked up
    for job_id in (warned, warned, "no-uuid", UUID, UUID, a_control):
        await status(session, simulator, job_id)
    totals = simulator.ledger.totals()
    assert totals == {
        "registered": 7,
        "finished": {"done": 3, "failed": 1, "not_found": 2, "invalid": 1},
        "done_without_result": 1,
        "warnings": {"shadow_wall": 1},
        "ignored_variations": {"shadow_wall": 1},
    }
    ledger = simulator.ledger
    assert ledger.jobs[warned].polls == 2
    assert list(ledger.jobs[unseen].answers) == []
    assert ledger.requests["GET", "/api/v1/status", 404] == 3


async def test_a_simulator_that_was_not_started_cannot_refuse() -> None:
    with pytest.raises(RuntimeError):
        async with Faults(random.Random(1)).refused():
            pass
