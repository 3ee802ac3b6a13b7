"""Two tenants with keys of their own: neither meets anything of the other, by any way."""

from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.stack import Stack, eventually

ASK: Any = [{"role": "user", "content": "What is the secret word?"}]
TELL: Any = [{"role": "user", "content": "The secret word is marzipan"}]


class Tenant:
    """A caller with a key."""

    def __init__(self, stack: Stack, tenant: str, **terms: Any) -> None:
        made = httpx.post(
            f"{stack.rest}/admin/v1/keys", json={"name": f"{tenant} key", "tenant": tenant, **terms}
        )
        assert made.status_code == 200, made.text
        headers = {"authorization": f"Bearer {made.json()['secret']}"}
        self.rest = httpx.Client(base_url=stack.rest, headers=headers)

    def chat(self, messages: Any, **more: Any) -> httpx.Response:
        body = {"model": "demo", "messages": messages, **more}
        return self.rest.post("/v1/chat/completions", json=body)

    def give(self, collection: str, text: str) -> str:
        """Makes a collection of one document; returns the import's id."""
        assert self.rest.post("/v1/collections", json={"name": collection}).status_code == 200
        documents = [{"id": "secret.txt", "text": text}]
        path = f"/v1/collections/{collection}/documents"
        job = str(self.rest.post(path, json={"documents": documents}).json()["job"]["id"])
        eventually(lambda: self.state(job) == "IMPORT_STATE_FINISHED")
        return job

    def state(self, job: str) -> str:
        return str(self.rest.get(f"/v1/imports/{job}").json()["job"]["state"])


@pytest.fixture(scope="module")
def stack(postgres_server: str) -> Iterator[Stack]:
    with Stack(postgres_server) as running:
        yield running


@pytest.fixture(scope="module")
def tenants(stack: Stack) -> tuple[Tenant, Tenant, str]:
    """The first has a session `diary` and a collection `vault`; and its import's id."""
    one, other = Tenant(stack, "one"), Tenant(stack, "other")
    assert one.chat(TELL, session_id="diary").status_code == 200
    return one, other, one.give("vault", "The secret word is marzipan.")


def test_the_same_session_id_is_another_session(tenants: tuple[Tenant, Tenant, str]) -> None:
    one, other, _ = tenants
    assert "I was told" in one.chat(ASK, session_id="diary").text
    assert "marzipan" not in other.chat(ASK, session_id="diary").text


def test_the_same_collection_is_not_there(tenants: tuple[Tenant, Tenant, str]) -> None:
    one, other, _ = tenants
    assert "marzipan" in one.chat(ASK, rag_collection="vault").text
    refused = other.chat(ASK, rag_collection="vault")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "collection_not_found"


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("GET", "/v1/collections/vault", None),
        ("DELETE", "/v1/collections/vault", None),
        ("GET", "/v1/collections/vault/documents", None),
        ("POST", "/v1/collections/vault/documents", {"documents": [{"id": "a", "text": "b"}]}),
        ("GET", "/v1/collections/vault/documents/secret.txt", None),
        ("DELETE", "/v1/collections/vault/documents/secret.txt", None),
        ("POST", "/v1/collections/vault/search", {"query": "secret word"}),
    ],
)
def test_no_path_reaches_it(
    tenants: tuple[Tenant, Tenant, str], verb: str, path: str, body: Any
) -> None:
    one, other, _ = tenants
    response = other.rest.request(verb, path, json=body)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert "marzipan" in one.chat(ASK, rag_collection="vault").text


def test_imports_and_lists_are_apart(tenants: tuple[Tenant, Tenant, str]) -> None:
    _, other, job = tenants
    assert other.rest.get(f"/v1/imports/{job}").status_code == 404
    assert other.rest.get("/v1/collections").json().get("collections", []) == []
    found = other.rest.post("/v1/sessions:search", json={"query": "marzipan"}).json()
    assert found.get("matches", []) == []


def test_a_key_keeps_to_its_collections(stack: Stack) -> None:
    owner = Tenant(stack, "library")
    owner.give("open", "The secret word is open.")
    owner.give("closed", "The secret word is closed.")
    reader = Tenant(stack, "library", allowed_collections=["open"])
    assert reader.chat(ASK, rag_collection="open").status_code == 200
    names = [c["name"] for c in reader.rest.get("/v1/collections").json()["collections"]]
    assert names == ["open"]
    for response in (
        reader.chat(ASK, rag_collection="closed"),
        reader.rest.get("/v1/collections/closed"),
        reader.rest.post("/v1/collections/closed/search", json={"query": "x"}),
        reader.rest.post("/v1/collections", json={"name": "new"}),
    ):
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "permission_denied"
