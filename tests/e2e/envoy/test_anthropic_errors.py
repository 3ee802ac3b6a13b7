"""Under /v1/messages every error has Anthropic's shape, whoever refused: gRPC, or Envoy."""

import json
from typing import Any

import anthropic
import pytest

from tests.e2e.envoy.conftest import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATHS = ("/v1/messages", "/v1/messages/count_tokens")


async def asked(edge: Edge, path: str, method: str = "POST", data: bytes = b"{}") -> Any:
    """Status, headers and the envelope's error."""
    async with edge.http.request(method, path, data=data) as response:
        envelope = json.loads(await response.read())
    assert envelope["type"] == "error"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return response.status, response.headers, envelope["error"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_method_that_the_server_lacks(edge: Edge, path: str) -> None:
    status, _, error = await asked(edge, f"{path}?beta=true")
    assert (status, error["type"]) == (501, "api_error")


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_method(edge: Edge, path: str) -> None:
    status, headers, error = await asked(edge, path, "PUT")
    assert (status, headers["allow"]) == (405, "POST")
    assert error["type"] == "invalid_request_error"
    assert edge.stub.seen == []


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/v1/messages/"])
async def test_an_unknown_path(edge: Edge, path: str) -> None:
    status, _, error = await asked(edge, path)
    assert (status, error["type"]) == (404, "not_found_error")
    assert path in error["message"]


async def test_the_sdk_learns_that_its_body_is_too_large(edge: Edge) -> None:
    message: Any = {"role": "user", "content": "x" * 60_000_000}
    async with anthropic.AsyncAnthropic(api_key="k", base_url=edge.url, max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as refused:
            await client.messages.create(model="m", max_tokens=1, messages=[message])
    assert (refused.value.status_code, refused.value.type) == (413, "request_too_large")
