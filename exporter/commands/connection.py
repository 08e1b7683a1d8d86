"""How commands reach a running exporter: its URL, the token, a login, TLS."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from ..client import DEFAULT_URL, AsyncClient
from ..config import Config, ConfigError, load_config
from ..config.credentials import MAX_SECRET_BYTES, SecretError, read_secret_file
from ..config.files import FileError, is_missing, read_text
from ..config.values import split_address
from .values import Failure

DEFAULT_CONFIG: Final = "config.yaml"

PATH: Final = click.Path(path_type=Path, dir_okay=False)


def login_options(server: str, name: str) -> tuple[Callable[..., Any], ...]:
    """Return the options that `read_login` and `make_tls` read."""
    return (
        click.option(f"--{server}.username", f"{server}_username", help=f"A login of {name}."),
        click.option(
            f"--{server}.password-file",
            f"{server}_password_file",
            type=PATH,
            help="Its password.",
        ),
        click.option(
            f"--{server}.ca-file",
            f"{server}_ca_file",
            type=PATH,
            help=f"The CA that signed the certificate of {name}, instead of the system's.",
        ),
        click.option(
            f"--{server}.cert-file",
            f"{server}_cert_file",
            type=PATH,
            help=f"The certificate to show {name}.",
        ),
        click.option(
            f"--{server}.key-file", f"{server}_key_file", type=PATH, help="Its private key."
        ),
    )


_OPTIONS: Final = (
    click.option(
        "--exporter.url",
        "exporter_url",
        help=f"Where the exporter is. By default as --config.file says, or {DEFAULT_URL}.",
    ),
    click.option(
        "--exporter.token-file",
        "exporter_token_file",
        type=PATH,
        help="The exporter's token. By default the file that --config.file leads to.",
    ),
    *login_options("exporter", "the exporter"),
)


config_option: Final = click.option(
    "--config.file",
    "config_file",
    default=DEFAULT_CONFIG,
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
    help="The exporter's config file, which says where it is and where its token is.",
)


def exporter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that `make_client` reads."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_client(config_file: Path, patience: float, **flags: Any) -> AsyncClient:
    """Return a client of the exporter named by the flags, or without them by the config file.

    Raises `click.UsageError` for flags that cannot be used.
    """
    config = find_config(config_file)
    url = flags["exporter_url"] or (url_of(config) if config else DEFAULT_URL)
    token_file = flags["exporter_token_file"]
    try:
        if token_file is None and config is not None and not is_missing(config.token_file):
            token_file = config.token_file
        return AsyncClient(
            url,
            token=read_secret_file(token_file).reveal() if token_file else None,
            login=read_login("exporter", flags),
            tls=make_tls("exporter", flags),
            patience=patience,
        )
    except (SecretError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def find_config(path: Path) -> Config | None:
    """Read the exporter's config, if it is on this machine; raises `Failure`.

    The default name may be another program's file: one that cannot be read is passed over.
    """
    if is_missing(path):
        return None
    try:
        return load_config(path, secrets=False)
    except ConfigError as error:
        if path == Path(DEFAULT_CONFIG):
            return None
        raise Failure(str(error)) from None


def url_of(config: Config) -> str:
    """Return the address of an exporter with this config, on its own machine."""
    host, port = split_address(config.web.listen_address)
    local = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    shown = f"[{local}]" if ":" in local else local
    return f"http://{shown}:{port}{config.web.prefix}"


def read_login(server: str, flags: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return user and password of `--<server>.username` and `--<server>.password-file`, if given.

    Raises `ValueError`.
    """
    username, password_file = flags[f"{server}_username"], flags[f"{server}_password_file"]
    if (username is None) is not (password_file is None):
        raise ValueError(f"--{server}.username and --{server}.password-file go together")
    if username is None or password_file is None:
        return None
    try:  # a password may contain blanks, a token may not
        return username, read_text(password_file, MAX_SECRET_BYTES).rstrip("\r\n")
    except FileError as error:
        raise ValueError(str(error)) from None


def make_tls(server: str, flags: Mapping[str, Any]) -> ssl.SSLContext | None:
    """Return TLS settings of `--<server>.ca-file`, `.cert-file` and `.key-file`, if any is given.

    Raises `ValueError`.
    """
    ca, certificate, key = (flags[f"{server}_{name}_file"] for name in ("ca", "cert", "key"))
    if ca is None and certificate is None and key is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key, password="")
        elif key is not None:
            raise ValueError(f"--{server}.key-file needs --{server}.cert-file")
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"the files for TLS cannot be used: {error}") from None
    return context
