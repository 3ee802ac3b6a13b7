"""The official openai package where it is at its best: client options, headers, model listing.

Its parsing costs ten times the bytes it parses, so chats do not go through it: it makes the
request's template once, and chats carry their bytes over that.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

import httpx2
import openai

from ailb_server.domain.errors import UpstreamMisconfiguredError, UpstreamUnavailableError
from ailb_server.providers.sdk_request import RequestTemplate, authorizes, connections, recorded

MAX_MODELS = 10_000
_LISTING_TIMEOUT_S = 10.0
# The SDK insists on a key; a server that needs none gets no Authorization header.
_NO_KEY = "none"
_NO_LISTING = frozenset({404, 405, 501})


class OpenAIAccount:
    """A base URL and a credential at a provider of OpenAI's format.

    Nothing comes from the SDK's own environment variables, such as OPENAI_ORG_ID. The base URL's
    query, such as Azure's `?api-version=…`, is sent with every request.
    """

    def __init__(
        self, provider: str, base_url: str, api_key: str | None, *, headers: Mapping[str, str]
    ) -> None:
        self._provider = provider
        self._base_url, _, query = base_url.partition("?")
        self._query = dict(parse_qsl(query))
        self._api_key = api_key or _NO_KEY
        known = api_key or authorizes(headers)
        nothing = {} if known else {"Authorization": openai.Omit()}
        self._headers: Mapping[str, str | openai.Omit] = {**headers, **nothing}
        self._client = self._over(connections())

    async def template(self, path: str) -> RequestTemplate:
        """The request that the SDK would send by POST to `path`; nothing is sent."""
        return await recorded(
            lambda client: self._over(client).post(
                path, cast_to=object, content=b"{}", options={"headers": dict(self._headers)}
            )
        )

    async def list_models(self) -> Sequence[str] | None:
        """`GET /models`: at most MAX_MODELS ids in the provider's order; None without a listing."""
        try:
            page = await self._client.models.list(extra_headers=self._headers)
        except openai.APIStatusError as error:
            if error.status_code in _NO_LISTING:
                return None
            raise self._failure(error.status_code) from error
        except openai.OpenAIError as error:
            raise UpstreamUnavailableError(
                "The provider could not be reached.", provider=self._provider
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            # The SDK's ways of meeting an answer of another shape.
            raise self._malformed() from error
        if not isinstance(page.data, list):
            raise self._malformed()
        ids = [getattr(model, "id", None) for model in page.data[:MAX_MODELS]]
        return [model for model in ids if model and isinstance(model, str)]

    async def close(self) -> None:
        """Closes the SDK's own connections."""
        await self._client.close()

    def _over(self, http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            default_query=self._query,
            max_retries=0,
            timeout=_LISTING_TIMEOUT_S,
            http_client=http,
        )
        # The SDK adds what it finds in the environment, to every client that it makes, and has no
        # option against it; that is another provider's business, or a secret.
        client.admin_api_key = client.organization = client.project = None
        client._custom_headers = {}
        return client

    def _malformed(self) -> UpstreamUnavailableError:
        return UpstreamUnavailableError(
            "The provider's model listing is malformed.", provider=self._provider
        )

    def _failure(self, status: int) -> UpstreamMisconfiguredError | UpstreamUnavailableError:
        if status in (401, 403):
            return UpstreamMisconfiguredError(
                "The provider refuses AILB's credential.", provider=self._provider
            )
        return UpstreamUnavailableError(
            f"The provider's model listing answers {status}.", provider=self._provider
        )
