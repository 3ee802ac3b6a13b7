"""Which requests reach the server, and as what; nothing else does."""

from urllib.parse import quote

import grpc
import pytest
import yarl

from ailb.v1 import model_service_pb2, model_service_pb2_grpc
from tests.e2e.envoy.conftest import Edge
from tests.e2e.envoy.replies import exchange, reply_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"


async def test_models_are_listed_in_openai_s_shape(edge: Edge) -> None:
    async with edge.http.get("/v1/models", params={"unknown": "parameter"}) as response:
        reply = await reply_of(response)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    model = {"id": "a/b:c", "object": "model", "created": 0, "owned_by": "stub"}
    assert reply.json() == {"object": "list", "data": [model]}
    reply.require_clean()


@pytest.mark.parametrize(
    "model", ["gpt-4o", "meta/llama-3:8b", "a//b", "llama3:latest", "a b?c#d%e", "modèle", "v1:get"]
)
@pytest.mark.parametrize("safe", ["", "/:"])
async def test_a_model_s_name_arrives_as_it_is(edge: Edge, model: str, safe: str) -> None:
    path = yarl.URL(f"{edge.url}/v1/models/{quote(model, safe=safe)}", encoded=True)
    async with edge.http.get(path) as response:
        reply = await reply_of(response)
    assert (reply.status, reply.json()["id"]) == (200, model)


async def test_the_query_does_not_overrule_the_path(edge: Edge) -> None:
    async with edge.http.get("/v1/models/asked", params={"id": "other"}) as response:
        assert (await response.json())["id"] == "asked"


async def test_the_query_does_not_overrule_the_body(edge: Edge) -> None:
    params = {"body.data": "eA==", "body.content_type": "x", "body": "1"}
    async with edge.http.post(CHAT, data=b"mine", params=params) as response:
        assert await response.read() == b"mine"


async def test_health_and_metrics_are_served(edge: Edge) -> None:
    async with edge.http.get("/healthz") as response:
        health = await response.json()
        assert (response.status, health["state"]) == (200, "HEALTH_STATE_OK")
        assert health["components"] == []
    async with edge.http.get("/metrics") as response:
        assert response.headers["content-type"] == "text/plain; version=0.0.4"
        assert await response.read() == b"up 1\n"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/models/",
        "/v1/chat/completions/",
        "/V1/models",
        "//v1/models",
        "/healthzz",
        "/ailb.v1.ModelService/ListModels",
        "/ailb.openai.v1.OpenAIService/CreateChatCompletion",
        "/ailb.anthropic.v1.AnthropicService/CreateMessage",
        "/ailb.v1.ChatService/CreateChatCompletion",
        "/marchproxy.ModuleService/GetStatus",
        "/grpc.health.v1.Health/Check",
        "/v1/models/../../ailb.v1.ModelService/ListModels",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_any_other_path_is_unknown(edge: Edge, method: str, path: str) -> None:
    url = yarl.URL(f"{edge.url}{path}", encoded=True)
    async with edge.http.request(method, url) as response:
        reply = await reply_of(response)
    assert reply.status == 404
    error = reply.error()
    assert (error["type"], error["param"]) == ("invalid_request_error", None)
    assert error["code"] == "unknown_url"
    assert f"({method} /" in error["message"]
    assert edge.stub.seen == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (CHAT, "POST"),
        ("/v1/models", "GET"),
        ("/v1/models/x", "GET"),
        ("/healthz", "GET"),
        ("/metrics", "GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(edge: Edge, path: str, allowed: str) -> None:
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"} - {allowed}:
        async with edge.http.request(method, path) as response:
            reply = await reply_of(response)
        assert (reply.status, reply.headers["allow"]) == (405, allowed)
        if method == "HEAD":
            assert reply.body == b""
        else:
            assert reply.error()["code"] == "method_not_allowed"
            assert f"{method} is not allowed for {path}" in reply.error()["message"]
    assert edge.stub.seen == []


async def test_grpc_callers_reach_no_service(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await models.ListModels(model_service_pb2.ListModelsRequest())
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        reflect: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reflect().read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert edge.stub.seen == []


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/ailb.v1.ModelService/ListModels"])
async def test_grpc_s_content_type_opens_nothing(edge: Edge, path: str, content_type: str) -> None:
    headers = {"content-type": content_type, "te": "trailers"}
    async with edge.http.post(path, data=b"\0\0\0\0\0", headers=headers) as response:
        # To Envoy this is a gRPC call: its status is a header, within HTTP's 200.
        assert response.headers["grpc-status"] == "12"
    for odd in ("Application/GRPC", "application/grpc-web"):
        async with edge.http.post(path, data=b"\0\0\0\0\0", headers={"content-type": odd}):
            pass
    assert {call.method for call in edge.stub.seen} <= {
        "/ailb.openai.v1.OpenAIService/CreateChatCompletion"
    }


async def test_an_upgrade_to_http2_is_not_a_way_in(edge: Edge) -> None:
    upgrade = (
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    reply = await exchange(edge.port, upgrade)
    assert reply.status in {200, 403, 404}
    assert "upgrade" not in reply.headers


async def test_http_1_0_is_answered(edge: Edge) -> None:
    reply = await exchange(edge.port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (reply.status, reply.headers["connection"]) == (200, "close")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nnot a header\r\n\r\n",
        b"not http\r\n\r\n",
        b'GET /v1/models HTTP/1.1\r\nHost: a"b\r\n\r\n',
        b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\ncontent-length: 1\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_broken_http_is_a_bad_request(edge: Edge, request_: bytes) -> None:
    reply = await exchange(edge.port, request_)
    assert reply.status in {400, 404}
    assert reply.error()["type"] == "invalid_request_error"
    assert edge.stub.seen == []


async def test_too_many_header_bytes_are_refused(edge: Edge) -> None:
    async with edge.http.get("/v1/models", headers={"x-big": "a" * 15_000}) as response:
        assert response.status == 200
    big = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-big: " + b"a" * 17_000 + b"\r\n\r\n"
    reply = await exchange(edge.port, big)
    assert (reply.status, reply.error()["code"]) == (431, "headers_too_large")
