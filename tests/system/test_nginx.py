"""The example for nginx, with TLS, in front of a real exporter."""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import trustme
from conftest import TOKEN, program
from system_ports import free_port

from exporter.client import AsyncClient
from exporter.config import ConfigFile
from exporter.server import Server

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "nginx.conf"
AROUND = """
daemon off; master_process off; error_log stderr; pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


@contextlib.asynccontextmanager
async def nginx(folder: Path, ports: dict[str, int]) -> AsyncIterator[None]:
    """Run nginx with the example, on other ports and with a certificate of its own."""
    binary = program("nginx", "nginx-light")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = ca.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    text = EXAMPLE.read_text()
    changes = {
        "listen 443": f"listen 127.0.0.1:{ports['nginx']}",
        "127.0.0.1:10977": f"127.0.0.1:{ports['exporter']}",
        "/etc/nginx/tls/monitoring.example.pem": f"{folder}/server.pem",
        "/etc/nginx/tls/monitoring.example.key": f"{folder}/server.pem",
        "server_name monitoring.example": "server_name localhost",
    }
    for shown, used in changes.items():
        assert shown in text
        text = text.replace(shown, used)
    config = folder / "nginx.conf"
    config.write_text(AROUND.format(folder=folder, server=text))
    process = await asyncio.create_subprocess_exec(
        *(binary, "-p", str(folder), "-c", str(config)), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def outside(tmp_path: Path, write_config: Callable[..., ConfigFile]) -> AsyncIterator[str]:
    """The URL of an exporter behind nginx."""
    ports = {"nginx": free_port(), "exporter": free_port()}
    url = f"https://localhost:{ports['nginx']}/removit"
    file = write_config(
        web={"listen_address": f"127.0.0.1:{ports['exporter']}", "external_url": url}
    )
    server = Server(file.load(), file, None)
    await server.start()
    try:
        async with nginx(tmp_path, ports):
            yield url
    finally:
        await server.stop()


async def test_page_token_and_live_events_pass_through(outside: str, tmp_path: Path) -> None:
    tls = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    async with AsyncClient(outside, token=TOKEN, tls=tls) as client:
        await client.register("job-a", key="sku-1")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        async with session.get(outside + "/") as page:
            assert page.status == 200
            scripts = re.findall(r'<script [^>]*src="([^"]+)"', await page.text())
        for script in scripts:
            async with session.get(f"{outside}/{script}") as file:
                assert file.status == 200, script
        assert scripts
        async with session.get(outside + "/api/v1/events", params={"follow": "true"}) as stream:
            async with asyncio.timeout(20):
                first = json.loads(await stream.content.readline())
        assert first["job_id"] == "job-a"
        # Without the token nothing is written, although nginx is on the exporter's own machine.
        async with session.put(outside + "/api/v1/jobs/job-b") as refused:
            assert refused.status == 401
        async with session.get(outside.removesuffix("/removit") + "/metrics") as elsewhere:
            assert elsewhere.status == 404
