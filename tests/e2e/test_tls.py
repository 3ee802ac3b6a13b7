"""TLS on both ports with a real Envoy, and certificates that change while it runs."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from ailb_server.tls.dialling import CallerFiles
from ailb_server.tls.files import NamedFile
from tests.support.certificates import Pems
from tests.support.stack import Stack

CURL = shutil.which("curl") or "curl"
MESSAGES: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    return Pems(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(postgres_server: str, pems: Pems) -> Iterator[Stack]:
    """TLS on both ports; callers of the gRPC port show a certificate."""
    certificate, key = pems.pair("server")
    rest, rest_key = pems.pair("rest")
    client, client_key = pems.pair("client", "envoy.internal")
    settings = {
        "tls_cert_file": certificate,
        "tls_key_file": key,
        "tls_client_ca_file": pems.ca(),
        "tls_client_cert_file": client,
        "tls_client_key_file": client_key,
        "envoy_tls_cert_file": rest,
        "envoy_tls_key_file": rest_key,
    }
    with Stack(postgres_server, settings=settings) as running:
        yield running


def caller(pems: Pems, *, own: bool = True, ca: Path | None = None) -> CallerFiles:
    return CallerFiles(
        NamedFile("ca", ca or pems.ca()),
        NamedFile("certificate", pems.directory / "client.pem") if own else None,
        NamedFile("key", pems.directory / "client.key") if own else None,
    )


def test_the_openai_sdk_over_https(secure: Stack, pems: Pems) -> None:
    http = httpx2.Client(verify=ssl.create_default_context(cafile=str(pems.ca())))
    client = openai.OpenAI(
        base_url=f"{secure.rest}/v1", api_key="unused", max_retries=0, http_client=http
    )
    with client:
        answer = client.chat.completions.create(model="demo", messages=MESSAGES)
        assert answer.choices[0].message.content
        stream = client.chat.completions.create(model="demo", messages=MESSAGES, stream=True)
        assert sum(1 for _ in stream) > 1


@pytest.mark.parametrize(
    ("version", "trusted", "status"),
    [("--http1.1", True, 0), ("--http2", True, 0), ("-4", False, 60)],
)
def test_curl(secure: Stack, pems: Pems, version: str, status: int, *, trusted: bool) -> None:
    ca = ("--cacert", str(pems.ca())) if trusted else ()
    command = (CURL, "-sS", version, *ca, f"{secure.rest}/v1/models")
    ran = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert ran.returncode == status, ran.stderr
    assert (b'"demo"' in ran.stdout) is trusted
