"""Embeddings over REST, by the official SDK and by raw bytes, and typed over gRPC."""

import asyncio
import base64
import json
from array import array
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import grpc
import openai
import pytest

import ailb_client
from ailb.v1 import embedding_pb2 as pb
from ailb.v1 import embedding_service_pb2 as service
from ailb.v1 import embedding_service_pb2_grpc
from ailb_server.demo.received import Outcome, Received
from tests.e2e.test_chat_grpc import details
from tests.e2e.test_errors_rest import error_of
from tests.e2e.test_operations import samples
from tests.support.stack import KEY, Stack, eventually

PATH = "/v1/embeddings"
WORDS = "a bag of words"


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(stack.rest) as session:
        yield session


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{stack.rest}/v1"
    async with openai.AsyncOpenAI(api_key="unused", base_url=url, max_retries=0) as client:
        yield client


@pytest.fixture
async def stub(stack: Stack) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(stack.grpc) as channel:
        yield embedding_service_pb2_grpc.EmbeddingServiceStub(channel)


def last(stack: Stack) -> Received:
    """The newest embedding request at the upstream."""
    return [r for r in stack.upstream.received if r.path == PATH][-1]


async def test_the_sdk_gets_the_same_vector_whichever_way(
    stack: Stack, sdk: openai.AsyncOpenAI
) -> None:
    # By default it asks for base64, and decodes it.
    packed = await sdk.embeddings.create(model="demo", input=WORDS)
    assert json.loads(last(stack).body)["encoding_format"] == "base64"
    floats = await sdk.embeddings.create(model="demo", input=WORDS, encoding_format="float")
    assert array("f", packed.data[0].embedding) == array("f", floats.data[0].embedding)
    assert len(packed.data[0].embedding) == 1536
    assert packed.usage == floats.usage
    assert packed.usage.prompt_tokens > 0


async def test_base64_is_the_floats(http: aiohttp.ClientSession) -> None:
    request = {"model": "demo", "input": [WORDS, "others", ""], "dimensions": 64}
    async with http.post(PATH, json=request) as response:
        floats = (await response.json())["data"]
    async with http.post(PATH, json={**request, "encoding_format": "base64"}) as response:
        packed = (await response.json())["data"]
    assert len(floats) == len(packed) == 3
    for number, text in zip(floats, packed, strict=True):
        decoded = array("f", base64.b64decode(text["embedding"]))
        assert decoded == array("f", number["embedding"])
        assert len(decoded) == 64


@pytest.mark.parametrize("given", [["a", "b", "c"], [1, 2, 3], [[1], [2, 3]], [[5]]])
async def test_batches_and_tokens(stack: Stack, sdk: openai.AsyncOpenAI, given: Any) -> None:
    answer = await sdk.embeddings.create(model="demo", input=given, dimensions=7)
    assert json.loads(last(stack).body)["input"] == given
    # An array of integers is one text's tokens.
    expected = 1 if isinstance(given[0], int) else len(given)
    assert [data.index for data in answer.data] == list(range(expected))
    assert {len(data.embedding) for data in answer.data} == {7}


async def test_a_big_batch(sdk: openai.AsyncOpenAI) -> None:
    texts = [f"text {number}" for number in range(500)]
    answer = await sdk.embeddings.create(model="demo", input=texts)
    assert len(answer.data) == 500


async def test_the_request_arrives_byte_for_byte(stack: Stack, http: aiohttp.ClientSession) -> None:
    body = b'{ "zeta":1e0,"input" : [ "h\\u00e9llo" ], "model":"demo","unknown":[1,2.50,null] }'
    async with http.post(PATH, data=body) as response:
        assert response.status == 200
    received = last(stack)
    assert received.body == body
    assert received.headers["authorization"] == f"Bearer {KEY}"


async def test_the_answer_arrives_byte_for_byte(http: aiohttp.ClientSession) -> None:
    raw = '{ "data" : [ {"embedding":[1.50,2e0]} ],\n "x":"\\u00e9" }'
    request = {"model": "demo", "input": "hi", "demo": {"body": raw}}
    async with http.post(PATH, json=request) as response:
        assert response.headers["content-type"] == "application/json"
        assert await response.text() == raw


async def test_the_models_name_is_spliced_and_own_fields_are_cut(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    body = b'{"session_id":"s", "model":"openai/demo","input":["x"],"x":1.50}'
    async with http.post(PATH, data=body) as response:
        headers = response.headers
        assert response.status == 200
    assert last(stack).body == b'{"model":"demo","input":["x"],"x":1.50}'
    assert (headers["x-ailb-provider"], headers["x-ailb-model"]) == ("openai", "demo")
    assert headers["x-ailb-ignored-params"] == "session_id"
    assert float(headers["x-ailb-overhead-ms"]) >= 0
    assert headers["x-request-id"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "7"}, "dimensions"),
        ({"encoding_format": 5}, "encoding_format"),
        ({"model": ""}, "model"),
    ],
)
async def test_bad_requests_name_the_field(
    stack: Stack, http: aiohttp.ClientSession, fields: dict[str, object], param: str
) -> None:
    before = len(stack.upstream.received)
    async with http.post(PATH, json={"model": "demo", "input": "hi", **fields}) as response:
        error = error_of(await response.json())
    assert (response.status, error["type"], error["param"]) == (
        400,
        "invalid_request_error",
        param,
    )
    assert len(stack.upstream.received) == before


async def test_the_sdk_raises_its_own_errors(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await sdk.embeddings.create(model="gpt-9", input="hi")
    assert unknown.value.code == "model_not_found"
    # Which formats there are, the provider says.
    with pytest.raises(openai.BadRequestError) as rejected:
        await sdk.embeddings.create(
            model="demo", input="hi", extra_body={"encoding_format": "binary"}
        )
    assert rejected.value.param == "encoding_format"
    with pytest.raises(openai.RateLimitError):
        await sdk.embeddings.create(
            model="demo-slow", input="hi", extra_body={"demo": {"status": 429}}
        )


@pytest.mark.parametrize(
    ("demo", "status"),
    [
        ({"status": 401}, 502),
        ({"status": 500}, 503),
        ({"fault": "reset"}, 503),
        ({"fault": "stall"}, 504),
        ({"fault": "cut"}, 503),
        ({"fault": "eof"}, 503),
        ({"fault": "malformed"}, 503),
        ({"fault": "error_in_200"}, 503),
        ({"fault": "empty"}, 503),
        ({"fault": "html"}, 503),
        ({"body": '{"object":"list"}'}, 503),
    ],
)
async def test_the_providers_faults(
    http: aiohttp.ClientSession, demo: dict[str, object], status: int
) -> None:
    request = {"model": "demo", "input": "hi", "demo": demo}
    async with http.post(PATH, json=request) as response:
        assert error_of(await response.json())["type"] == "server_error"
    assert response.status == status


async def test_only_post_is_allowed(http: aiohttp.ClientSession) -> None:
    async with http.get(PATH) as response:
        assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_usage_is_metered(http: aiohttp.ClientSession) -> None:
    async def counts() -> list[float]:
        async with http.get("/metrics") as response:
            read = samples(await response.text())
        target = {("provider", "openai"), ("model", "demo")}
        tokens = read.get(("ailb_tokens_total", frozenset({*target, ("kind", "prompt")})), 0.0)
        ended = read.get(("ailb_requests_total", frozenset({*target, ("outcome", "ok")})), 0.0)
        return [tokens, ended]

    before = await counts()
    request = {"model": "demo", "input": "hi", "demo": {"usage": {"prompt_tokens": 77}}}
    async with http.post(PATH, json=request) as response:
        assert response.status == 200
    assert [now - then for now, then in zip(await counts(), before, strict=True)] == [77, 1]


@pytest.fixture
def pair(postgres_server: str) -> Iterator[Stack]:
    settings = {"routing_strategy": "failover"}
    with Stack(postgres_server, upstreams=("first", "second"), settings=settings) as running:
        yield running


async def test_the_second_provider_answers_for_the_first(pair: Stack) -> None:
    first = pair.upstreams["first"].server
    async with (
        openai.AsyncOpenAI(api_key="x", base_url=f"{pair.rest}/v1", max_retries=0) as sdk,
        ailb_client.connect(pair.grpc) as client,
    ):
        for wish in ({"status": 503}, {"fault": "reset"}, {"fault": "eof"}, {"fault": "html"}):
            first.behave(wish)
            raw = await sdk.embeddings.with_raw_response.create(model="demo", input=WORDS)
            assert raw.headers["x-ailb-provider"] == "second"
            assert len(raw.parse().data[0].embedding) == 1536
            parameters = ailb_client.EmbeddingParameters(model="demo", inputs=[WORDS])
            answer = await client.create_embeddings(parameters)
            assert answer.served.provider == "second"


def wanted(**fields: Any) -> service.CreateEmbeddingsRequest:
    parameters = pb.EmbeddingParameters(model="demo")
    parameters.MergeFrom(pb.EmbeddingParameters(**fields))
    return service.CreateEmbeddingsRequest(parameters=parameters)


async def test_typed_embeddings(stack: Stack, sdk: openai.AsyncOpenAI, stub: Any) -> None:
    texts = [WORDS, "others"]
    call = stub.CreateEmbeddings(wanted(inputs=texts, dimensions=9, user="u"))
    response = await call
    sent = json.loads(last(stack).body)
    assert (sent["input"], sent["dimensions"], sent["user"]) == (texts, 9, "u")
    over_rest = await sdk.embeddings.create(model="demo", input=texts, dimensions=9)
    assert [list(e.values) for e in response.embeddings] == [
        data.embedding for data in over_rest.data
    ]
    assert response.model == "demo"
    assert response.usage.prompt_tokens == over_rest.usage.prompt_tokens
    metadata = dict(await call.initial_metadata())
    assert (metadata["x-ailb-provider"], metadata["x-ailb-model"]) == ("openai", "demo")


async def test_a_provider_that_only_knows_floats(stub: Any) -> None:
    # Whichever way the numbers come, they are the same.
    packed = await stub.CreateEmbeddings(wanted(inputs=[WORDS]))
    request = wanted(inputs=[WORDS])
    request.parameters.additional_parameters.update({"encoding_format": "float"})
    assert (await stub.CreateEmbeddings(request)) == packed


async def test_typed_tokens(stack: Stack, stub: Any) -> None:
    lists = [pb.TokenList(tokens=[1, 2]), pb.TokenList(tokens=[3])]
    response = await stub.CreateEmbeddings(wanted(token_inputs=lists))
    assert json.loads(last(stack).body)["input"] == [[1, 2], [3]]
    assert len(response.embeddings) == 2


@pytest.mark.parametrize(
    ("fields", "code", "facts"),
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT, {"param": "inputs"}),
        ({"inputs": ["a"], "model": "gpt-9"}, grpc.StatusCode.NOT_FOUND, {"param": "model"}),
    ],
)
async def test_typed_errors(
    stub: Any, fields: dict[str, Any], code: grpc.StatusCode, facts: dict[str, str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.CreateEmbeddings(wanted(**fields))
    assert failure.value.code() is code
    assert facts.items() <= dict(details(failure.value)[0].metadata).items()


async def test_the_providers_fault_is_typed_too(stub: Any) -> None:
    for demo in ({"status": 500}, {"body": '{"data":[]}'}):
        request = wanted(inputs=["a"])
        request.parameters.additional_parameters.update({"demo": demo})
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.CreateEmbeddings(request)
        assert details(failure.value)[0].reason == "UPSTREAM_UNAVAILABLE"


async def test_a_caller_that_leaves_cancels_the_upstream(stack: Stack, stub: Any) -> None:
    before = len(stack.upstream.received)
    request = wanted(inputs=["a"])
    request.parameters.additional_parameters.update({"demo": {"latency_ms": 30_000}})
    call = stub.CreateEmbeddings(request)
    await asyncio.to_thread(eventually, lambda: len(stack.upstream.received) > before)
    call.cancel()
    assert await asyncio.to_thread(stack.outcome, last(stack)) is Outcome.ABORTED
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_the_client(stack: Stack) -> None:
    async with ailb_client.connect(stack.grpc) as client:
        vectors = await client.embed([WORDS, "others"], model="demo", dimensions=5)
    assert [len(vector) for vector in vectors] == [5, 5]
    assert sum(number**2 for number in vectors[0]) == pytest.approx(1)
