"""The local model over REST and gRPC, and what `/healthz` and the metrics tell of it."""

import base64
from array import array
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.e2e.test_errors_rest import error_of
from tests.e2e.test_operations import samples
from tests.support.embedding import DIMENSION, NAME, model_directory
from tests.support.stack import Stack, eventually

__all__ = ["model_directory"]

PATH = "/v1/embeddings"
TEXT = "The cat sits on the mat."


@pytest.fixture(scope="module")
def local(postgres_server: str, model_directory: Path) -> Iterator[Stack]:
    settings = {"embedding_backend": "local", "embedding_model": str(model_directory)}
    with Stack(postgres_server, settings=settings) as running:
        yield running


@pytest.fixture
async def http(local: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(local.rest) as session:
        yield session


async def component(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/healthz") as response:
        assert response.status == 200
        parts = (await response.json())["components"]
    (found,) = [part for part in parts if part["name"] == "embedder"]
    return dict(found)


@pytest.fixture(scope="module")
def ready(local: Stack) -> None:
    """The gateway serves before its model is loaded; waits for that."""
    eventually(lambda: local.loop.run(_embedded(local)), 30)


async def _embedded(local: Stack) -> bool:
    async with (
        aiohttp.ClientSession(local.rest) as http,
        http.post(PATH, json={"model": f"local/{NAME}", "input": "x"}) as response,
    ):
        return response.status == 200


@pytest.mark.usefixtures("ready")
async def test_the_sdk_embeds(local: Stack, http: aiohttp.ClientSession) -> None:
    url = f"{local.rest}/v1"
    async with openai.AsyncOpenAI(api_key="unused", base_url=url, max_retries=0) as sdk:
        packed = await sdk.embeddings.create(model=f"local/{NAME}", input=[TEXT, "hello"])
        floats = await sdk.embeddings.create(
            model=NAME, input=TEXT, encoding_format="float", dimensions=DIMENSION
        )
        names = [model.id async for model in sdk.models.list()]
    assert len(packed.data[0].embedding) == DIMENSION
    assert array("f", packed.data[0].embedding) == array("f", floats.data[0].embedding)
    assert (packed.usage.prompt_tokens, floats.usage.total_tokens) == (12, 9)
    assert NAME in names


@pytest.mark.usefixtures("ready")
async def test_a_batch_in_base64(http: aiohttp.ClientSession) -> None:
    request = {"model": NAME, "input": [f"text {n}" for n in range(40)], "user": "somebody"}
    async with http.post(PATH, json={**request, "encoding_format": "base64"}) as response:
        data = (await response.json())["data"]
        assert response.headers["x-ailb-ignored-params"] == "user"
        assert response.headers["x-ailb-provider"] == "local"
    assert [item["index"] for item in data] == list(range(40))
    assert all(len(base64.b64decode(item["embedding"])) == 4 * DIMENSION for item in data)


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [1, 2, 3]}, "input"),
        ({"input": "a", "dimensions": 64}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
async def test_what_it_cannot_do_is_the_callers_to_change(
    http: aiohttp.ClientSession, fields: dict[str, Any], param: str
) -> None:
    async with http.post(PATH, json={"model": NAME, **fields}) as response:
        assert response.status == 400
        assert error_of(await response.json())["param"] == param


async def test_it_does_not_chat(http: aiohttp.ClientSession) -> None:
    request = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    async with http.post("/v1/chat/completions", json=request) as response:
        assert response.status == 400
        assert "has no chats" in error_of(await response.json())["message"]


@pytest.mark.usefixtures("ready")
async def test_health_and_metrics_tell_of_it(http: aiohttp.ClientSession) -> None:
    found = await component(http)
    assert (found["state"], found["detail"]) == ("HEALTH_STATE_OK", "")
    async with http.get("/healthz") as response:
        names = [part["name"] for part in (await response.json())["components"]]
    # Chats do not depend on it.
    assert "provider:local" not in names
    async with http.get("/metrics") as response:
        told = samples(await response.text())
    assert any(name == "ailb_embedding_texts_total" for name, _ in told)


@pytest.mark.parametrize(
    ("settings", "state", "detail"),
    [
        ({"embedding_backend": "none"}, "OK", ""),
        ({"embedding_backend": "local", "embedding_model": "/nowhere"}, "DOWN", "is no directory"),
        ({"embedding_backend": "provider", "embedding_model": "demo"}, "OK", ""),
        ({"embedding_backend": "provider", "embedding_model": "no-such"}, "DOWN", "does not exist"),
    ],
)
async def test_an_embedder_that_is_not_there_degrades_and_no_more(
    postgres_server: str, settings: dict[str, str], state: str, detail: str
) -> None:
    with Stack(postgres_server, settings=settings) as stack:

        async def as_expected() -> bool:
            async with aiohttp.ClientSession(stack.rest) as http:
                found = await component(http)
            return found["state"] == f"HEALTH_STATE_{state}" and detail in found["detail"]

        eventually(lambda: stack.loop.run(as_expected()), 30)
        async with (
            aiohttp.ClientSession(stack.rest) as http,
            http.get("/healthz") as response,
        ):
            whole = (await response.json())["state"]
            request = {"model": "local/nowhere", "input": "x"}
            async with http.post(PATH, json=request) as answer:
                there = "nowhere" in settings.get("embedding_model", "")
                assert answer.status == (503 if there else 404)
        well = "OK" if state == "OK" else "DEGRADED"
        assert whole == f"HEALTH_STATE_{well}"
