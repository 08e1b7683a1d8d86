"""`removit-exporter healthcheck` against real servers over loopback."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result
from conftest import Open, Site

from exporter.cli import main


async def check(*flags: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, ["healthcheck", *flags])


async def check_site(site: Site, config_file: Path) -> Result:
    """Check an exporter whose address is in the flags."""
    address = f"--web.listen-address=127.0.0.1:{site.client.port}"
    return await check(f"--config.file={config_file}", address)


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config whose secrets this process cannot read, in an environment with a dead proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    path = tmp_path / "config.yaml"
    path.write_text("upstream: {api_key_file: nowhere}\n")
    return path


async def test_a_healthy_exporter_is_found_past_the_proxy_of_the_environment(
    open_site: Open, config_file: Path
) -> None:
    result = await check_site(await open_site(), config_file)
    assert (result.exit_code, result.output) == (0, "healthy\n")


async def test_an_exporter_without_a_config_file_is_found_by_the_flags(
    open_site: Open, tmp_path: Path
) -> None:
    """As the image's check finds the demo, on which Prometheus waits in `compose.yaml`."""
    result = await check_site(await open_site(), tmp_path / "config.yaml")
    assert (result.exit_code, result.output) == (0, "healthy\n")


async def test_a_wrong_flag_is_an_error_without_a_config_file_as_well(tmp_path: Path) -> None:
    result = await check(f"--config.file={tmp_path}/config.yaml", "--web.listen-address=10977")
    assert result.exit_code == 1
    assert result.output.startswith("--web.listen-address: expected an address such as")


async def serve(status: int, tls: ssl.SSLContext | None = None) -> TestServer:
    async def healthy(request: web.Request) -> web.Response:
        return web.Response(status=status, text="a text")

    app = web.Application()
    app.router.add_get("/images/-/healthy", healthy)
    server = TestServer(app, scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    return server


@pytest.mark.parametrize(
    "web_section",
    [{"route_prefix": "/images"}, {"external_url": "https://example.com/images/"}],
    ids=lambda section: next(iter(section)),
)
async def test_the_prefix_and_the_address_are_those_of_the_config(
    config_file: Path, web_section: dict[str, Any]
) -> None:
    server = await serve(200)
    [(name, value)] = web_section.items()
    config_file.write_text(f"web: {{listen_address: ':{server.port}', {name}: '{value}'}}\n")
    result = await check(f"--config.file={config_file}")
    assert (result.exit_code, result.output) == (0, "healthy\n")
    await server.close()


async def test_an_exporter_that_is_not_healthy_is_a_failure_with_its_text(
    config_file: Path,
) -> None:
    server = await serve(503)
    address = f"--web.listen-address=127.0.0.1:{server.port}"
    result = await check(f"--config.file={config_file}", address, "--web.route-prefix=/images")
    assert (result.exit_code, result.output) == (
        1,
        f"http://127.0.0.1:{server.port}/images/-/healthy answered 503: a text\n",
    )
    await server.close()
    result = await check(f"--config.file={config_file}", address)
    assert result.exit_code == 1
    assert "cannot be reached: connection refused" in result.output


async def test_the_web_config_file_says_that_the_port_speaks_tls(
    config_file: Path, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("exporter.example").configure_cert(tls)
    server = await serve(200, tls)
    web_file = tmp_path / "web.yaml"
    web_file.write_text("tls_server_config: {cert_file: a.pem, key_file: b.pem}\n")
    result = await check(
        f"--config.file={config_file}",
        f"--web.listen-address=127.0.0.1:{server.port}",
        "--web.route-prefix=/images",
        f"--web.config.file={web_file}",
    )
    assert (result.exit_code, result.output) == (0, "healthy\n")
    await server.close()


async def test_client_certificates_can_be_shown(config_file: Path, tmp_path: Path) -> None:
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("exporter.example").configure_cert(tls)
    ca.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("checker").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    server = await serve(200, tls)
    flags = (
        f"--config.file={config_file}",
        f"--web.listen-address=127.0.0.1:{server.port}",
        "--web.route-prefix=/images",
        f"--tls.ca-file={tmp_path}/ca.pem",
    )
    assert (await check(*flags)).exit_code == 1
    result = await check(*flags, f"--tls.cert-file={tmp_path}/own.pem")
    assert (result.exit_code, result.output) == (0, "healthy\n")
    await server.close()
