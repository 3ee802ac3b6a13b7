"""Every failure is one readable exception."""

import asyncio
import pickle
import socket
from collections.abc import Iterator

import grpc
import pytest

import ailb_client
from ailb_client import AilbError, ChatCompletionParameters, ErrorReason
from tests.unit.client.double import AilbDouble

PATIENCE_S = 10


async def failure(ailb: ailb_client.Client, model: str, *, stream: bool) -> AilbError:
    with pytest.raises(AilbError) as raised:
        if stream:
            await anext(ailb.chat_stream("Hi", model=model))
        else:
            await ailb.chat("Hi", model=model)
    return raised.value


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_tells_all_that_ailb_told(ailb: ailb_client.Client, *, stream: bool) -> None:
    error = await failure(ailb, "limited", stream=stream)
    assert error.reason == ErrorReason.RATE_LIMIT_EXCEEDED.name
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.message == "in words"
    assert error.metadata == {"provider": "double"}
    assert error.retry_after_s == 1.5
    assert error.request_id == "request-2"
    assert str(error) == "in words (RATE_LIMIT_EXCEEDED, request request-2)"


async def test_an_error_survives_pickling(ailb: ailb_client.Client) -> None:
    error = await failure(ailb, "limited", stream=False)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "code"), [("odd", grpc.StatusCode.INTERNAL), ("bare", grpc.StatusCode.CANCELLED)]
)
async def test_an_error_without_details_is_told_by_its_status(
    ailb: ailb_client.Client, model: str, code: grpc.StatusCode, *, stream: bool
) -> None:
    error = await failure(ailb, model, stream=stream)
    assert error.reason is None
    assert error.code is code
    assert error.message == "in words"
    assert error.retry_after_s is None


async def test_an_unknown_model_is_told(ailb: ailb_client.Client) -> None:
    with pytest.raises(AilbError) as raised:
        await ailb.model("no such")
    assert raised.value.reason == ErrorReason.MODEL_NOT_FOUND.name


async def test_a_deadline_is_kept(target: str) -> None:
    parameters = ChatCompletionParameters(model="late", messages=[ailb_client.user("Hi")])
    async with asyncio.timeout(PATIENCE_S), ailb_client.connect(target, timeout_s=0.1) as ailb:
        error = await failure(ailb, "late", stream=False)
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert f"{target} did not answer in time" in str(error)
        assert (await failure(ailb, "late", stream=True)).code is error.code
    async with asyncio.timeout(PATIENCE_S), ailb_client.connect(target) as ailb:
        with pytest.raises(AilbError, match="did not answer in time"):
            await ailb.create(parameters, timeout_s=0.1)
        with pytest.raises(AilbError, match="did not answer in time"):
            await anext(ailb.stream(parameters, timeout_s=0.1))


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fixture", ["silent", "closed"])
async def test_a_server_that_is_not_there_is_told_soon(
    request: pytest.FixtureRequest, fixture: str, *, stream: bool
) -> None:
    target = request.getfixturevalue(fixture)
    # gRPC's own bound would be 20 s.
    async with asyncio.timeout(PATIENCE_S):
        async with ailb_client.connect(target, connect_timeout_s=0.2) as ailb:
            error = await failure(ailb, "echo", stream=stream)
    assert error.reason is None
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert f"AILB at {target} cannot be reached" in error.message


async def test_a_server_that_comes_back_is_found(closed: str) -> None:
    async with ailb_client.connect(closed) as ailb:
        assert (await failure(ailb, "echo", stream=False)).code is grpc.StatusCode.UNAVAILABLE
        server = grpc.aio.server()
        server.add_insecure_port(closed)
        await server.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                error = await failure(ailb, "echo", stream=False)
                while error.code is grpc.StatusCode.UNAVAILABLE:
                    await asyncio.sleep(0.02)
                    error = await failure(ailb, "echo", stream=False)
        finally:
            await server.stop(None)
    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert "is it AILB's gRPC port?" in str(error)


async def test_what_cannot_be_encoded_fails_where_it_was_given(
    ailb: ailb_client.Client, double: AilbDouble
) -> None:
    with pytest.raises(UnicodeEncodeError):
        await ailb.chat("half a pair: \ud800", model="echo")
    with pytest.raises(UnicodeEncodeError):
        ailb.chat_stream("half a pair: \ud800", model="echo")
    assert not double.chats
