"""Bodies: untouched, large, and too large, for clients of every temper."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from google.api.httpbody_pb2 import HttpBody
from openai.types.chat import ChatCompletionUserMessageParam

from tests.e2e.envoy.conftest import Edge
from tests.e2e.envoy.replies import reply_of
from tests.e2e.envoy.stub import ChatRequest, Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
MIB = 1 << 20
LIMIT = 50 * MIB


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_a_body_arrives_byte_for_byte(edge: Edge, framing: str) -> None:
    body = bytes(range(256)) + b'{"a": 1.50, "a": null, "\\u00e9": "\xc3\xa9"}\r\n'
    seen: list[HttpBody] = []

    async def chat(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        seen.append(request.body)
        yield HttpBody(content_type="x/y; z=1", data=request.body.data)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    edge.stub.chat = chat
    headers = {"content-type": "application/json; charset=utf-8"}
    data = pieces() if framing == "chunked" else body
    async with edge.http.post(CHAT, data=data, headers=headers) as response:
        assert await response.read() == body
        assert response.headers["content-type"] == "x/y; z=1"
    assert seen[0].content_type == "application/json; charset=utf-8"
    assert seen[0].data == body


async def test_no_body_arrives_as_none(edge: Edge) -> None:
    async with edge.http.post(CHAT) as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize("size", [2 * MIB, 30 * MIB, LIMIT])
async def test_large_bodies_pass(edge: Edge, size: int) -> None:
    async with edge.http.post(CHAT, data=bytes(size)) as response:
        assert (response.status, await response.read()) == (200, b"%d" % size)


async def test_a_large_answer_passes(edge: Edge) -> None:
    async def chat(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        yield HttpBody(content_type="application/json", data=bytes(20 * MIB))

    edge.stub.chat = chat
    async with edge.http.post(CHAT, data=b"{}") as response:
        assert len(await response.read()) == 20 * MIB


@pytest.mark.parametrize("size", [LIMIT + 1, 60_000_000])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/nope"])
async def test_a_body_that_says_it_is_too_large_is_refused(
    edge: Edge, size: int, path: str
) -> None:
    async with edge.http.post(path, data=bytes(size)) as response:
        reply = await reply_of(response)
    assert reply.status == 413
    error = reply.error()
    assert (error["type"], error["code"]) == ("invalid_request_error", "request_too_large")
    assert edge.stub.seen == []


async def test_a_body_that_grows_too_large_is_refused(edge: Edge) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield bytes(MIB)

    async with edge.http.post(CHAT, data=pieces()) as response:
        reply = await reply_of(response)
    assert (reply.status, reply.error()["code"]) == (413, "request_too_large")
    assert edge.stub.seen == []


async def test_the_sdk_learns_that_its_body_is_too_large(edge: Edge) -> None:
    """httpx writes all before it reads anything: an answer in between is lost to it."""
    message: ChatCompletionUserMessageParam = {"role": "user", "content": "x" * 60_000_000}
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{edge.url}/v1", max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(model="m", messages=[message])
            assert refused.value.status_code == 413
            assert refused.value.code == "request_too_large"


async def test_a_slow_upload_takes_none_of_the_server_s_places(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\ncontent-length: 2\r\n\r\n{")
    for _ in range(5):
        async with edge.http.get("/healthz") as response:
            assert response.status == 200
    assert {call.method for call in edge.stub.seen} == {"/ailb.v1.HealthService/GetHealth"}
    writer.write(b"}")
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl's own habits are the subject")
@pytest.mark.parametrize(("size", "status"), [(2 * MIB, "200"), (60_000_000, "413")])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
async def test_curl_asks_before_it_sends_much(
    edge: Edge, tmp_path: Path, size: int, status: str, version: str
) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(size))
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sSv", version, "--max-time", "10", "--data-binary", f"@{body}"),
        *("-o", str(tmp_path / "reply"), "-w", "%{http_code}", edge.url + CHAT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, log = await curl.communicate()
    assert (curl.returncode, output.decode()) == (0, status), log.decode()
    if version == "--http1.1":
        assert b"Expect: 100-continue" in log
        assert b"100 Continue" in log


async def test_waiting_for_100_continue_is_answered_with_it(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        b"content-length: 2\r\n\r\n"
    )
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        # To the end of the reply: the call is over before the next test begins.
        await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
