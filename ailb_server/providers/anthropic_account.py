"""An account at a provider of Anthropic's Messages API."""

from collections.abc import Mapping

from ailb_server.providers.account import (
    MAX_MODELS,
    ModelListing,
    RequestTemplate,
    account_headers,
    endpoint,
)
from ailb_server.providers.anthropic_wire_models import ModelFacts, models_of, next_page

# The API's, as anthropic 2.11 sends it.
VERSION = "2026-10-21"
_PAGE = 1000
# 402: the account is out of credit.
_NO_CREDENTIAL = frozenset({401, 402, 403})


class AnthropicAccount:
    """A base URL, with or without its `/v1`, and a credential.

    Nothing comes from environment variables, such as ANTHROPIC_AUTH_TOKEN: they may be another
    provider's.
    """

    def __init__(
        self, provider: str, base_url: str, api_key: str | None, *, headers: Mapping[str, str]
    ) -> None:
        base, mark, query = base_url.partition("?")
        self._base_url = base.rstrip("/").removesuffix("/v1") + mark + query
        own = {"content-type": "application/json", "anthropic-version": VERSION}
        self._headers = account_headers(api_key, headers, own)
        self._listing = ModelListing(provider, refused=_NO_CREDENTIAL)

    def template(self, path: str) -> RequestTemplate:
        """What a request by POST to `path` carries."""
        return RequestTemplate(endpoint(self._base_url, path), self._headers)

    async def models(self) -> Mapping[str, ModelFacts] | None:
        """`GET /v1/models`, page by page: at most MAX_MODELS; None without a listing.

        Raises UpstreamError.
        """
        return await self._listing.in_time(self._models())

    async def close(self) -> None:
        """Closes the listing's connection."""
        await self._listing.close()

    async def _models(self) -> Mapping[str, ModelFacts] | None:
        url, found = endpoint(self._base_url, "/v1/models"), dict[str, ModelFacts]()
        after: str | None = ""
        while after is not None and len(found) < MAX_MODELS:
            query = {"limit": str(_PAGE), **({"after_id": after} if after else {})}
            page = await self._listing.page(url.update_query(query), self._headers)
            if page is None:
                return None
            try:
                found.update(models_of(page))
            except TypeError:
                raise self._listing.malformed() from None
            after = next_page(page)
        return found
