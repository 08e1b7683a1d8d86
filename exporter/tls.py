"""TLS of the exporter's own server: the context of a web config file, and a client's names."""

import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from .config.document import ConfigError
from .config.files import FileError, read_limited
from .config.web_file import CIPHERS, ClientAuth, TlsServer
from .tls_dates import read_dates

_VERIFY: Final = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}
MAX_PEM_BYTES: Final = 8 * 1024 * 1024
_SAN_KINDS: Final = frozenset({"DNS", "IP Address", "email", "URI"})


def make_context(rules: TlsServer) -> ssl.SSLContext:
    """Return a server's context with the certificates as their files are now.

    Raises `ConfigError` that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = rules.versions
    if rules.cipher_suites:
        context.set_ciphers(":".join(CIPHERS[name] for name in rules.cipher_suites))
    if not rules.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_certificate(context, rules.cert_file, rules.key_file)
    if rules.client_ca_file is not None:
        _load_client_ca(context, rules.client_ca_file)
    context.verify_mode = _VERIFY[rules.client_auth_type]
    return context


def date_warnings(rules: TlsServer, now: datetime) -> list[str]:
    """Return what is wrong with the dates of the server's certificate, or of the chain behind it.

    Raises `ConfigError` that names the file.
    """
    path = rules.cert_file
    found = []
    for first, last in read_dates(_content("cert_file", path)):
        if now > last:
            found.append(f"{path}: a certificate expired on {last:%Y-%m-%d %H:%M} UTC")
        elif now < first:
            found.append(f"{path}: a certificate is not valid before {first:%Y-%m-%d %H:%M} UTC")
    return [f"tls_server_config.cert_file: {text}" for text in found]


def client_names(certificate: Mapping[str, Any] | None) -> set[str]:
    """Return the Subject Alternate Names of a certificate as `SSLObject.getpeercert` gives it."""
    names = (certificate or {}).get("subjectAltName", ())
    return {value for kind, value in names if kind in _SAN_KINDS}


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    if b"CERTIFICATE-----" not in _content("cert_file", certificate):
        raise _error("cert_file", f"{certificate} has no certificate in PEM")
    content = _content("key_file", key)
    if b"PRIVATE KEY-----" not in content:
        raise _error("key_file", f"{key} has no private key in PEM")
    if b"ENCRYPTED" in content:
        raise _error("key_file", f"{key} has a passphrase; `openssl pkey` writes it without one")
    try:
        # A passphrase is never asked for on the terminal: an empty one is given instead.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise _error("key_file", f"{key} is not the key of {certificate}") from None
        raise ConfigError(
            [f"tls_server_config: {certificate} and {key} are no certificate with its key: {error}"]
        ) from None


def _load_client_ca(context: ssl.SSLContext, path: Path) -> None:
    _content("client_ca_file", path)
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise _error("client_ca_file", f"{path} has no certificate in PEM") from None


def _content(name: str, path: Path) -> bytes:
    try:
        return read_limited(path, MAX_PEM_BYTES)
    except FileError as error:
        raise _error(name, str(error)) from None


def _error(name: str, message: str) -> ConfigError:
    return ConfigError([f"tls_server_config.{name}: {message}"])
