"""In someone else's application: nothing global is touched, two live side by side."""

import asyncio
import contextlib
import importlib.util
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import prometheus_client
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from conftest import BEARER, KEY, until

import exporter
from exporter import (
    EXPORTER,
    JOBS,
    Config,
    Exporter,
    ExporterStoppedError,
    HistoryGapError,
    JobState,
    RegistrationError,
    RegistryFullError,
    StoredEvent,
    StoreError,
    UnknownJobError,
    setup,
)
from exporter.simulator import Script, Simulator
from exporter.storage.sqlite import SqliteStore

MakeConfig = Callable[..., Config]


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_a_host_application_keeps_its_own_routes_and_errors(make_config: MakeConfig) -> None:
    app = web.Application()
    app.router.add_get("/", hello)
    setup(app, make_config(), prefix="/removit")
    async with TestClient(TestServer(app), headers=BEARER) as client:
        assert await (await client.get("/")).text() == "hello"
        assert (await client.get("/removit/-/ready")).status == 200
        assert (await client.put("/removit/api/v1/jobs/a")).status == 201
        assert "removit_jobs_pending" in await (await client.get("/removit/metrics")).text()
        missing = await client.get("/nope")
        assert (missing.status, missing.content_type) == (404, "text/plain")
        wrong = await client.put("/removit/api/v1/jobs/a%20b")
        assert (wrong.status, wrong.content_type) == (422, "application/json")


async def test_a_start_that_fails_leaves_nothing_open(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config, commits = make_config(jobs=["a"]), 0

    def disk_full_at_the_first_job() -> None:
        nonlocal commits
        commits += 1
        if commits > 1:  # the first is the loading
            raise sqlite3.OperationalError("database or disk is full")

    broken = Exporter(
        config, store=SqliteStore(config.storage.path, before_commit=disk_full_at_the_first_job)
    )
    with pytest.raises(StoreError):
        await broken.start()
    assert not broken.registry.commit.alive
    assert broken.client._session is not None
    assert broken.client._session.closed
    another = Exporter(config)
    await another.start()
    assert set(another.registry.jobs) == {"a"}
    await another.stop()


async def test_two_upstreams_live_in_one_process(
    make_config: MakeConfig, simulator: Simulator, tmp_path: Path
) -> None:
    async with Simulator(api_key=KEY, seed=2) as other:
        app = web.Application()
        setup(app, make_config(upstream={"name": "one"}), prefix="/one")
        inner = web.Application()
        second = make_config(
            upstream={"name": "two", "base_url": other.url}, storage={"path": "two.db"}
        )
        setup(inner, second)
        app.add_subapp("/two", inner)
        async with TestClient(TestServer(app), headers=BEARER) as client:
            first_id = simulator.add(Script.sound(0.1))
            second_id = other.add(Script.sound(0.1))
            await client.put(f"/one/api/v1/jobs/{first_id}")
            await client.put(f"/two/api/v1/jobs/{second_id}")
            for path in (f"/one/api/v1/jobs/{first_id}", f"/two/api/v1/jobs/{second_id}"):

                async def done(path: str = path) -> bool:
                    shown = await (await client.get(path)).json()
                    return bool(shown["state"] == "done")

                await until(done)
            assert (await client.get(f"/one/api/v1/jobs/{second_id}")).status == 404
            page = await (await client.get("/two/metrics")).text()
            assert 'upstream="two"' in page
            assert 'upstream="one"' not in page
            assert app[EXPORTER] is not inner[EXPORTER]


def test_a_second_setup_of_one_application_is_a_clear_error(make_config: MakeConfig) -> None:
    app = web.Application()
    setup(app, make_config())
    with pytest.raises(RuntimeError, match="this application has an exporter already"):
        setup(app, make_config(storage={"path": "other.db"}), prefix="/other")


@pytest.mark.parametrize("prefix", ["removit", "/removit/", "/"])
def test_a_bad_prefix_is_a_clear_error(make_config: MakeConfig, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix: expected a path such as"):
        setup(web.Application(), make_config(), prefix=prefix)


async def test_setup_changes_nothing_global(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str], simulator: Simulator
) -> None:
    def state() -> tuple[Any, ...]:
        return (
            list(logging.getLogger().handlers),
            logging.getLogger().level,
            list(logging.getLogger("removit_exporter").handlers),
            logging.getLogger("removit_exporter").level,
            structlog.is_configured(),
            sorted(metric.name for metric in prometheus_client.REGISTRY.collect()),
        )

    before = state()
    app = web.Application()
    setup(app, make_config())
    assert len(app.middlewares) == 0
    async with TestClient(TestServer(app), headers=BEARER) as client:
        await client.put(f"/api/v1/jobs/{simulator.add(Script.warned(0.05))}")
        await until(lambda: not app[EXPORTER].registry.pending)
        await client.get("/metrics")
    assert state() == before
    assert capsys.readouterr().out == ""


async def test_the_host_gets_the_log_lines_through_stdlib_logging(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, simulator: Simulator
) -> None:
    app = web.Application()
    setup(app, make_config())
    with caplog.at_level(logging.INFO, "removit_exporter"):
        async with TestClient(TestServer(app), headers=BEARER) as client:
            job_id = simulator.add(Script.warned(0.05))
            await client.put(f"/api/v1/jobs/{job_id}")
            await until(lambda: not app[EXPORTER].registry.pending)
    records = [record for record in caplog.records if record.name == "removit_exporter"]
    assert [record.msg for record in records if hasattr(record, "job_id")] == [
        "warning raised",
        "variation ignored",
        "job finished",
    ]
    assert f"job_id={job_id} mode=params" in records[2].getMessage()
    assert [records[0].msg, records[-1].msg] == ["exporter started", "exporter stopped"]
    assert {record.job_id for record in records if hasattr(record, "job_id")} == {job_id}


@pytest.fixture
async def host(make_config: MakeConfig) -> AsyncIterator[web.Application]:
    app = web.Application()
    setup(app, make_config(registration={"allowed_labels": ["shop"], "max_pending": 3}))
    async with TestClient(TestServer(app), headers=BEARER):
        yield app


async def test_a_program_registers_gets_and_waits(
    host: web.Application, simulator: Simulator
) -> None:
    jobs, job_id = host[JOBS], simulator.add(Script.warned(0.2))
    registered = await jobs.register(job_id, labels={"shop": "eu"}, key="sku-1")
    assert (registered.state, registered.source) == (JobState.PENDING, "plugin")
    assert (await jobs.register(job_id)).key == "sku-1"
    done = await jobs.wait(job_id, timeout=20)
    assert done.state is JobState.DONE
    assert dict(done.warnings) == {"shadow_wall": ("params not provided",)}
    assert await jobs.wait(job_id) == done
    assert (await jobs.get(job_id)) == done
    assert await jobs.get("nobody") is None


async def test_a_wait_ends_with_its_timeout_or_when_the_job_is_forgotten(
    host: web.Application, simulator: Simulator
) -> None:
    jobs, job_id = host[JOBS], simulator.add(Script.stuck(0.0))
    with pytest.raises(UnknownJobError):
        await jobs.wait(job_id)
    await jobs.register(job_id)
    with pytest.raises(TimeoutError):
        await jobs.wait(job_id, timeout=0.05)
    waiting = [asyncio.create_task(jobs.wait(job_id, timeout=20)) for _ in range(3)]
    endings = host[EXPORTER].registry.endings
    await until(lambda: len(endings) == 1)
    await host[EXPORTER].registry.forget(job_id)
    for task in waiting:
        with pytest.raises(UnknownJobError):
            await task
    assert len(endings) == 0


@pytest.mark.parametrize("timeout", [None, 300])
async def test_waits_and_streams_end_when_the_application_stops(
    make_config: MakeConfig, simulator: Simulator, timeout: float | None
) -> None:
    app = web.Application()
    setup(app, make_config())
    jobs, job_id = app[JOBS], simulator.add(Script.stuck(0.0))

    async def picture(request: web.Request) -> web.Response:
        job = await jobs.wait(job_id, timeout)
        return web.Response(text=job.state)

    app.router.add_get("/picture", picture)
    runner = web.AppRunner(app, shutdown_timeout=300)  # as a host's own would have to run out
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await jobs.register(job_id)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        asked = asyncio.create_task(session.get("/picture"))
        await until(lambda: app[EXPORTER].registry.endings)
        waiting = asyncio.create_task(jobs.wait(job_id, timeout))
        await asyncio.wait_for(runner.cleanup(), 60)
        with pytest.raises(ExporterStoppedError):
            await asyncio.wait_for(waiting, 60)
        with contextlib.suppress(aiohttp.ClientError):
            await asked
    with pytest.raises(ExporterStoppedError):
        await asyncio.wait_for(jobs.wait(job_id, timeout), 60)


async def test_a_registration_that_is_refused_says_why(
    host: web.Application, simulator: Simulator
) -> None:
    jobs = host[JOBS]
    with pytest.raises(RegistrationError) as refused:
        await jobs.register("a b", labels={"colour": "red"}, registered_at=datetime(2026, 1, 1))
    assert set(refused.value.details) == {"job_id", "labels.colour", "registered_at"}
    await jobs.register(simulator.add(Script.stuck(0.0)), key="a")
    known = await jobs.register(simulator.add(Script.stuck(0.0)), key="b")
    with pytest.raises(RegistrationError, match="key: registered as 'b', cannot become 'c'"):
        await jobs.register(known.job_id, key="c")
    await jobs.register("third", registered_at=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(RegistryFullError):
        await jobs.register("fourth")


async def test_a_program_follows_events_and_resumes_where_it_stopped(
    host: web.Application, simulator: Simulator
) -> None:
    jobs, job_id = host[JOBS], simulator.add(Script.sound(0.2))

    async def follow(**options: Any) -> list[StoredEvent]:
        found = []
        async for event in jobs.events(**options):
            found.append(event)
            if event.event.type == "finished":
                break
        return found

    following = asyncio.create_task(follow(job_id=job_id))
    await asyncio.sleep(0)
    await jobs.register(job_id)
    seen = await asyncio.wait_for(following, 60)
    assert [one.event.type for one in seen][:2] == ["registered", "first_answer"]
    again = await asyncio.wait_for(follow(after=seen[1].id, job_id=job_id), 60)
    assert again == seen[2:]
    with pytest.raises(HistoryGapError):
        await anext(jobs.events(after=10**9))


async def test_a_stream_begins_with_the_call_of_events(
    host: web.Application, simulator: Simulator
) -> None:
    jobs, job_id = host[JOBS], simulator.add(Script.stuck(0.0))
    stream = jobs.events()
    await jobs.register(job_id)
    first = await asyncio.wait_for(anext(stream), 60)
    assert (first.event.type, first.event.job_id) == ("registered", job_id)


async def test_a_reader_that_falls_behind_the_kept_history_gets_an_error_and_no_gap(
    make_config: MakeConfig, simulator: Simulator
) -> None:
    app = web.Application()
    setup(app, make_config(storage={"history_events": 3}))
    async with TestClient(TestServer(app), headers=BEARER):
        jobs, registry = app[JOBS], app[EXPORTER].registry
        registry.feed._items = type(registry.feed._items)(maxlen=2)
        stream = jobs.events(type="registered")
        await jobs.register(simulator.add(Script.stuck(0.0)))
        await asyncio.wait_for(anext(stream), 60)
        for _ in range(10):
            await jobs.register(simulator.add(Script.stuck(0.0)))
        await registry.upkeep.prune()
        with pytest.raises(HistoryGapError):
            await asyncio.wait_for(anext(stream), 60)


async def test_the_documented_example_works(
    make_config: MakeConfig, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOVIT_API_KEY", KEY)
    path = Path(__file__).parent.parent / "docs" / "examples" / "shop.py"
    spec = importlib.util.spec_from_file_location("shop", path)
    assert spec is not None
    assert spec.loader is not None
    shop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shop)
    simulator.speed = 50
    async with TestClient(TestServer(shop.make_app(make_config()))) as client:
        order = {"file_url": "https://example.com/shoe.png", "sku": "shoe-1"}
        async with client.post("/pictures", json=order) as response:
            assert response.status == 202
            job_id = (await response.json())["job_id"]
        async with client.get(f"/pictures/{job_id}") as response:
            assert (await response.json())["state"] in {state.value for state in JobState}
        async with client.get("/pictures/nobody") as response:
            assert response.status == 404
        async with client.get(f"/removit/api/v1/jobs/{job_id}") as response:
            assert (await response.json())["source"] == "plugin"


def test_each_public_name_is_found_where_it_is_said_to_be() -> None:
    for name in exporter.__all__:
        assert getattr(exporter, name)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = exporter.other  # type: ignore[attr-defined]
