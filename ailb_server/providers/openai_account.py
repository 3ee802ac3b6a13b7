"""An account at a provider of OpenAI's format."""

from collections.abc import Mapping, Sequence

from ailb_server.providers.account import (
    MAX_MODELS,
    ModelListing,
    RequestTemplate,
    account_headers,
    endpoint,
)


class OpenAIAccount:
    """A base URL, with a query or none, and a credential.

    Nothing comes from environment variables, such as OPENAI_ORG_ID: they may be another provider's.
    """

    def __init__(
        self, provider: str, base_url: str, api_key: str | None, *, headers: Mapping[str, str]
    ) -> None:
        self._base_url = base_url
        self._headers = account_headers(api_key, headers, {"content-type": "application/json"})
        self._listing = ModelListing(provider)

    def template(self, path: str) -> RequestTemplate:
        """What a request by POST to `path` carries."""
        return RequestTemplate(endpoint(self._base_url, path), self._headers)

    async def list_models(self) -> Sequence[str] | None:
        """`GET /models`: at most MAX_MODELS ids in the provider's order; None without a listing.

        Raises UpstreamError.
        """
        url = endpoint(self._base_url, "/models")
        page = await self._listing.in_time(self._listing.page(url, self._headers))
        if page is None:
            return None
        data = page.get("data")
        if not isinstance(data, list):
            raise self._listing.malformed()
        ids = [model.get("id") for model in data[:MAX_MODELS] if isinstance(model, dict)]
        return [model for model in ids if model and isinstance(model, str)]

    async def close(self) -> None:
        """Closes the listing's connection."""
        await self._listing.close()
