"""Memory and knowledge by meaning: the gateway with its local embedding model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.embedding import model_directory
from tests.support.postgres import fresh_database
from tests.support.stack import Stack, eventually

__all__ = ["model_directory"]


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[str]:
    """Its own: instances without a model, on one with others, would import documents too."""
    yield from fresh_database(postgres_server, "OWNER ailb")


@pytest.fixture(scope="module")
def stack(database: str, model_directory: Path) -> Iterator[Stack]:
    settings = {"embedding_backend": "local", "embedding_model": str(model_directory)}
    with Stack(database, settings=settings) as running:
        eventually(lambda: component(running, "embedder") == "HEALTH_STATE_OK", 60)
        yield running


def component(stack: Stack, name: str) -> str:
    parts = httpx.get(f"{stack.rest}/healthz").json()["components"]
    return str(next(part["state"] for part in parts if part["name"] == name))


def chat(stack: Stack, text: str, **more: Any) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": text}], **more}
    response = httpx.post(f"{stack.rest}/v1/chat/completions", json=body, timeout=30)
    assert response.status_code == 200, response.text
    return response


def test_passages_are_found_by_meaning(stack: Stack) -> None:
    rest = httpx.Client(base_url=stack.rest)
    rest.post("/v1/collections", json={"name": "animals"})
    texts = {
        "cats": "A kitten is a juvenile cat.",
        "cars": "The engine turns petrol into motion.",
        "tea": "Leaves steep in hot water for three minutes.",
    }
    documents = [{"id": id_, "text": text} for id_, text in texts.items()]
    job = rest.post("/v1/collections/animals/documents", json={"documents": documents}).json()
    path = f"/v1/imports/{job['job']['id']}"
    eventually(lambda: rest.get(path).json()["job"]["imported"] == 3, 60)
    collection = rest.get("/v1/collections/animals").json()["collection"]
    assert collection["embedding_model"] == "all-MiniLM-L6-v2"
    assert collection["embedding_dimension"] == 384
    answer = chat(stack, "young feline pets", rag_collection="animals", rag_top_k=1).json()
    (source,) = answer["ailb"]["sources"]
    assert source["document_id"] == "cats"
    assert source["score"] > 0.3
    nothing = chat(stack, "young feline pets", rag_collection="animals", rag_min_score=0.99)
    assert nothing.json().get("ailb", {}).get("sources", []) == []


def test_an_old_turn_is_recalled_by_meaning(stack: Stack) -> None:
    chat(stack, "My dog is called Rex and he is afraid of thunder.", session_id="long")
    for turn in range(25):
        chat(stack, f"Unrelated matter number {turn}: bricks and mortar.", session_id="long")
    rest = httpx.Client(base_url=stack.rest)

    def found() -> bool:
        query = {"query": "a pet that fears storms", "session_id": "long", "limit": 1}
        matches = rest.post("/v1/sessions:search", json=query).json().get("matches", [])
        return bool(matches) and "Rex" in matches[0]["turn"]["text"]

    # Turns are embedded after the answers.
    eventually(found, 60)
    chat(stack, "Which pet of mine fears storms?", session_id="long")
    sent = stack.upstream.last_fields()["messages"]
    assert sent[0]["role"] == "system"
    assert "Rex" in sent[0]["content"]


def test_the_model_is_served_itself(stack: Stack) -> None:
    body = {"model": "local/all-MiniLM-L6-v2", "input": ["one", "two"]}
    answer = httpx.post(f"{stack.rest}/v1/embeddings", json=body, timeout=30).json()
    assert [len(item["embedding"]) for item in answer["data"]] == [384, 384]
