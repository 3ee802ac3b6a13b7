"""What an account's calls carry: what the official packages send, and nothing of what those find by
themselves."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TypeAlias

import anthropic
import httpx2
import openai
import pytest
from aiohttp import web

from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.providers.anthropic_account import AnthropicAccount
from ailb_server.providers.openai_account import OpenAIAccount

Account: TypeAlias = type[OpenAIAccount] | type[AnthropicAccount]

# What the official packages read beside their arguments.
_AMBIENT = {
    "OPENAI_API_KEY": "ambient",
    "OPENAI_ADMIN_KEY": "ambient",
    "OPENAI_ORG_ID": "ambient",
    "OPENAI_PROJECT_ID": "ambient",
    "OPENAI_WEBHOOK_SECRET": "ambient",
    "OPENAI_BASE_URL": "http://ambient.invalid/v1",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer ambient\nX-Mine: ambient\nX-Ambient: 1",
    "ANTHROPIC_API_KEY": "ambient",
    "ANTHROPIC_AUTH_TOKEN": "ambient",
    "ANTHROPIC_PROFILE": "ambient",
    "ANTHROPIC_BASE_URL": "http://ambient.invalid",
    "ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer ambient\nX-Mine: ambient\nX-Ambient: 1",
}
_PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
BOTH = pytest.mark.parametrize("kind", [OpenAIAccount, AnthropicAccount])


class Listing:
    """A provider's server that notes the headers of each listing."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[dict[str, str]] = []

    async def models(self, request: web.Request) -> web.Response:
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        return web.json_response({"data": [{"id": "m"}], "has_more": False})

    async def moved(self, _: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{self.url}/models")


@pytest.fixture
async def server() -> AsyncIterator[Listing]:
    listing, app = Listing(), web.Application()
    app.router.add_get("/v1/models", listing.models)
    app.router.add_get("/moved/v1/models", listing.moved)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listing.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield listing
    await runner.cleanup()


@pytest.fixture
def ambient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment full of what belongs to somebody else."""
    for name, value in _AMBIENT.items():
        monkeypatch.setenv(name, value)
    for name in _PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "configs").mkdir()
    profile = {"authentication": {"type": "user_oauth"}, "base_url": "http://ambient.invalid"}
    (tmp_path / "configs" / "ambient.json").write_text(json.dumps(profile))
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))


async def posted(
    kind: Account, url: str, key: str | None = None, headers: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    """The headers that every chat carries."""
    account = kind("p", url, key, headers=headers or {})
    try:
        return (account.template("/chat")).headers
    finally:
        await account.close()


async def listed(
    kind: Account, url: str, key: str | None = None, headers: Mapping[str, str] | None = None
) -> None:
    """Asks for the models once."""
    account = kind("p", url, key, headers=headers or {})
    try:
        if isinstance(account, OpenAIAccount):
            assert list(await account.list_models() or ()) == ["m"]
        else:
            assert list(await account.models() or ()) == ["m"]
    finally:
        await account.close()


@BOTH
@pytest.mark.parametrize("key", [None, "sk-own"])
@pytest.mark.usefixtures("ambient")
async def test_chats_carry_nothing_of_the_environment(kind: Account, key: str | None) -> None:
    sent = await posted(kind, "http://own.invalid/v1", key, {"X-Mine": "own"})
    assert "ambient" not in " ".join(sent.values())
    assert {name.lower() for name in sent} == {
        *("accept", "accept-encoding", "content-type", "x-mine"),
        *(() if key is None else ("authorization",)),
        *(("anthropic-version",) if kind is AnthropicAccount else ()),
    }
    assert sent["x-mine"] == "own"


def _sent_by_the_sdk(kind: Account, base_url: str, headers: Mapping[str, str]) -> httpx2.Request:
    """What the official package sends, but for what describes itself."""
    sent: list[httpx2.Request] = []

    def record(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={})

    http = httpx2.Client(transport=httpx2.MockTransport(record))
    made = openai.OpenAI if kind is OpenAIAccount else anthropic.Anthropic
    client = made(api_key="sk-own", base_url=base_url, http_client=http)
    path = "/chat/completions" if kind is OpenAIAccount else "/v1/messages"
    client.post(path, cast_to=object, content=b"{}", options={"headers": dict(headers)})
    return sent[0]


@pytest.mark.parametrize(
    ("kind", "base_url"),
    [
        (OpenAIAccount, "http://own.invalid/v1"),
        (OpenAIAccount, "http://own.invalid/a%20b/"),
        (AnthropicAccount, "http://own.invalid"),
        (AnthropicAccount, "http://own.invalid/proxy/"),
    ],
)
@pytest.mark.parametrize(
    "headers", [{}, {"X-Mine": "own"}, {"authorization": "Basic own", "Accept": "text/x"}]
)
def test_chats_carry_what_the_official_package_sends(
    kind: Account, base_url: str, headers: dict[str, str]
) -> None:
    path = "/chat/completions" if kind is OpenAIAccount else "/v1/messages"
    ours = kind("p", base_url, "sk-own", headers=headers).template(path)
    theirs = _sent_by_the_sdk(kind, base_url, headers)
    assert str(ours.url) == str(theirs.url)
    named = {name for name in theirs.headers if not name.startswith("x-stainless-")}
    named -= {"host", "connection", "content-length", "user-agent"}
    assert {name.lower() for name in ours.headers} == named
    for name in named - {"accept-encoding"}:
        assert ours.headers[name] == theirs.headers[name]


@BOTH
@pytest.mark.parametrize("key", [None, "sk-own"])
@pytest.mark.usefixtures("ambient")
async def test_listings_carry_nothing_of_the_environment_and_use_no_proxy(
    kind: Account, key: str | None, server: Listing
) -> None:
    await listed(kind, server.url, key, {"X-Mine": "own"})
    (sent,) = server.heads
    assert "ambient" not in " ".join(sent.values())
    assert not sent.keys() & {"openai-organization", "openai-project", "x-ambient", "x-api-key"}
    assert ("authorization" in sent) == (key is not None)
    assert sent["x-mine"] == "own"


async def test_an_organization_may_be_configured(server: Listing) -> None:
    headers = {"openai-organization": "org-own", "OpenAI-Project": "proj-own"}
    sent = await posted(OpenAIAccount, server.url, "sk-own", headers)
    await listed(OpenAIAccount, server.url, "sk-own", headers)
    for found in (sent, server.heads[0]):
        assert found["openai-organization"] == "org-own"
        assert found["openai-project"] == "proj-own"
        assert found["authorization"] == "Bearer sk-own"


@BOTH
async def test_a_credential_may_be_a_configured_header(kind: Account, server: Listing) -> None:
    headers = {"authorization": "Basic own"}
    assert (await posted(kind, server.url, None, headers))["authorization"] == "Basic own"
    await listed(kind, server.url, None, headers)
    assert server.heads[0]["authorization"] == "Basic own"


@BOTH
async def test_a_listing_goes_nowhere_else(kind: Account, server: Listing) -> None:
    with pytest.raises(UpstreamUnavailableError):
        await listed(kind, server.url.removesuffix("/v1") + "/moved/v1", "sk-own")
    assert server.heads == []
