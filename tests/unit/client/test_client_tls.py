"""The key can travel encrypted."""

import subprocess
from pathlib import Path

import grpc
import pytest

import ailb_client
from tests.unit.client.double import AilbDouble


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A private key and its own certificate for 127.0.0.1, as PEM."""
    place = tmp_path_factory.mktemp("tls")
    key, certificate = place / "key.pem", place / "certificate.pem"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    name = ("-subj", "/CN=ailb", "-addext", "subjectAltName=IP:127.0.0.1")
    _openssl("req", "-x509", "-key", key, "-days", "2", *name, "-out", certificate)
    return key.read_bytes(), certificate.read_bytes()


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True, timeout=60)


@pytest.fixture
async def secure_target(double: AilbDouble, pair: tuple[bytes, bytes]) -> str:
    return await double.start(grpc.ssl_server_credentials([pair]))


async def test_trusted_roots_connect(
    secure_target: str, double: AilbDouble, pair: tuple[bytes, bytes]
) -> None:
    roots = pair[1]
    async with ailb_client.connect(secure_target, api_key="k", root_certificates=roots) as ailb:
        await ailb.models()
    assert double.metadata[0]["authorization"] == "Bearer k"


async def test_credentials_connect(secure_target: str, pair: tuple[bytes, bytes]) -> None:
    credentials = grpc.ssl_channel_credentials(pair[1])
    async with ailb_client.connect(secure_target, credentials=credentials) as ailb:
        assert await ailb.models()


@pytest.mark.parametrize("credentials", [None, grpc.ssl_channel_credentials()])
async def test_a_stranger_is_not_told_the_key(
    secure_target: str, double: AilbDouble, credentials: grpc.ChannelCredentials | None
) -> None:
    async with ailb_client.connect(
        secure_target, api_key="k", credentials=credentials, connect_timeout_s=1
    ) as ailb:
        with pytest.raises(ailb_client.AilbError) as raised:
            await ailb.models()
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    assert not double.metadata
