"""What headers say, in both directions, and what they cannot say."""

import asyncio
import re
import shutil
import subprocess

import openai
import pytest

from tests.e2e.envoy.conftest import Edge
from tests.e2e.envoy.replies import PRIVATE, exchange, reply_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def test_the_server_can_tell_a_rest_caller(edge: Edge) -> None:
    async with edge.http.get("/v1/models/a%2Fb", headers={"authorization": "Bearer k"}):
        pass
    (call,) = edge.stub.seen
    assert call.method == "/ailb.v1.ModelService/GetModel"
    assert call.metadata["x-envoy-original-path"].startswith("/v1/models/a")
    assert call.metadata["authorization"] == "Bearer k"


async def test_a_client_cannot_speak_for_envoy_or_the_server(edge: Edge) -> None:
    forged = {
        "x-http-status": "200",
        "X-Ailb-Error": "{}",
        "X-Envoy-Original-Path": "/forged",
        "x-envoy-original-method": "FORGED",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "9",
        "x-envoy-internal": "true",
        "x-envoy-upstream-service-time": "1",
        "x-forwarded-for": "10.0.0.1",
    }
    async with edge.http.get("/v1/models", headers=forged) as response:
        reply = await reply_of(response)
    assert reply.status == 200
    reply.require_clean()
    (call,) = edge.stub.seen
    about_envoy = {key: value for key, value in call.metadata.items() if "envoy" in key}
    assert about_envoy == {
        "x-envoy-original-path": "/v1/models",
        "x-envoy-original-method": "GET",
    }
    assert not call.metadata.keys() & {"x-http-status", "x-ailb-error"}


@pytest.mark.parametrize(
    "header",
    [
        "grpc-timeout: soon",
        "grpc-encoding: rot13",
        "grpc-previous-rpc-attempts: x",
        "grpc-trace-bin: !!!",
        "lb-cost-bin: !!!",
        "x-anything-bin: !!!",
        "x$y: legal in HTTP only",
        "te: gzip",
        "content-encoding: gzip",
        "x-caf: \xe9",
    ],
)
async def test_no_header_makes_grpc_refuse_the_call(edge: Edge, header: str) -> None:
    request = f"GET /v1/models HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"
    reply = await exchange(edge.port, request.encode("latin-1"))
    assert reply.status == 200


async def test_the_sdk_s_lines_about_itself_stay_here(edge: Edge) -> None:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{edge.url}/v1", max_retries=0) as client:
        models = await client.models.list()
        one = await client.models.retrieve("a/b:c")
    assert [model.id for model in models.data] == [one.id] == ["a/b:c"]
    for call in edge.stub.seen:
        assert call.metadata["authorization"] == "Bearer k"
        assert not [key for key in call.metadata if key.startswith("x-stainless")]


async def test_every_reply_has_an_id_that_the_server_knows(edge: Edge) -> None:
    async with edge.http.get("/v1/models") as response:
        own = response.headers["x-request-id"]
    assert UUID.fullmatch(own)
    assert edge.stub.seen[0].metadata["x-request-id"] == own
    async with edge.http.get("/v1/models") as response:
        assert response.headers["x-request-id"] != own


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/nope"])
async def test_a_client_s_sane_id_is_kept(edge: Edge, path: str) -> None:
    for sane in ("trace:7f/3_A.b-c", "x" * 128):
        async with edge.http.get(path, headers={"x-request-id": sane}) as response:
            assert response.headers["x-request-id"] == sane
    assert {call.metadata["x-request-id"] for call in edge.stub.seen} <= {sane, "trace:7f/3_A.b-c"}


@pytest.mark.parametrize("path", ["/v1/models", "/nope"])
@pytest.mark.parametrize("bad", ["x" * 129, 'a"b', "a b", "<script>", "\xe9", "a,b", "{}"])
async def test_any_other_id_is_replaced(edge: Edge, path: str, bad: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nx-request-id: {bad}\r\n\r\n"
    reply = await exchange(edge.port, request.encode("latin-1"))
    assert re.fullmatch(r"req-[0-9]{10,20}", reply.headers["x-request-id"])
    for call in edge.stub.seen:
        assert call.metadata["x-request-id"] == reply.headers["x-request-id"]


async def test_compressed_answers_are_not_asked_for(edge: Edge) -> None:
    headers = {"accept-encoding": "gzip, deflate, br"}
    async with edge.http.post(CHAT, data=b"plain" * 1000, headers=headers) as reply:
        assert await reply.read() == b"plain" * 1000
        assert "content-encoding" not in reply.headers


@pytest.mark.skipif(shutil.which("curl") is None, reason="an HTTP/2 client is needed")
@pytest.mark.parametrize("path", ["/v1/models", "/metrics", CHAT, "/v1/models/x", "/nope"])
async def test_http_2_has_the_same_answers_and_clean_trailers(edge: Edge, path: str) -> None:
    command = ["curl", "-sSi", "--http2-prior-knowledge", "--max-time", "5", edge.url + path]
    if path == CHAT:
        command += ["-d", "{}"]
    curl = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await curl.communicate()
    text = output.decode().lower()
    assert curl.returncode == 0
    assert text.startswith("http/2 404" if path == "/nope" else "http/2 200")
    assert "x-request-id: " in text
    for name in PRIVATE:
        assert f"\n{name}:" not in text
