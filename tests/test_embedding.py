"""In someone else's application: nothing global is touched, two live side by side."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from conftest import KEY, until

from exporter import EXPORTER, Config, setup
from exporter.simulator import Script, Simulator

MakeConfig = Callable[..., Config]


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_a_host_application_keeps_its_own_routes_and_errors(make_config: MakeConfig) -> None:
    app = web.Application()
    app.router.add_get("/", hello)
    setup(app, make_config(), prefix="/removit")
    async with TestClient(TestServer(app)) as client:
        assert await (await client.get("/")).text() == "hello"
        assert (await client.get("/removit/-/ready")).status == 200
        assert (await client.put("/removit/api/v1/jobs/a")).status == 201
        assert "removit_jobs_pending" in await (await client.get("/removit/metrics")).text()
        missing = await client.get("/nope")
        assert (missing.status, missing.content_type) == (404, "text/plain")
        wrong = await client.put("/removit/api/v1/jobs/a%20b")
        assert (wrong.status, wrong.content_type) == (422, "application/json")


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
        async with TestClient(TestServer(app)) as client:
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


def test_a_second_setup_on_one_application_is_a_clear_error(make_config: MakeConfig) -> None:
    app = web.Application()
    setup(app, make_config())
    with pytest.raises(RuntimeError, match="this application has an exporter already"):
        setup(app, make_config(storage={"path": "other.db"}), prefix="/other")


@pytest.mark.parametrize("prefix", ["removit", "/removit/", "/"])
def test_a_bad_prefix_is_a_clear_error(make_config: MakeConfig, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix: expected a path such as"):
        setup(web.Application(), make_config(), prefix=prefix)


async def test_nothing_global_is_touched(
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
    async with TestClient(TestServer(app)) as client:
        await client.put(f"/api/v1/jobs/{simulator.add(Script.warned(0.05))}")
        await until(lambda: not app[EXPORTER].registry.pending)
        await client.get("/metrics")
    assert state() == before
    assert capsys.readouterr().out == ""


async def test_the_host_gets_the_log_lines_by_stdlib_logging(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, simulator: Simulator
) -> None:
    app = web.Application()
    setup(app, make_config())
    with caplog.at_level(logging.INFO, "removit_exporter"):
        async with TestClient(TestServer(app)) as client:
            job_id = simulator.add(Script.warned(0.05))
            await client.put(f"/api/v1/jobs/{job_id}")
            await until(lambda: not app[EXPORTER].registry.pending)
    records = [record for record in caplog.records if record.name == "removit_exporter"]
    assert [record.getMessage() for record in records] == [
        "warning raised",
        "variation ignored",
        "job finished",
    ]
    assert {getattr(record, "job_id", None) for record in records} == {job_id}
