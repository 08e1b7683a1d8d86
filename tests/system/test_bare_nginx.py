"""Debian's nginx in front of the exporter, set up as carelessly as its documentation allows."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from conftest import BEARER, KEY, Site, program, until
from system_ports import free_port

from exporter.simulator import Script, Simulator

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {target};
            {more}
        }}
    }}
}}
"""
BARE = ""
NEWER = "proxy_http_version 1.1;"
USUAL = "proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Connection '';"
WRITES = ("PUT", "POST", "DELETE", "PATCH")


@contextlib.asynccontextmanager
async def nginx(folder: Path, target: str, more: str) -> AsyncIterator[str]:
    """Run nginx before an exporter; yield its URL."""
    path, port = program("nginx", "nginx-light"), free_port()
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, target=target, more=more))
    # As root nginx gives its work to another account, which would have to reach the folder.
    user = ("-g", "user root;") if os.getuid() == 0 else ()
    process = await asyncio.create_subprocess_exec(
        *(path, "-p", str(folder), "-c", str(config), *user),
        stderr=asyncio.subprocess.PIPE,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:

            async def serves() -> bool:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/-/healthy") as response:
                        return response.status == 200
                return False

            await until(serves)
        yield url
    finally:
        process.terminate()
        await process.communicate()


@pytest.fixture(params=[BARE, NEWER, USUAL], ids=["bare", "http 1.1", "usual"])
async def front(request: pytest.FixtureRequest, tmp_path: Path, site: Site) -> AsyncIterator[str]:
    folder = tmp_path / "nginx"
    folder.mkdir()
    async with nginx(folder, site.url, request.param) as url:
        yield url


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
