"""TLS of the exporter's own server: the context that a web config file asks for."""

import base64
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from exporter.config import ConfigError
from exporter.config.web_file import TlsServer
from exporter.tls import client_names, date_warnings, make_context
from exporter.tls_dates import read_dates

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> dict[str, Path]:
    issued = ca.issue_cert("localhost")
    files = {name: tmp_path / name for name in ("cert_file", "key_file", "client_ca_file")}
    files["cert_file"].write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    files["key_file"].write_bytes(issued.private_key_pem.bytes())
    ca.cert_pem.write_to_path(str(files["client_ca_file"]))
    return files


def rules(files: dict[str, Path], **more: object) -> TlsServer:
    named = {name: files[name] for name in ("cert_file", "key_file")}
    return TlsServer.model_validate(named | more)


def test_by_default_tls_is_1_2_or_newer_and_no_client_shows_a_certificate(
    files: dict[str, Path],
) -> None:
    context = make_context(rules(files))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_NONE
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_client_certificates_are_verified_when_required(files: dict[str, Path]) -> None:
    context = make_context(
        rules(
            files,
            client_auth_type="RequireAndVerifyClientCert",
            client_ca_file=files["client_ca_file"],
        )
    )
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_cipher_suites_are_those_that_are_named(files: dict[str, Path]) -> None:
    name = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    context = make_context(rules(files, cipher_suites=[name], prefer_server_cipher_suites=False))
    before_1_3 = [one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]
    assert before_1_3 == ["ECDHE-ECDSA-CHACHA20-POLY1305"]
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


@pytest.mark.parametrize(
    ("broken", "content", "message"),
    [
        ("cert_file", None, "cert_file: {path}: cannot be read: No such file"),
        ("key_file", None, "key_file: {path}: cannot be read: No such file"),
        ("cert_file", b"", "cert_file: {path} has no certificate in PEM"),
        ("cert_file", b"-----BEGIN CERTIFICATE-----\n", "are no certificate with its key"),
        ("key_file", b"garbage", "key_file: {path} has no private key in PEM"),
        ("client_ca_file", b"", "client_ca_file: {path} has no certificate in PEM"),
        ("client_ca_file", None, "client_ca_file: {path}: cannot be read: No such file"),
    ],
)
def test_a_file_that_is_broken_is_named(
    files: dict[str, Path], broken: str, content: bytes | None, message: str
) -> None:
    path = files[broken]
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    given = rules(
        files,
        client_auth_type="VerifyClientCertIfGiven",
        client_ca_file=files["client_ca_file"],
    )
    with pytest.raises(ConfigError) as caught:
        make_context(given)
    assert str(caught.value).startswith("tls_server_config")
    assert message.format(path=path) in str(caught.value)


def test_the_key_of_another_certificate_is_named_as_such(
    files: dict[str, Path], ca: trustme.CA
) -> None:
    ca.issue_cert("other.example").private_key_pem.write_to_path(files["key_file"])
    expected = f"key_file: {files['key_file']} is not the key of {files['cert_file']}"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        make_context(rules(files))


def test_a_key_with_a_passphrase_is_refused_and_asks_nobody(
    files: dict[str, Path], ca: trustme.CA
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files["key_file"].read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    files["key_file"].write_bytes(encrypted)
    with pytest.raises(ConfigError, match="has a passphrase"):
        make_context(rules(files))


NOW = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "last", "warnings"),
    [
        (NOW, NOW, []),
        (NOW - 2 * DAY, NOW - DAY, ["expired on 2026-11-27 12:30 UTC"]),
        (NOW + DAY, NOW + 2 * DAY, ["is not valid before 2026-11-29 12:30 UTC"]),
        (NOW - DAY, datetime(2060, 1, 1, tzinfo=UTC), []),  # written with four digits of the year
    ],
)
def test_a_certificate_out_of_its_dates_is_named(
    files: dict[str, Path], ca: trustme.CA, first: datetime, last: datetime, warnings: list[str]
) -> None:
    issued = ca.issue_cert("localhost", not_before=first, not_after=last)
    files["cert_file"].write_bytes(issued.cert_chain_pems[0].bytes())
    expected = [
        f"tls_server_config.cert_file: {files['cert_file']}: a certificate {text}"
        for text in warnings
    ]
    assert date_warnings(rules(files), NOW) == expected


def test_the_dates_of_the_whole_chain_are_checked(files: dict[str, Path], ca: trustme.CA) -> None:
    leaf = files["cert_file"].read_bytes()
    old = ca.issue_cert("old.example", not_before=NOW - 2 * DAY, not_after=NOW - DAY)
    files["cert_file"].write_bytes(leaf + old.cert_chain_pems[0].bytes())
    assert len(date_warnings(rules(files), NOW)) == 1


def test_the_dates_are_those_that_openssl_reads(files: dict[str, Path], ca: trustme.CA) -> None:
    context = make_context(rules(files))
    context.load_verify_locations(files["client_ca_file"])
    [known] = context.get_ca_certs()
    [dates] = read_dates(files["client_ca_file"].read_bytes())
    for moment, name in zip(dates, ("notBefore", "notAfter"), strict=True):
        assert moment.timestamp() == ssl.cert_time_to_seconds(str(known[name]))


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x82\xff", b"\x30\x02\x30\x00", b"x" * 99])
def test_a_certificate_that_cannot_be_read_has_no_dates(der: bytes) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----" % base64.b64encode(der)
    assert list(read_dates(pem)) == []


def test_the_names_of_a_client_are_its_subject_alternative_names() -> None:
    certificate = {
        "subject": ((("commonName", "ignored"),),),
        "subjectAltName": (
            ("DNS", "prometheus.example"),
            ("IP Address", "127.0.0.1"),
            ("email", "a@b.example"),
            ("URI", "spiffe://prometheus"),
            ("DirName", "other"),
        ),
    }
    names = {"prometheus.example", "127.0.0.1", "a@b.example", "spiffe://prometheus"}
    assert client_names(certificate) == names
    assert client_names(None) == set()
