"""The file of `--web.config.file`: what is read, and the exact message of each error."""

import ssl
from pathlib import Path

import pytest

from exporter.config import ConfigError
from exporter.config.web_file import MAX_USERS, ClientAuth, WebFile, load_web_file

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n"


def load(tmp_path: Path, text: str) -> WebFile:
    path = tmp_path / "web.yml"
    path.write_text(text)
    return load_web_file(path)


def errors(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return [error.removeprefix(f"{tmp_path / 'web.yml'}:") for error in caught.value.errors]


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = load(tmp_path, "")
    assert file.tls_server_config is None
    assert file.basic_auth_users == {}
    assert file.http_server_config.headers.as_dict() == {}


def test_a_whole_file_is_read_with_paths_relative_to_it(tmp_path: Path) -> None:
    file = load(
        tmp_path,
        TLS
        + "  client_auth_type: RequireAndVerifyClientCert\n"
        + "  client_ca_file: /etc/ca.pem\n"
        + "  client_allowed_sans: [prometheus.example]\n"
        + "  min_version: TLS13\n"
        + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
        + "  prefer_server_cipher_suites: false\n"
        + "http_server_config:\n  http2: false\n"
        + "  headers: {X-Frame-Options: deny, Strict-Transport-Security: max-age=60}\n"
        + f"basic_auth_users:\n  alice: {HASH}\n",
    )
    tls = file.tls_server_config
    assert tls is not None
    assert tls.files == (tmp_path / "a.crt", tmp_path / "a.key", Path("/etc/ca.pem"))
    assert tls.client_auth_type is ClientAuth.REQUIRED
    assert tls.versions == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
    assert file.http_server_config.headers.as_dict() == {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=60",
    }
    assert file.basic_auth_users["alice"].reveal() == HASH


def test_a_hash_is_never_shown(tmp_path: Path) -> None:
    assert HASH not in repr(load(tmp_path, f"basic_auth_users: {{alice: {HASH}}}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TLS + "  cert_fil: x\n",
            "4: tls_server_config.cert_fil: unknown key; did you mean 'cert_file'?",
        ),
        ("tls_server_config: {key_file: a}\n", "1: tls_server_config.cert_file: is missing"),
        (
            TLS + "  client_auth_type: RequestClientCert\n",
            "4: tls_server_config.client_auth_type: RequestClientCert accepts certificates that"
            " nobody verified, which Python's TLS cannot do; use VerifyClientCertIfGiven or"
            " RequireAndVerifyClientCert",
        ),
        (
            TLS + "  client_auth_type: yes please\n",
            "4: tls_server_config.client_auth_type: expected one of NoClientCert,"
            ' VerifyClientCertIfGiven, RequireAndVerifyClientCert, got "yes please"',
        ),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n",
            "2: tls_server_config: client_auth_type RequireAndVerifyClientCert needs"
            " client_ca_file",
        ),
        (
            TLS + "  client_ca_file: ca.pem\n",
            "2: tls_server_config: client_ca_file has no effect with client_auth_type NoClientCert;"
            " use RequireAndVerifyClientCert",
        ),
        (
            TLS + "  client_allowed_sans: [a]\n",
            "2: tls_server_config: client_allowed_sans needs client_auth_type"
            " RequireAndVerifyClientCert",
        ),
        (
            TLS + "  min_version: TLS10\n",
            "4: tls_server_config.min_version: TLS10 is not served: it has known weaknesses"
            " (RFC 8996); use TLS12",
        ),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12\n",
            "2: tls_server_config: min_version is above max_version",
        ),
        (
            TLS + "  max_version: TLS14\n",
            '4: tls_server_config.max_version: expected TLS12 or TLS13, got "TLS14"',
        ),
        (
            TLS + "  curve_preferences: [X25519]\n",
            "4: tls_server_config.curve_preferences: Python's TLS cannot order curves; leave this"
            " key out",
        ),
        (
            TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
            "4: tls_server_config.cipher_suites.0: TLS_AES_128_GCM_SHA256 is a suite of TLS 1.3;"
            " Python's TLS cannot choose among those",
        ),
        (
            "tls_server_config: {cert: PEM, key_file: a, cert_file: b}\n",
            "1: tls_server_config.cert: Python reads certificates and keys from files only; use"
            " cert_file",
        ),
        (
            "http_server_config: {http2: true}\n",
            "1: http_server_config.http2: HTTP/2 is not served; leave this key out, or say false",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: maybe}}\n",
            "1: http_server_config.headers.X-Frame-Options: expected one of '', 'deny' or"
            " 'sameorigin', got \"maybe\"",
        ),
        (
            'http_server_config: {headers: {Content-Security-Policy: "a\\r\\nb"}}\n',
            "1: http_server_config.headers.Content-Security-Policy: expected one line of printable"
            " ASCII",
        ),
        (
            "basic_auth_users: {alice: secret}\n",
            "1: basic_auth_users.alice: expected a bcrypt hash such as $2y$10$…; `htpasswd -nBC 10"
            " USER` makes one",
        ),
        (
            "basic_auth_users: {alice: $2y$31$" + HASH[7:] + "}\n",
            "1: basic_auth_users.alice: expected a bcrypt cost from 4 to 16, got 31",
        ),
        (
            f'basic_auth_users: {{"a:b": {HASH}}}\n',
            '1: basic_auth_users: expected a user name without a colon, got "a:b"',
        ),
        (
            "rate_limit: {interval: 1s, burst: 20}\n",
            "1: rate_limit: requests are not limited by rate here; a reverse proxy can do that",
        ),
        (
            "basic_auth_user: {}\n",
            "1: basic_auth_user: unknown key; did you mean 'basic_auth_users'?",
        ),
    ],
)
def test_what_cannot_be_honoured_is_an_error_that_says_so(
    tmp_path: Path, text: str, message: str
) -> None:
    assert errors(tmp_path, text) == [message]


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    text = TLS + "  min_version: TLS10\nbasic_auth_users: {alice: secret}\nrate_limit: {}\n"
    assert [error.partition(":")[0] for error in errors(tmp_path, text)] == ["4", "5", "6"]


def test_users_have_a_limit(tmp_path: Path) -> None:
    users = "".join(f"  u{at}: {HASH}\n" for at in range(MAX_USERS + 1))
    assert errors(tmp_path, "basic_auth_users:\n" + users) == [
        f"2: basic_auth_users: expected at most {MAX_USERS} users, got {MAX_USERS + 1}"
    ]
