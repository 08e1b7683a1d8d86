"""The file of `--web.config.file`: TLS, logins and headers of the exporter's own server.

The format is that of the Prometheus exporter toolkit ("Web configuration"). A key that Python's TLS
or aiohttp cannot honour is an error that says so: nobody relies on what is not in force.
"""

import re
import ssl
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from .credentials import Secret
from .document import read_document
from .loading import read_config_text, validate
from .sections import Section
from .values import FilePath, show

MAX_USERS: Final = 100
MAX_COST: Final = 16
"""The highest cost of a bcrypt hash: each step doubles its time; 16 takes about four seconds."""

_HASH: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

CIPHERS: Final = {
    f"TLS_ECDHE_{key}_WITH_{suite}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for suite, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
"""Go's names of the cipher suites up to TLS 1.2, and OpenSSL's."""


class ClientAuth(StrEnum):
    """Whether clients show a certificate, in the words of Go's `tls.ClientAuthType`."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


def _client_auth(value: object) -> object:
    if value in ("RequestClientCert", "RequireAnyClientCert"):
        raise ValueError(
            f"{value} accepts certificates that nobody verified, which Python's TLS cannot do;"
            f" use {ClientAuth.IF_GIVEN} or {ClientAuth.REQUIRED}"
        )
    if value not in list(ClientAuth):
        raise ValueError(f"expected one of {', '.join(ClientAuth)}, got {show(value)}")
    return ClientAuth(str(value))


def _version(value: object) -> object:
    if value in ("TLS10", "TLS11"):
        raise ValueError(f"{value} is not served: it has known weaknesses (RFC 8996); use TLS12")
    if not isinstance(value, str) or value not in _VERSIONS:
        raise ValueError(f"expected TLS12 or TLS13, got {show(value)}")
    return value


def _cipher(value: object) -> object:
    if isinstance(value, str) and value.startswith(("TLS_AES_", "TLS_CHACHA20_")):
        raise ValueError(f"{value} is a suite of TLS 1.3; Python's TLS cannot choose among those")
    if not isinstance(value, str) or value not in CIPHERS:
        raise ValueError(f"expected one of {', '.join(CIPHERS)}, got {show(value)}")
    return value


def _hash(value: object) -> object:
    match = _HASH.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            "expected a bcrypt hash such as $2y$10$…; `htpasswd -nBC 10 USER` makes one"
        )
    if not 4 <= int(match[1]) <= MAX_COST:
        raise ValueError(f"expected a bcrypt cost from 4 to {MAX_COST}, got {int(match[1])}")
    return Secret(match[0])


def _impossible(reason: str) -> BeforeValidator:
    def refuse(value: object) -> object:
        raise ValueError(reason)

    return BeforeValidator(refuse)


_INLINE: Final = "Python reads certificates and keys from files only; use {}"

Cipher = Annotated[str, BeforeValidator(_cipher)]
Version = Annotated[str, BeforeValidator(_version)]


class TlsServer(Section):
    """The section `tls_server_config`."""

    cert_file: FilePath
    """The certificate of the server, and the chain behind it, in PEM."""
    key_file: FilePath
    """Its private key, in PEM, without a passphrase."""
    client_auth_type: Annotated[ClientAuth, BeforeValidator(_client_auth)] = ClientAuth.NONE
    """Whether clients must show a certificate."""
    client_ca_file: FilePath | None = None
    """The CAs that sign the certificates of clients, in PEM."""
    client_allowed_sans: list[str] = []
    """A client's certificate must have one of these as a Subject Alternate Name."""
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: list[Cipher] = []
    """The suites up to TLS 1.2, in Go's names; by default Python's."""
    prefer_server_cipher_suites: bool = True
    cert: Annotated[None, _impossible(_INLINE.format("cert_file"))] = None
    key: Annotated[None, _impossible(_INLINE.format("key_file"))] = None
    client_ca: Annotated[None, _impossible(_INLINE.format("client_ca_file"))] = None
    curve_preferences: Annotated[
        None, _impossible("Python's TLS cannot order curves; leave this key out")
    ] = None

    @model_validator(mode="after")
    def _agrees(self) -> "TlsServer":
        verified = self.client_auth_type is not ClientAuth.NONE
        if verified and self.client_ca_file is None:
            raise ValueError(f"client_auth_type {self.client_auth_type} needs client_ca_file")
        if self.client_ca_file is not None and not verified:
            raise ValueError(
                f"client_ca_file has no effect with client_auth_type {self.client_auth_type};"
                f" use {ClientAuth.REQUIRED}"
            )
        if self.client_allowed_sans and self.client_auth_type is not ClientAuth.REQUIRED:
            raise ValueError(f"client_allowed_sans needs client_auth_type {ClientAuth.REQUIRED}")
        if self.min_version > self.max_version:
            raise ValueError("min_version is above max_version")
        return self

    @property
    def versions(self) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
        """The lowest and the highest version of TLS that is served."""
        return _VERSIONS[self.min_version], _VERSIONS[self.max_version]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        named = (self.cert_file, self.key_file, self.client_ca_file)
        return tuple(path for path in named if path is not None)


def _one_line(value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise ValueError("expected one line of printable ASCII")
    return value


HeaderValue = Annotated[str, Field(max_length=8192), AfterValidator(_one_line)]


class Headers(Section):
    """Headers of every answer. An empty text leaves one out."""

    csp: HeaderValue = Field("", alias="Content-Security-Policy")
    frame: Literal["", "deny", "sameorigin"] = Field("", alias="X-Frame-Options")
    content_type: Literal["", "nosniff"] = Field("", alias="X-Content-Type-Options")
    xss: HeaderValue = Field("", alias="X-XSS-Protection")
    hsts: HeaderValue = Field("", alias="Strict-Transport-Security")

    def as_dict(self) -> dict[str, str]:
        """Return those that are set, by name."""
        return {name: value for name, value in self.model_dump(by_alias=True).items() if value}


def _http2(value: object) -> object:
    if value is True:
        raise ValueError("HTTP/2 is not served; leave this key out, or say false")
    return value


class HttpServer(Section):
    """The section `http_server_config`."""

    http2: Annotated[bool, BeforeValidator(_http2)] = False
    headers: Headers = Headers()


Hash = Annotated[Secret, BeforeValidator(_hash)]


class WebFile(Section):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[str, Hash] = {}
    rate_limit: Annotated[
        None, _impossible("requests are not limited by rate here; a reverse proxy can do that")
    ] = None

    @field_validator("basic_auth_users")
    @classmethod
    def _names(cls, users: dict[str, Secret]) -> dict[str, Secret]:
        if len(users) > MAX_USERS:
            raise ValueError(f"expected at most {MAX_USERS} users, got {len(users)}")
        for name in users:
            if not name or ":" in name:
                raise ValueError(f"expected a user name without a colon, got {show(name)}")
        return users


def load_web_file(path: Path) -> WebFile:
    """Read the file; raises `ConfigError` with everything that is wrong."""
    document = read_document(read_config_text(path), str(path))
    return validate(WebFile, document, path.parent)
