"""The official anthropic package where it is at its best: client options, headers, model listing.

As with OpenAI's, chats carry their bytes over the template that it makes, and do not go through it.
"""

import asyncio
from collections.abc import Mapping

import anthropic
import httpx2

from ailb_server.domain.chat import Json
from ailb_server.domain.errors import UpstreamMisconfiguredError, UpstreamUnavailableError
from ailb_server.providers.anthropic_wire_models import ModelFacts, models_of, next_page
from ailb_server.providers.sdk_request import RequestTemplate, authorizes, connections, recorded

MAX_MODELS = 10_000
_PAGE = 1000
_LISTING_TIMEOUT_S = 10.0
# Without a key the SDK looks for one in its environment variables and in files of its own; a server
# that needs none gets no Authorization header.
_NO_KEY = "none"
_NO_LISTING = frozenset({404, 405, 501})
_CREDENTIAL = frozenset({401, 402, 403})


class AnthropicAccount:
    """A base URL, with or without its `/v1`, and a credential at a provider of the format.

    Nothing comes from the SDK's own environment variables and files, such as ANTHROPIC_AUTH_TOKEN.
    """

    def __init__(
        self, provider: str, base_url: str, api_key: str | None, *, headers: Mapping[str, str]
    ) -> None:
        self._provider = provider
        self._base_url = base_url.rstrip("/").removesuffix("/v1")
        self._api_key = api_key or _NO_KEY
        known = api_key or authorizes(headers)
        nothing = {} if known else {"Authorization": anthropic.Omit()}
        self._headers: Mapping[str, str | anthropic.Omit] = {**headers, **nothing}
        self._client = self._over(connections())

    async def template(self, path: str) -> RequestTemplate:
        """The request that the SDK would send by POST to `path`; nothing is sent."""
        return await recorded(
            lambda client: self._over(client).post(
                path, cast_to=object, content=b"{}", options={"headers": dict(self._headers)}
            )
        )

    async def models(self) -> Mapping[str, ModelFacts] | None:
        """`GET /v1/models`, page by page: at most MAX_MODELS; None without a listing."""
        found: dict[str, ModelFacts] = {}
        try:
            async with asyncio.timeout(_LISTING_TIMEOUT_S):
                after: str | None = ""
                while after is not None and len(found) < MAX_MODELS:
                    page = await self._page(after)
                    found.update(models_of(page))
                    after = next_page(page)
        except anthropic.APIStatusError as error:
            if error.status_code in _NO_LISTING:
                return None
            raise self._failure(error.status_code) from error
        except (anthropic.AnthropicError, TimeoutError) as error:
            raise UpstreamUnavailableError(
                "The provider could not be reached.", provider=self._provider
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise UpstreamUnavailableError(
                "The provider's model listing is malformed.", provider=self._provider
            ) from error
        return found

    async def close(self) -> None:
        """Closes the SDK's own connections."""
        await self._client.close()

    def _over(self, http: httpx2.AsyncClient) -> anthropic.AsyncAnthropic:
        client = anthropic.AsyncAnthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=_LISTING_TIMEOUT_S,
            http_client=http,
            open_telemetry=False,
        )
        # The SDK adds those of ANTHROPIC_CUSTOM_HEADERS and has no option against it.
        client._custom_headers = {}
        return client

    async def _page(self, after: str) -> Json:
        query: dict[str, object] = {"limit": _PAGE}
        if after:
            query["after_id"] = after
        # As plain JSON: the typed listing costs a model object for each, and says no more.
        return await self._client.get(
            "/v1/models",
            cast_to=object,
            options={"params": query, "headers": dict(self._headers)},
        )

    def _failure(self, status: int) -> UpstreamMisconfiguredError | UpstreamUnavailableError:
        if status in _CREDENTIAL:
            return UpstreamMisconfiguredError(
                "The provider refuses AILB's credential.", provider=self._provider
            )
        return UpstreamUnavailableError(
            f"The provider's model listing answers {status}.", provider=self._provider
        )
