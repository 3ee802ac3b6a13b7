"""What is made of a provider's model listing, however odd."""

from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from ailb_server.domain.errors import UpstreamMisconfiguredError, UpstreamUnavailableError
from ailb_server.providers.openai_account import OpenAIAccount


class Listing:
    """A server whose `GET /v1/models` answers what it is told."""

    def __init__(self) -> None:
        self.url, self.status, self.body, self.type = "", 200, b"", "application/json"

    async def answer(self, _: web.Request) -> web.Response:
        """The listing."""
        return web.Response(status=self.status, body=self.body, content_type=self.type)

    async def models(self) -> Sequence[str] | None:
        """What an account makes of it."""
        account = OpenAIAccount("p", self.url, None, headers={})
        try:
            return await account.list_models()
        finally:
            await account.close()


@pytest.fixture
async def listing() -> AsyncIterator[Listing]:
    """The running server."""
    told, app = Listing(), web.Application()
    app.router.add_get("/v1/models", told.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield told
    await runner.cleanup()


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"vendor/b:1"}]}', ["a", "vendor/b:1"]),
        (b'{"data":[]}', []),
        (b'{"data":[{"id":5},"x",{"name":"n"},null,{"id":""},{"id":"ok"}]}', ["ok"]),
    ],
)
async def test_models(listing: Listing, body: bytes, models: list[str]) -> None:
    listing.body = body
    assert await listing.models() == models


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b'"x"', b'{"data":null}', b'{"data":{}}', b"{", b"<html>"]
)
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
async def test_another_shape_is_unavailable(
    listing: Listing, body: bytes, content_type: str
) -> None:
    listing.body, listing.type = body, content_type
    with pytest.raises(UpstreamUnavailableError):
        await listing.models()


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_no_listing_is_none(listing: Listing, status: int) -> None:
    listing.status = status
    assert await listing.models() is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, UpstreamMisconfiguredError),
        (403, UpstreamMisconfiguredError),
        (429, UpstreamUnavailableError),
        (500, UpstreamUnavailableError),
    ],
)
async def test_a_refusal_is_an_error(listing: Listing, status: int, error: type[Exception]) -> None:
    listing.status = status
    with pytest.raises(error):
        await listing.models()


async def test_nobody_there_is_unavailable(listing: Listing) -> None:
    listing.url = "http://127.0.0.1:1/v1"
    with pytest.raises(UpstreamUnavailableError):
        await listing.models()
