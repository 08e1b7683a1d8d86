"""The drill asks a Prometheus and an Alertmanager that want TLS, a certificate and a login."""

import asyncio
import base64
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

PASSWORD = "drill password 1"


async def drill(folder: Path, *flags: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "drill", "--web.listen-address=127.0.0.1:0", *flags),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[str]:
    """A server that has no rules, and shows that only over TLS to a certificate with a login."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, identity in (("server", "127.0.0.1"), ("client", "drill.example")):
        issued = ca.issue_cert(identity)
        issued.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.crt"))
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    async def answer(request: web.Request) -> web.Response:
        login = base64.b64encode(f"drill:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            return web.Response(status=401)
        return web.json_response({"data": {"groups": []}})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server(ssl=tls)
    yield f"https://127.0.0.1:{server.port}"
    await server.close()


LOGIN = ("--monitoring.username=drill", "--monitoring.password-file=password")
TLS = (
    "--monitoring.ca-file=ca.pem",
    "--monitoring.cert-file=client.crt",
    "--monitoring.key-file=client.key",
)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((*LOGIN, *TLS), "has no rule"),  # so it was let in
        (TLS, "answers 401"),
        ((*LOGIN, *TLS[:1]), "cannot be asked"),
        (LOGIN, "certificate verify failed"),
    ],
)
async def test_it_is_let_in_with_all_three_only(
    tmp_path: Path, guarded: str, flags: tuple[str, ...], said: str
) -> None:
    scenario = "--scenario=upstream-down"
    code, out = await drill(tmp_path, scenario, f"--prometheus={guarded}", *flags)
    assert code == 1
    assert said in out
    assert PASSWORD not in out


async def test_a_login_takes_both_flags(tmp_path: Path) -> None:
    code, out = await drill(tmp_path, LOGIN[0])
    assert code == 2
    assert "--monitoring.username and --monitoring.password-file go together" in out


async def test_the_written_prometheus_reaches_alertmanager_in_the_same_way(
    tmp_path: Path, guarded: str
) -> None:
    code, _ = await drill(
        tmp_path, f"--write={tmp_path / 'drill'}", f"--alertmanager={guarded}/am/", *LOGIN, *TLS
    )
    assert code == 0
    config = yaml.safe_load((tmp_path / "drill" / "prometheus.yml").read_text())
    [target] = config["alerting"]["alertmanagers"]
    assert (target["scheme"], target["path_prefix"]) == ("https", "/am")
    assert target["basic_auth"] == {
        "username": "drill",
        "password_file": str(tmp_path / "password"),
    }
    assert target["tls_config"] == {
        name: str(tmp_path / file)
        for name, file in (
            ("ca_file", "ca.pem"),
            ("cert_file", "client.crt"),
            ("key_file", "client.key"),
        )
    }
