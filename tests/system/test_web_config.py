"""The web config file on a real server: TLS, logins, client certificates, headers, rotation."""

import asyncio
import base64
import contextlib
import errno
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
import trustme
import yaml
from conftest import TOKEN, grows, send_raw, until
from monitoring import FAST_SCRAPES, Prometheus, prometheus
from system_ports import free_port

from exporter import listener, tls_site
from exporter.client import AsyncClient, RefusedError
from exporter.config import ConfigError, ConfigFile
from exporter.listener import bind
from exporter.server import Server

WriteConfig = Callable[..., ConfigFile]
PASSWORD = "correct horse"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()}


class Place:
    """A folder with certificates and a web config file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.issue("server", "localhost", "127.0.0.1")
        self.issue("client", "prometheus.example")
        self.path = folder / "web.yml"

    def issue(self, name: str, *names: str, until: datetime | None = None) -> None:
        """Write a certificate and its key anew."""
        issued = self.ca.issue_cert(*names, not_after=until)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (self.folder / f"{name}.key").write_bytes(issued.private_key_pem.bytes())
        (self.folder / f"{name}.crt").write_bytes(chain)

    def write(self, *, tls: dict[str, Any] | None = None, **sections: Any) -> None:
        """Write the web config file, with TLS."""
        server = {"cert_file": "server.crt", "key_file": "server.key", **(tls or {})}
        self.path.write_text(yaml.safe_dump({"tls_server_config": server, **sections}))

    def trust(self, *, client: str | None = None) -> ssl.SSLContext:
        """Return a client's context that trusts the CA, and shows a certificate if named."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        if client is not None:
            names = (self.folder / f"{client}.crt", self.folder / f"{client}.key")
            context.load_cert_chain(*names)
        return context

    async def get(self, url: str, **options: Any) -> tuple[int, Any]:
        """Ask over a connection of its own; return status and headers."""
        tls = options.pop("tls", None) or self.trust()
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
            session.get(url, **options) as response,
        ):
            await response.read()
            return response.status, response.headers


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def users() -> dict[str, str]:
    return {"prometheus": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}


@contextlib.asynccontextmanager
async def serving(write_config: WriteConfig, place: Place) -> AsyncIterator[Server]:
    file = write_config(web={"listen_address": f"127.0.0.1:{free_port()}"})
    server = Server(file.load(), file, place.path)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def gets_nothing(server: Prometheus, job: str) -> None:
    """Wait until a scrape has failed, and check that it brought no metric."""
    await until(lambda: server.query(f'up{{job="{job}"}} == 0'), 60)
    assert not await server.query(f'{{job="{job}",__name__=~"removit_.*"}}')


async def test_prometheus_scrapes_over_tls_with_a_login(
    write_config: WriteConfig, place: Place, tmp_path: Path
) -> None:
    place.write(basic_auth_users=users())
    async with serving(write_config, place) as server:
        target = server.url.removeprefix("https://")
        right = {
            "job_name": "right",
            "scheme": "https",
            "tls_config": {"ca_file": str(tmp_path / "ca.pem")},
            "basic_auth": {"username": "prometheus", "password": PASSWORD},
            "static_configs": [{"targets": [target]}],
        }
        wrong = {
            **right,
            "job_name": "wrong",
            "basic_auth": {"username": "prometheus", "password": "guess"},
        }
        config = {"global": FAST_SCRAPES, "scrape_configs": [right, wrong]}
        async with prometheus(tmp_path, config) as prom:
            await until(lambda: prom.query('up{job="right"} == 1'), 60)
            await gets_nothing(prom, "wrong")


async def test_prometheus_scrapes_with_a_client_certificate(
    write_config: WriteConfig, place: Place, tmp_path: Path
) -> None:
    place.write(
        tls={
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "ca.pem",
            "client_allowed_sans": ["prometheus.example"],
        }
    )
    place.issue("other", "somebody.example")
    (tmp_path / "foreign").mkdir()
    Place(tmp_path / "foreign")
    async with serving(write_config, place) as server:
        target = server.url.removeprefix("https://")

        def scrape(name: str, folder: Path | None) -> dict[str, Any]:
            tls = {"ca_file": str(tmp_path / "ca.pem")}
            if folder is not None:
                stem = "client" if name != "other" else "other"
                tls |= {
                    "cert_file": str(folder / f"{stem}.crt"),
                    "key_file": str(folder / f"{stem}.key"),
                }
            return {
                "job_name": name,
                "scheme": "https",
                "tls_config": tls,
                "static_configs": [{"targets": [target]}],
            }

        jobs = [
            scrape("right", tmp_path),
            scrape("other", tmp_path),
            scrape("foreign", tmp_path / "foreign"),
            scrape("none", None),
        ]
        config = {"global": FAST_SCRAPES, "scrape_configs": jobs}
        async with prometheus(tmp_path, config) as prom:
            await until(lambda: prom.query('up{job="right"} == 1'), 60)
            for name in ("other", "foreign", "none"):
                await gets_nothing(prom, name)


@pytest.mark.parametrize("at_once", [6, 1])
async def test_silent_connections_leave_room_for_others_over_tls(
    write_config: WriteConfig, place: Place, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(listener, "MOST_HANDSHAKES", 3)
    monkeypatch.setattr(tls_site, "HANDSHAKE_SECONDS", 600.0)
    place.write()
    async with serving(write_config, place) as server:
        address = "127.0.0.1", int(server.url.rpartition(":")[2])
        silent = []
        for _ in range(6 // at_once):
            sockets = [socket.create_connection(address) for _ in range(at_once)]
            silent.extend([await asyncio.open_connection(sock=one) for one in sockets])
        closed = asyncio.gather(*(reader.read() for reader, _ in silent[:3]))
        assert await asyncio.wait_for(closed, 60) == [b"", b"", b""]
        assert (await place.get(f"{server.url}/-/healthy"))[0] == 200
        for _, writer in silent:
            writer.close()


async def test_a_tls_handshake_that_does_not_end_is_closed(
    write_config: WriteConfig, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_site, "HANDSHAKE_SECONDS", 0.1)
    place.write()
    async with serving(write_config, place) as server:
        beginning = b"\x16\x03\x01"  # of a client's first message
        assert await send_raw(server.url, beginning) == b""


async def test_after_an_error_connections_over_tls_are_accepted_again(
    write_config: WriteConfig,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tls_site, "RETRY_SECONDS", 0.1)
    accept, errors = socket.socket.accept, [errno.EMFILE, errno.EPROTO, errno.EMFILE]

    def failing(listening: socket.socket) -> tuple[socket.socket, Any]:
        if errors:
            raise OSError(errors.pop(), "cannot")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", failing)
    place.write()
    async with serving(write_config, place) as server:
        began = time.monotonic()
        assert (await place.get(f"{server.url}/-/healthy"))[0] == 200
    assert time.monotonic() - began >= 0.3  # without a wait the loop would spin
    assert errors == []
    assert caplog.text.count("cannot accept") == 1  # a lack of descriptors is no fault of ours


async def test_certificates_that_rotate_under_load_lose_no_scrape(
    write_config: WriteConfig, place: Place
) -> None:
    place.write(basic_auth_users=users())
    async with serving(write_config, place) as server:
        port = int(server.url.rpartition(":")[2])
        stopped, scrapes = asyncio.Event(), 0

        async def scrape() -> None:
            nonlocal scrapes
            login = BASIC
            while not stopped.is_set():
                status, _ = await place.get(f"{server.url}/metrics", headers=login)
                assert status == 200
                scrapes += 1

        async def served() -> bytes:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=place.trust(), server_hostname="localhost"
            )
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            assert isinstance(certificate, bytes)
            return certificate

        scraping = [asyncio.create_task(scrape()) for _ in range(4)]
        try:
            seen = {await served()}
            for _ in range(5):
                place.issue("server", "localhost", "127.0.0.1")
                for _ in range(2):  # a file is read once it has stood still from check to check
                    await server.exporter.reloader.check()
                seen.add(await served())
                await grows(lambda: scrapes, 4)
        finally:
            stopped.set()
            await asyncio.gather(*scraping)
        assert len(seen) == 6


async def test_a_broken_file_leaves_the_old_one_in_force_and_is_reported(
    write_config: WriteConfig, place: Place
) -> None:
    place.write(basic_auth_users=users())
    login = BASIC
    async with serving(write_config, place) as server:
        for broken in (
            lambda: place.path.write_text("tls_server_config: {cert_file: a}"),
            lambda: (place.folder / "server.key").write_text("garbage"),
            lambda: (place.folder / "server.crt").unlink(),
        ):
            place.write(basic_auth_users=users())
            place.issue("server", "localhost", "127.0.0.1")
            await server.exporter.reloader.reload()
            broken()
            with pytest.raises(ConfigError):
                await server.exporter.reloader.reload()
            status, _ = await place.get(f"{server.url}/metrics", headers=login)
            assert status == 200
            page = server.exporter.metrics.get_sample_value(
                "removit_exporter_config_last_reload_successful"
            )
            assert page == 0


async def test_a_certificate_that_has_expired_is_a_warning_at_the_start_and_at_a_reload(
    write_config: WriteConfig,
    place: Place,
    caplog: pytest.LogCaptureFixture,
    command_output: Callable[..., Any],
) -> None:
    place.issue("server", "localhost", until=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    place.write()
    warning = (
        f"{place.path}: tls_server_config.cert_file: {place.folder / 'server.crt'}:"
        " a certificate expired on 2026-01-02 03:04 UTC"
    )

    def warnings() -> list[str]:
        lines = [record for record in caplog.records if record.msg == "certificate not valid"]
        return [line.__dict__["error"] for line in lines]

    async with serving(write_config, place) as server:
        assert warnings() == [warning]
        await server.exporter.reloader.reload()
        assert warnings() == [warning] * 2
        assert await command_output("check-config", "--web.config.file", str(place.path)) == (
            0,
            f"warning: {warning}\nOK\n",
        )
        place.issue("server", "localhost")
        await server.exporter.reloader.reload()
        assert warnings() == [warning] * 2


async def test_a_user_who_is_removed_is_out_with_the_next_reload(
    write_config: WriteConfig, place: Place
) -> None:
    place.write(basic_auth_users=users())
    login = BASIC
    async with serving(write_config, place) as server:
        assert (await place.get(f"{server.url}/metrics", headers=login))[0] == 200
        place.write(basic_auth_users={"other": users()["prometheus"]})
        await server.exporter.reloader.reload()
        assert (await place.get(f"{server.url}/metrics", headers=login))[0] == 401


async def test_headers_are_on_every_answer(write_config: WriteConfig, place: Place) -> None:
    headers = {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=60"}
    place.write(http_server_config={"headers": headers}, basic_auth_users=users())
    async with serving(write_config, place) as server:
        for path in ("/-/healthy", "/metrics", "/nothing"):
            _, given = await place.get(server.url + path)
            assert {name: given[name] for name in headers} == headers


async def test_an_old_version_of_tls_is_refused(write_config: WriteConfig, place: Place) -> None:
    place.write(tls={"min_version": "TLS13"})
    old = place.trust()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(write_config, place) as server:
        with pytest.raises(aiohttp.ClientError):
            await place.get(f"{server.url}/-/healthy", tls=old)
        assert (await place.get(f"{server.url}/-/healthy"))[0] == 200


async def test_the_python_client_uses_tls_a_certificate_and_a_login(
    write_config: WriteConfig, place: Place
) -> None:
    place.write(
        tls={"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"},
        basic_auth_users=users(),
    )
    tls = place.trust(client="client")
    async with serving(write_config, place) as server:
        login = ("prometheus", PASSWORD)
        async with AsyncClient(server.url, login=login, tls=tls, patience=0.5) as reader:
            assert [job async for job in reader.jobs()] == []
            with pytest.raises(RefusedError):
                await reader.register("a")
        async with AsyncClient(server.url, token=TOKEN, tls=tls) as writer:
            assert (await writer.register("a"))["job_id"] == "a"


async def test_the_commands_use_tls_a_certificate_and_the_token(
    write_config: WriteConfig, place: Place, command_output: Callable[..., Any]
) -> None:
    place.write(
        tls={"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"},
        basic_auth_users=users(),
    )
    async with serving(write_config, place) as server:
        flags = ("--exporter.url", server.url, "--exporter.ca-file", "ca.pem")
        shown = ("--exporter.cert-file", "client.crt", "--exporter.key-file", "client.key")
        code, out = await command_output("register", "a", *flags, *shown)
        assert (code, out) == (0, "registered 1, known 0, refused 0\n")
        code, out = await command_output("register", "a", *flags, "--patience", "300ms")
        assert code == 3, out


@pytest.fixture
def command_output(place: Place) -> Callable[..., Any]:
    """Run a command in the place's folder, where `config.yaml` leads to the token."""

    async def run(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "exporter", *words),
            cwd=place.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    return run


@pytest.mark.parametrize("host", ["", "::", "127.0.0.1", "localhost"])
async def test_an_address_is_bound_for_every_family_that_it_means(host: str) -> None:
    bound = bind(host, 0)
    try:
        families = {one.family.name for one in bound}
        port = bound[0].getsockname()[1]
        if host in ("", "::") and families == {"AF_INET6"}:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            bound[0].listen()
            _, writer = await asyncio.open_connection("127.0.0.1", port)  # IPv4 as well
            writer.close()
        assert families
    finally:
        for one in bound:
            one.close()
