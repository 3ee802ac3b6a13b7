"""What an account's requests always carry, and its models' listing."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from multidict import CIMultiDict
from yarl import URL

from ailb_server.domain.chat import JsonObject
from ailb_server.domain.errors import (
    UpstreamMisconfiguredError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.json_text import loads
from ailb_server.providers.upstream import Timeouts, Upstream

T = TypeVar("T")

MAX_MODELS = 10_000
_LISTING_TIMEOUT_S = 10.0
_OK = 200
_NO_LISTING = frozenset({404, 405, 501})
_NO_CREDENTIAL = frozenset({401, 403})
# What the connection writes itself. Bodies come as they are: nothing here unpacks them.
_NOT_CONFIGURED = frozenset({"host", "connection", "content-length", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """Where a request goes and what it always carries; the headers hold the credential."""

    url: URL
    headers: CIMultiDict[str]


def endpoint(base_url: str, path: str) -> URL:
    """`path` below the base URL, whose query, such as Azure's `?api-version=…`, goes with it."""
    base, _, query = base_url.partition("?")
    return URL(base.rstrip("/") + path + (f"?{query}" if query else ""), encoded=True)


def account_headers(
    api_key: str | None, configured: Mapping[str, str], own: Mapping[str, str]
) -> CIMultiDict[str]:
    """A key is a bearer token, as both official SDKs send it. What is configured comes first: it
    may bring a credential of its own."""
    headers = CIMultiDict({"accept": "application/json", "accept-encoding": "identity", **own})
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    headers.update({n: v for n, v in configured.items() if n.lower() not in _NOT_CONFIGURED})
    return headers


class ModelListing:
    """Asks for pages of models, over a connection of its own: chats never wait for it."""

    def __init__(self, provider: str, refused: frozenset[int] = _NO_CREDENTIAL) -> None:
        self._provider = provider
        self._refused = refused
        limits = Timeouts(*[_LISTING_TIMEOUT_S] * 4)
        self._upstream = Upstream(provider, timeouts=limits, pool_size=1)

    async def in_time(self, pages: Awaitable[T]) -> T:
        """All pages, within _LISTING_TIMEOUT_S. Raises UpstreamTimeoutError."""
        try:
            async with asyncio.timeout(_LISTING_TIMEOUT_S):
                return await pages
        except TimeoutError:
            raise UpstreamTimeoutError(
                "The provider did not list its models in time.", provider=self._provider
            ) from None

    async def page(self, url: URL, headers: Mapping[str, str]) -> JsonObject | None:
        """One page; None if there is no listing. Raises UpstreamError."""
        async with self._upstream.get(url, headers) as reply:
            body = await reply.read_all()
        if reply.status in _NO_LISTING:
            return None
        if reply.status in self._refused:
            raise UpstreamMisconfiguredError(
                "The provider refuses AILB's credential.", provider=self._provider
            )
        if reply.status != _OK:
            raise UpstreamUnavailableError(
                f"The provider's model listing answers {reply.status}.", provider=self._provider
            )
        try:
            page = loads(body)
        except ValueError:
            raise self.malformed() from None
        if not isinstance(page, dict):
            raise self.malformed()
        return page

    def malformed(self) -> UpstreamUnavailableError:
        """It is none."""
        return UpstreamUnavailableError(
            "The provider's model listing is malformed.", provider=self._provider
        )

    async def close(self) -> None:
        """Closes its connection."""
        await self._upstream.close()
