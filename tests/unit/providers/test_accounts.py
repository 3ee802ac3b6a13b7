"""What an account's calls carry: what was configured, and nothing that an SDK finds by itself."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TypeAlias

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
        return (await account.template("/chat")).headers
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
