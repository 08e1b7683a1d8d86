"""`removit-exporter healthcheck`: checks the exporter on this machine.

For Docker's HEALTHCHECK. It asks the address and prefix that the config and the flags name, and
never goes through a proxy.
"""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import click

from ..client.http import say
from ..config import Config, ConfigError
from ..config.files import is_missing
from ..config.loading import parse_config
from ..config.web_file import load_web_file
from .config_flags import load, overrides
from .connection import url_of
from .values import DurationType, Failure

MAX_SHOWN_CHARS = 200


def check_health(config: Config, seconds: float, tls: ssl.SSLContext | None) -> None:
    """Ask `/-/healthy`; raises `Failure` unless the exporter is healthy."""
    url = url_of(config) + "/-/healthy"
    if tls is not None:
        url = url.replace("http://", "https://", 1)
    try:
        asyncio.run(_ask(url, seconds, tls))
    except TimeoutError:
        raise Failure(f"{url} did not answer within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Failure(f"{url} cannot be reached: {say(error)}") from None


async def _ask(url: str, seconds: float, tls: ssl.SSLContext | None) -> None:
    async with (
        asyncio.timeout(seconds),
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(url, ssl=tls or True, allow_redirects=False) as response,
    ):
        text = (await response.content.read(MAX_SHOWN_CHARS)).decode(errors="replace")
        if response.status != 200:
            raise Failure(f"{url} answered {response.status}: {text.strip()}")


def read_place(config_file: Path, flags: dict[str, str | None]) -> Config:
    """Return the config with the flags over it; raises `Failure`.

    Without a file, as in the demo, the flags and the defaults count. Secrets are not read: a check
    of health needs none.
    """
    if not is_missing(config_file):
        config, _ = load(config_file, flags, secrets=False)
        return config
    try:
        return parse_config("", overrides=overrides(flags), secrets=False)
    except ConfigError as error:
        raise Failure(str(error)) from None


def speaks_tls(web_config_file: Path | None) -> bool:
    """Whether the exporter's web config file turns on TLS; raises `Failure`."""
    if web_config_file is None:
        return False
    try:
        return load_web_file(web_config_file).tls_server_config is not None
    except ConfigError as error:
        raise Failure(str(error)) from None


def make_tls(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """Return TLS settings for the exporter's own port; raises `Failure`.

    Without a CA the certificate is not verified: the connection stays on this machine, and the
    certificate names the host under which others reach the exporter.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.check_hostname = False
        if ca_file is None:
            context.verify_mode = ssl.CERT_NONE
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ssl.SSLError) as error:
        raise Failure(f"the files for TLS cannot be used: {error}") from None
    return context


_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--config.file",
    "config_file",
    default="config.yaml",
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
    help="The exporter's config file.",
)
@click.option("--web.listen-address", "web__listen_address", help="Where the exporter listens.")
@click.option("--web.external-url", "web__external_url", help="As given to the exporter.")
@click.option("--web.route-prefix", "web__route_prefix", help="As given to the exporter.")
@click.option("--timeout", "seconds", type=DurationType(), default=4.0, show_default="4s")
@click.option(
    "--web.config.file",
    "web_config_file",
    type=_PATH,
    help="As given to the exporter: whether it speaks TLS.",
)
@click.option("--tls.ca-file", "ca_file", type=_PATH, help="The CA to verify it with.")
@click.option("--tls.cert-file", "cert_file", type=_PATH, help="The certificate to show it.")
@click.option("--tls.key-file", "key_file", type=_PATH, help="The certificate's private key.")
def healthcheck(
    config_file: Path,
    seconds: float,
    web_config_file: Path | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    **flags: str | None,
) -> None:
    """Ask the exporter on this machine whether it is healthy.

    Exit code 0 if it is, otherwise 1.
    """
    config = read_place(config_file, flags)
    use_tls = ca_file or cert_file or speaks_tls(web_config_file)
    tls = make_tls(ca_file, cert_file, key_file) if use_tls else None
    check_health(config, seconds, tls)
    click.echo("healthy")
