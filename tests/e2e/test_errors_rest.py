"""Every REST error is of OpenAI's shape, has the table's status, and blames whom it should."""

import asyncio
import json
from typing import Any

import aiohttp
import openai
import pytest

from ailb_server.demo.received import Outcome
from tests.support.stack import Stack, eventually

HELLO: Any = [{"role": "user", "content": "Say hello!"}]
CHAT = "/v1/chat/completions"


async def post(stack: Stack, body: object, **options: Any) -> tuple[int, dict[str, Any], Any]:
    """The status, the `error` object and the headers of an answer that must be an error."""
    data = body if isinstance(body, bytes) else json.dumps(body)
    async with (
        aiohttp.ClientSession(stack.rest) as http,
        http.post(CHAT, data=data, **options) as response,
    ):
        return response.status, error_of(await response.json()), response.headers


def error_of(answer: Any) -> dict[str, Any]:
    """The error object, checked for OpenAI's four members."""
    assert set(answer) == {"error"}
    error: dict[str, Any] = answer["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert isinstance(error["message"], str)
    assert error["message"]
    return error


# A 429 cools its target, so it gets one that no other test asks.
LIMITED = "demo-slow"


def chat(**fields: object) -> dict[str, object]:
    return {"model": "demo", "messages": HELLO, **fields}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"   ", None),
        (b"{", None),
        (b"[]", None),
        (b'"text"', None),
        (b'{"model": "demo", "messages": \xff}', None),
        ({"messages": HELLO}, "model"),
        ({"model": 5, "messages": HELLO}, "model"),
        ({"model": "", "messages": HELLO}, "model"),
        ({"model": "demo"}, "messages"),
        ({"model": "demo", "messages": []}, "messages"),
        ({"model": "demo", "messages": "hi"}, "messages"),
        ({"model": "demo", "messages": ["hi"]}, "messages[0]"),
        ({"model": "demo", "messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"model": "demo", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (chat(stream="yes"), "stream"),
        (chat(stream_options=[]), "stream_options"),
        (chat(temperature="hot"), "temperature"),
        (chat(max_tokens=True), "max_tokens"),
        (chat(n=1.5), "n"),
        (chat(tools={}), "tools"),
        (chat(session_id=5), "session_id"),
    ],
)
async def test_bad_requests_name_the_field(stack: Stack, body: object, param: str | None) -> None:
    before = len(stack.upstream.received)
    status, error, _ = await post(stack, body)
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param
    assert len(stack.upstream.received) == before


async def test_an_unknown_model_is_404(stack: Stack) -> None:
    status, error, _ = await post(stack, chat(model="gpt-9"))
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")


async def test_the_sdk_raises_its_own_errors(stack: Stack) -> None:
    async with openai.AsyncOpenAI(
        api_key="x", base_url=f"{stack.rest}/v1", max_retries=0
    ) as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="gpt-9", messages=HELLO)
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(
                model=LIMITED,
                messages=HELLO,
                extra_body={"demo": {"status": 429}},
            )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/nothing", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models/demo", 405),
        ("POST", "/healthz", 405),
        ("POST", "/grpc.health.v1.Health/Check", 404),
        ("POST", "/ailb.v1.ChatService/CreateChatCompletion", 404),
        ("GET", "/v1/models/no-such-model", 404),
        ("GET", "/v1/models/no/such:model", 404),
    ],
)
async def test_paths_and_methods(stack: Stack, method: str, path: str, status: int) -> None:
    async with aiohttp.ClientSession(stack.rest) as http, http.request(method, path) as response:
        assert response.status == status
        error_of(await response.json())
        assert response.headers["x-request-id"]


async def test_a_sixty_megabyte_body_is_413(stack: Stack) -> None:
    status, error, _ = await post(stack, b"x" * 60_000_000)
    assert (status, error["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("upstream", "status", "code"),
    [
        (401, 502, "upstream_misconfigured"),
        (402, 502, "upstream_misconfigured"),
        (403, 502, "upstream_misconfigured"),
        (408, 504, "upstream_timeout"),
        (429, 429, "upstream_rate_limited"),
        (500, 503, "upstream_unavailable"),
        (502, 503, "upstream_unavailable"),
        (503, 503, "upstream_unavailable"),
        (504, 504, "upstream_timeout"),
        (529, 503, "upstream_unavailable"),
    ],
)
async def test_the_providers_faults(
    stack: Stack, upstream: int, status: int, code: str, *, stream: bool
) -> None:
    request = chat(stream=stream, demo={"status": upstream})
    if upstream == 429:
        request["model"] = LIMITED
    got, error, headers = await post(stack, request)
    assert (got, error["code"]) == (status, code)
    assert headers["content-type"] == "application/json"
    if code == "upstream_misconfigured":
        # Its credential is accepted again, for the tests that ask others of its models.
        async with (
            aiohttp.ClientSession(stack.rest) as http,
            http.post(CHAT, json=chat()) as response,
        ):
            assert response.status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", [400, 404, 409, 413, 422])
async def test_what_the_provider_rejects_is_relayed(
    stack: Stack, upstream: int, *, stream: bool
) -> None:
    body = {"error": {"message": "m", "type": "t", "param": "p", "code": "c", "extra": 1.0}}
    raw = json.dumps(body, indent=1)
    request = chat(stream=stream, demo={"status": upstream, "error_body": raw})
    async with aiohttp.ClientSession(stack.rest) as http, http.post(CHAT, json=request) as response:
        assert response.status == upstream
        assert await response.text() == raw


async def test_a_rejection_that_is_not_of_openais_shape_becomes_so(stack: Stack) -> None:
    request = chat(demo={"status": 422, "error_body": '{"detail": "no"}'})
    status, error, _ = await post(stack, request)
    assert (status, error["type"]) == (422, "invalid_request_error")


async def test_retry_after_is_told(stack: Stack) -> None:
    request = chat(demo={"status": 429, "headers": {"retry-after": "7"}})
    request["model"] = "demo-long"
    status, _, headers = await post(stack, request)
    assert (status, headers["retry-after"]) == (429, "7")


FAULTS = {
    "reset": 503,
    "close": 503,
    "stall": 504,
    "stall_headers": 504,
    "malformed": 503,
    "error_in_200": 503,
    "empty": 503,
    "html": 503,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "status"), FAULTS.items())
async def test_faults_before_the_first_byte(
    stack: Stack, fault: str, status: int, *, stream: bool
) -> None:
    got, error, _ = await post(stack, chat(stream=stream, demo={"fault": fault}))
    assert (got, error["type"]) == (status, "server_error")


@pytest.mark.parametrize("fault", ["cut", "eof", "malformed_late", "error_late", "stall_late"])
async def test_faults_in_a_stream_end_it_with_an_error_event(stack: Stack, fault: str) -> None:
    request = chat(stream=True, demo={"fault": fault, "after": 3, "chunk_ms": 20})
    async with aiohttp.ClientSession(stack.rest) as http, http.post(CHAT, json=request) as response:
        assert response.status == 200
        text = (await response.read()).decode()
    events = [event for event in text.split("\n\n") if event]
    assert "[DONE]" not in text
    error_of(json.loads(events[-1].removeprefix("data: ")))
    assert json.loads(events[0].removeprefix("data: "))["choices"]


@pytest.mark.parametrize("fault", ["cut", "eof"])
async def test_a_whole_answer_that_is_cut_is_the_providers_fault(stack: Stack, fault: str) -> None:
    status, error, _ = await post(stack, chat(demo={"fault": fault}))
    assert (status, error["code"]) == (503, "upstream_unavailable")


@pytest.mark.parametrize("fault", ["split", "crlf", "comments", "no_space", "usage_with_choices"])
async def test_odd_but_valid_streams_pass(stack: Stack, fault: str) -> None:
    async with openai.AsyncOpenAI(
        api_key="x", base_url=f"{stack.rest}/v1", max_retries=0
    ) as client:
        plain = await client.chat.completions.create(model="demo", messages=HELLO)
        stream = await client.chat.completions.create(
            model="demo",
            messages=HELLO,
            stream=True,
            extra_body={"demo": {"fault": fault}},
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == plain.choices[0].message.content


@pytest.mark.parametrize(
    "demo", [{"latency_ms": 30_000}, {"words": 5_000, "chunk_ms": 50}], ids=["waiting", "streaming"]
)
async def test_a_client_that_leaves_cancels_the_upstream(
    stack: Stack, demo: dict[str, object]
) -> None:
    async with aiohttp.ClientSession(stack.rest) as http:
        before = len(stack.upstream.received)
        call = asyncio.create_task(_read_some(http, chat(stream=True, demo=demo)))
        await asyncio.to_thread(eventually, lambda: len(stack.upstream.received) > before)
        if "words" in demo:
            await asyncio.wait((call,))
        call.cancel()
    outcome = await asyncio.to_thread(stack.outcome, stack.upstream.last())
    assert outcome is Outcome.ABORTED


async def _read_some(http: aiohttp.ClientSession, body: object) -> None:
    async with http.post(CHAT, json=body) as response:
        await response.content.readany()


async def test_nothing_of_the_credential_is_in_an_error(stack: Stack) -> None:
    for wish in ({"status": 401}, {"fault": "reset"}, {"fault": "error_in_200"}):
        _, error, _ = await post(stack, chat(demo=wish))
        assert "sk-" not in json.dumps(error)
