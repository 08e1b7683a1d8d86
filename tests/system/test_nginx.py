"""The example for nginx, with TLS, in front of a real exporter."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import trustme
from conftest import TOKEN
from nginx import nginx
from system_ports import free_port

from exporter.client import AsyncClient
from exporter.config import ConfigFile
from exporter.server import Server

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "nginx.conf"


def server_block(folder: Path, ports: dict[str, int]) -> str:
    """Return the example with other ports and with a certificate of its own."""
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
    return text


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
        async with nginx(tmp_path, server_block(tmp_path, ports)):
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
