"""What browsers are told, by a real Envoy: nothing by default, the allow-list if there is one."""

from collections.abc import Iterator, Mapping

import httpx2
import pytest

from tests.support.stack import Stack

APP = "https://app.example.com"
ASKED = "authorization,content-type,x-api-key,anthropic-version,x-ailb-routing-strategy"


@pytest.fixture(scope="module")
def pages(postgres_server: str) -> Iterator[Stack]:
    """Two origins may call."""
    origins = (APP, "http://localhost:3000")
    with Stack(postgres_server, settings={"cors_allowed_origins": origins}) as running:
        yield running


def preflight(stack: Stack, origin: str, path: str = "/v1/chat/completions") -> httpx2.Response:
    return httpx2.options(
        stack.rest + path,
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": ASKED,
        },
    )


def allowed(headers: Mapping[str, str]) -> set[str]:
    return {name for name in headers if name.lower().startswith("access-control-")}


def chat(stack: Stack, origin: str, **fields: object) -> httpx2.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], **fields}
    return httpx2.post(
        f"{stack.rest}/v1/chat/completions", json=body, headers={"origin": origin}, timeout=30
    )


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/sessions"]
)
@pytest.mark.parametrize("origin", [APP, "http://localhost:3000"])
def test_a_preflight_of_a_listed_origin(pages: Stack, origin: str, path: str) -> None:
    reply = preflight(pages, origin, path)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == origin
    names = {n.strip() for n in reply.headers["access-control-allow-headers"].split(",")}
    assert {*ASKED.split(","), "*"} <= names
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com.evil.example",
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://APP.example.com",
        "null",
    ],
)
def test_others_are_told_nothing(pages: Stack, origin: str) -> None:
    assert preflight(pages, origin).status_code == 405
    assert allowed(preflight(pages, origin).headers) == set()
    assert allowed(chat(pages, origin).headers) == set()


def test_answers_and_errors_can_be_read(pages: Stack) -> None:
    for reply in (chat(pages, APP), chat(pages, APP, stream=True), chat(pages, APP, model="no")):
        assert reply.headers["access-control-allow-origin"] == APP
        told = {n.strip() for n in reply.headers["access-control-expose-headers"].split(",")}
        assert {"x-request-id", "retry-after", "x-ratelimit-limit-requests", "x-ailb-model"} <= told
        assert "origin" in reply.headers["vary"]
        assert reply.headers["x-request-id"]


def test_options_without_a_page_are_as_ever(pages: Stack) -> None:
    assert httpx2.options(f"{pages.rest}/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("method", ["", "POST, GET"])
def test_no_preflight_reaches_the_server(pages: Stack, method: str) -> None:
    headers = {"origin": APP, "access-control-request-method": method}
    for kind in ("application/json", "application/grpc"):
        reply = httpx2.options(
            f"{pages.rest}/ailb.v1.ModelService/ListModels",
            headers={**headers, "content-type": kind},
        )
        assert "x-envoy-upstream-service-time" not in reply.headers
        assert reply.headers.get("grpc-status") in {None, "12"}
        assert reply.status_code in {200, 404}
        assert reply.content == b"" or b"unknown_url" in reply.content


def test_by_default_no_page_may_call(stack: Stack) -> None:
    assert preflight(stack, APP).status_code == 405
    assert allowed(preflight(stack, APP).headers) == set()
    assert allowed(chat(stack, APP).headers) == set()
    assert "vary" not in chat(stack, APP).headers


def test_every_origin_if_said_so_and_without_credentials(postgres_server: str) -> None:
    settings = {
        "cors_allowed_origins": ("*",),
        "require_api_key": True,
        "admin_api_key": "an-administrators-own-secret",
    }
    with Stack(postgres_server, settings=settings) as anybody:
        reply = preflight(anybody, "https://whatever.example")
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] in {"*", "https://whatever.example"}
        assert "access-control-allow-credentials" not in reply.headers
        refused = chat(anybody, "https://whatever.example")
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"]
