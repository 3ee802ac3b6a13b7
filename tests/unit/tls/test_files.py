"""Files that cannot be used: a line that names the setting, and nothing of a key."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from ailb_server.tls.files import NamedFile, TlsFileError, TlsFiles
from tests.support.certificates import Pems


@pytest.fixture
def pems(tmp_path: Path) -> Pems:
    return Pems(tmp_path)


def files(pems: Pems) -> TlsFiles:
    return TlsFiles(
        NamedFile("TLS_CERT_FILE", pems.directory / "server.pem"),
        NamedFile("TLS_KEY_FILE", pems.directory / "server.key"),
        NamedFile("TLS_CLIENT_CA_FILE", pems.directory / "ca.pem"),
    )


def encrypted(pems: Pems) -> None:
    key = serialization.load_pem_private_key((pems.directory / "server.key").read_bytes(), None)
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    pems.put("server.key", content)


def other_key(pems: Pems) -> None:
    os.replace(pems.pair("other")[1], pems.directory / "server.key")


def cut(pems: Pems) -> None:
    pems.put("server.pem", (pems.directory / "server.pem").read_bytes()[:300])


def a_directory(pems: Pems) -> None:
    (pems.directory / "server.key").unlink()
    (pems.directory / "server.key").mkdir()


FAULTS: dict[str, tuple[Callable[[Pems], object], str, str]] = {
    "no certificate": (
        lambda p: (p.directory / "server.pem").unlink(),
        "TLS_CERT_FILE",
        "No such file",
    ),
    "no key": (lambda p: (p.directory / "server.key").unlink(), "TLS_KEY_FILE", "No such file"),
    "no authority": (
        lambda p: (p.directory / "ca.pem").unlink(),
        "TLS_CLIENT_CA_FILE",
        "No such file",
    ),
    "empty": (lambda p: p.put("server.pem", b""), "TLS_CERT_FILE", "no certificate"),
    "half written": (cut, "TLS_CERT_FILE", "cannot be used"),
    "key is none": (lambda p: p.put("server.key", b"\0"), "TLS_KEY_FILE", "no private key"),
    "exchanged": (
        lambda p: p.put("server.pem", (p.directory / "server.key").read_bytes()),
        "TLS_CERT_FILE",
        "no certificate",
    ),
    "key of another": (other_key, "TLS_KEY_FILE", "is not the key of"),
    "encrypted": (encrypted, "TLS_KEY_FILE", "encrypted"),
    "authority is none": (
        lambda p: p.put("ca.pem", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"),
        "TLS_CLIENT_CA_FILE",
        "cannot be read",
    ),
    "a directory": (
        a_directory,
        "TLS_KEY_FILE",
        "directory",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_its_setting(pems: Pems, fault: str) -> None:
    pems.pair()
    pems.ca()
    damage, setting, what = FAULTS[fault]
    damage(pems)
    with pytest.raises(TlsFileError) as refused:
        files(pems).read()
    assert str(refused.value).startswith(f"{setting}: {pems.directory}")
    assert what in str(refused.value)
    assert "PRIVATE KEY" not in str(refused.value)


def test_what_is_read_belongs_together_and_is_not_shown(pems: Pems) -> None:
    pems.pair("server", "ailb.example")
    pems.ca()
    read = files(pems).read()
    assert set(read.certificate.names) == {"127.0.0.1", "localhost", "ailb.example"}
    assert read.certificate.expires_at is not None
    assert read.certificate.problem == ""
    assert "PRIVATE" not in repr(read)


def test_a_certificate_whose_time_is_over_is_told(pems: Pems) -> None:
    end = datetime.now(UTC) - timedelta(days=1)
    leaf = trustme.CA().issue_cert("localhost", not_after=end)
    pems.ca()
    pems.put("server.pem", leaf.cert_chain_pems[0].bytes())
    pems.put("server.key", leaf.private_key_pem.bytes())
    assert "expired" in files(pems).read().certificate.problem
