"""Debian's nginx in front of the exporter, set up as carelessly as its documentation allows."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from conftest import BEARER, KEY, Site
from nginx import nginx
from system_ports import free_port

from exporter.simulator import Script, Simulator

SERVER = """
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {target};
            {more}
        }}
    }}
"""
BARE = ""
NEWER = "proxy_http_version 1.1;"
USUAL = "proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Connection '';"
WRITES = ("PUT", "POST", "DELETE", "PATCH")


@pytest.fixture(params=[BARE, NEWER, USUAL], ids=["bare", "http 1.1", "usual"])
async def front(request: pytest.FixtureRequest, tmp_path: Path, site: Site) -> AsyncIterator[str]:
    folder = tmp_path / "nginx"
    folder.mkdir()
    port = free_port()
    async with nginx(folder, SERVER.format(port=port, target=site.url, more=request.param)):
        yield f"http://127.0.0.1:{port}"


def paths(site: Site, admits: Callable[[str], bool], job_id: str) -> list[tuple[str, str]]:
    return [
        (
            route.method,
            route.path.replace("{job_id:[^/]+}", job_id).replace("{name:.+}", "main.js"),
        )
        for route in site.exporter.routes()
        if admits(route.method)
    ]


async def test_a_stranger_behind_nginx_writes_nothing(site: Site, front: str) -> None:
    await site.put("a")
    async with aiohttp.ClientSession() as stranger:
        writes = paths(site, lambda method: method in WRITES, "a")
        assert len(writes) >= 6
        for method, path in writes:
            async with stranger.request(method, front + path) as response:
                assert response.status == 401, (method, path)
        async with stranger.put(f"{front}/api/v1/jobs/a", headers=BEARER) as response:
            assert response.status == 200
    assert (await site.job("a"))["job_id"] == "a"


async def test_a_stranger_behind_nginx_sees_no_result_url(
    site: Site, front: str, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.sound(0.05))
    await site.put(job_id)
    urls = list((await site.ends(job_id, "done"))["final_urls"].values())
    assert urls
    async with aiohttp.ClientSession() as stranger:
        for _, path in paths(site, lambda method: method == "GET", job_id):
            query = {"/probe": f"?target={job_id}", "/api/v1/status": f"?job_id={job_id}"}
            async with stranger.get(front + path + query.get(path, "")) as response:
                text = await response.text()
            assert not [url for url in urls if url in text], path
            if path == "/api/v1/status":
                assert response.status == 401
        url = f"{front}/api/v1/status?job_id={job_id}"
        async with stranger.get(url, headers={"X-API-Key": KEY}) as response:
            assert [url for url in urls if url in await response.text()] == urls
