"""TLS on both ports with a real Envoy, and certificates that change while it runs."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import trustme
import yaml
from cryptography import x509
from typer.testing import CliRunner

from ailb_server.cli.health import check, check_own
from ailb_server.cli.main import app
from ailb_server.local import envoy as embedded
from ailb_server.local.envoy import EmbeddedEnvoy
from ailb_server.local.envoy_config import render
from ailb_server.local.envoy_transport import PemPair, Transport
from ailb_server.settings import Configuration
from ailb_server.tls.dialling import CallerFiles
from ailb_server.tls.files import NamedFile
from tests.e2e.test_container_health import edge_check
from tests.support.certificates import Pems
from tests.support.command import Ailb
from tests.support.stack import Stack, eventually, free_port

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


def test_health_checks_itself_whatever_its_names(
    secure: Stack, pems: Pems, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = secure.settings
    port = int(secure.grpc.rpartition(":")[2])
    configuration = Configuration(settings.model_copy(update={"grpc_port": port}))
    assert check_own(configuration) == 0
    assert check(secure.grpc, caller(pems)) == 0
    without = {"tls_client_cert_file": None, "tls_client_key_file": None}
    assert check_own(Configuration(configuration.settings.model_copy(update=without))) == 1
    assert check(secure.grpc) == 1
    broken = settings.model_copy(update={"tls_key_file": pems.directory / "missing"})
    capsys.readouterr()
    assert check_own(Configuration(broken)) == 1
    assert "TLS_KEY_FILE: " in capsys.readouterr().err


def test_commands_name_their_files(secure: Stack, pems: Pems, tmp_path: Path) -> None:
    directory = pems.directory
    told = ("--tls-ca", pems.ca(), "--tls-cert", directory / "client.pem", "--tls-key")
    arguments = [str(a) for a in (*told, directory / "client.key")]
    result = CliRunner().invoke(app, ["keys", "list", "--target", secure.grpc, *arguments])
    assert result.exit_code == 0, result.output
    assert "TENANT" in result.output
    environment = {
        "AILB_TARGET": secure.grpc,
        "AILB_TLS_CA": str(pems.ca()),
        "AILB_TLS_CERT": str(directory / "client.pem"),
        "AILB_TLS_KEY": str(directory / "client.key"),
    }
    asked = CliRunner().invoke(app, ["chat", "hello"], env=environment)
    assert asked.exit_code == 0, asked.output
    health = CliRunner().invoke(app, ["health", "--target", secure.grpc, *arguments])
    assert health.exit_code == 0, health.output
    bad = ["--target", secure.grpc, "--tls-ca", str(tmp_path / "missing")]
    for command in (["keys", "list"], ["chat", "hello"], ["health"]):
        result = CliRunner().invoke(app, [*command, *bad])
        assert result.exit_code in {1, 2}
        assert "--tls-ca: " in result.output
        assert "Traceback" not in result.output
    half = CliRunner().invoke(app, ["keys", "list", "--tls-cert", "x"])
    assert half.exit_code == 2


def serial(stack: Stack) -> int:
    """Of the certificate that the REST port shows."""
    host, _, port = stack.rest.removeprefix("https://").rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=5)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_certificates_are_replaced_while_streams_run(secure: Stack, pems: Pems) -> None:
    context = ssl.create_default_context(cafile=str(pems.ca()))
    before = serial(secure)
    client = openai.OpenAI(
        base_url=f"{secure.rest}/v1",
        api_key="unused",
        max_retries=0,
        http_client=httpx2.Client(verify=context),
    )
    with client:
        stream = client.chat.completions.create(
            model="demo", messages=MESSAGES, stream=True, extra_body={"seed": 1}
        )
        events = iter(stream)
        next(events)
        # Both ports' pairs, the key first: Envoy takes the pair once it fits.
        for name in ("rest", "server"):
            fresh, key = pems.pair(f"fresh-{name}")
            pems.put(f"{name}.key", key.read_bytes(), 0o600)
            assert check(secure.grpc, caller(pems)) == 0
            pems.put(f"{name}.pem", fresh.read_bytes())
        eventually(lambda: serial(secure) != before)
        assert sum(1 for _ in events) > 1
        answer = client.chat.completions.create(model="demo", messages=MESSAGES)
        assert answer.choices[0].message.content
    assert check(secure.grpc, caller(pems)) == 0


def test_an_envoy_that_is_shown_another_certificate_calls_nobody(secure: Stack, pems: Pems) -> None:
    """A stranger in the server's place learns no key."""
    port = free_port()
    stranger = trustme.CA()
    transport = Transport(
        server_ca=str(pems.ca(stranger, "stranger.pem")),
        server_names=("localhost",),
        client=PemPair(str(pems.directory / "client.pem"), str(pems.directory / "client.key")),
    )
    misnamed = replace(transport, server_ca=str(pems.ca()), server_names=("other.internal",))
    right = replace(misnamed, server_names=("other.internal", "localhost"))
    no_certificate = replace(right, client=None)
    outcomes = []
    for one in (transport, misnamed, no_certificate, right):
        envoy = EmbeddedEnvoy(
            host="127.0.0.1",
            port=port,
            upstream_ports=(int(secure.grpc.rpartition(":")[2]),),
            concurrency=1,
            transport=one,
        )
        secure.loop.run(envoy.start())
        try:
            outcomes.append(httpx2.get(f"http://127.0.0.1:{port}/v1/models").status_code)
        finally:
            secure.loop.run(envoy.stop())
    assert outcomes == [503, 503, 503, 200]


def test_rest_callers_show_a_certificate_if_asked(secure: Stack, pems: Pems) -> None:
    port = free_port()
    directory = pems.directory
    transport = Transport(
        listener=PemPair(str(directory / "rest.pem"), str(directory / "rest.key")),
        listener_ca=str(pems.ca()),
        server_ca=str(pems.ca()),
        server_names=("127.0.0.1",),
        client=PemPair(str(directory / "client.pem"), str(directory / "client.key")),
    )
    envoy = EmbeddedEnvoy(
        host="127.0.0.1",
        port=port,
        upstream_ports=(int(secure.grpc.rpartition(":")[2]),),
        concurrency=1,
        transport=transport,
    )
    secure.loop.run(envoy.start())
    try:
        context = ssl.create_default_context(cafile=str(pems.ca()))
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"https://127.0.0.1:{port}/v1/models", verify=context)
        context.load_cert_chain(directory / "client.pem", directory / "client.key")
        reply = httpx2.get(f"https://127.0.0.1:{port}/v1/models", verify=context)
        assert reply.status_code == 200
    finally:
        secure.loop.run(envoy.stop())


def test_the_images_check_bears_tls(
    secure: Stack, pems: Pems, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, admin_port = free_port(), free_port()

    def with_admin(source: Path, edge: Any) -> str:
        config = yaml.safe_load(render(source, edge))
        address = {"address": "127.0.0.1", "port_value": admin_port}
        config["admin"] = {"address": {"socket_address": address}}
        text: str = yaml.safe_dump(config)
        return text

    monkeypatch.setattr(embedded, "render", with_admin)
    directory = pems.directory
    listener = PemPair(str(directory / "rest.pem"), str(directory / "rest.key"))
    envoy = EmbeddedEnvoy(
        host="127.0.0.1", port=port, upstream_ports=(1,), transport=Transport(listener=listener)
    )
    secure.loop.run(envoy.start())
    try:
        assert edge_check(port, admin_port) == 0
        assert edge_check(port, 1) != 0
    finally:
        secure.loop.run(envoy.stop())
    assert edge_check(port, admin_port) != 0


def test_a_start_with_bad_files_is_a_line(pems: Pems, tmp_path: Path) -> None:
    certificate, _ = pems.pair("other")
    environment = {
        "TLS_CERT_FILE": str(certificate),
        "TLS_KEY_FILE": str(pems.directory / "missing.key"),
        "DATABASE_URL": "postgresql://ailb@127.0.0.1:1/ailb",
        "DEMO_PROVIDER": "true",
    }
    for command in ("serve", "up"):
        with Ailb(command, directory=tmp_path, environment=environment) as ailb:
            assert ailb.ends() == 1
        assert ailb.output.startswith("ailb: TLS_KEY_FILE: ")
        assert "Traceback" not in ailb.output
    del environment["TLS_KEY_FILE"]
    with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
        assert ailb.ends() == 2
    assert "TLS_KEY_FILE: is needed with TLS_CERT_FILE" in ailb.output


def test_up_speaks_tls_on_both_ports(pems: Pems, tmp_path: Path) -> None:
    rest, grpc_port = free_port(), free_port()
    directory = pems.directory
    certificate, key = pems.pair("up")
    client, client_key = pems.pair("up-client")
    environment = {
        "HTTP_PORT": rest,
        "GRPC_PORT": grpc_port,
        "AILB_DATA_DIR": tmp_path / "data",
        "TLS_CERT_FILE": certificate,
        "TLS_KEY_FILE": key,
        "TLS_CLIENT_CA_FILE": pems.ca(),
        "TLS_CLIENT_CERT_FILE": client,
        "TLS_CLIENT_KEY_FILE": client_key,
        "ENVOY_TLS_CERT_FILE": certificate,
        "ENVOY_TLS_KEY_FILE": key,
    }
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    with Ailb("up", directory=tmp_path, environment=environment) as up:
        up.until("Try it")
        assert f"https://127.0.0.1:{rest}" in up.output
        assert "by TLS" in up.output
        reply = httpx2.get(f"https://127.0.0.1:{rest}/healthz", verify=context)
        assert reply.status_code == 200
        with Ailb("health", directory=tmp_path, environment=environment) as health:
            assert health.ends() == 0, health.output
