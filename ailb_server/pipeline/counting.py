"""Counts a request's tokens where a provider of its format can."""

from collections.abc import Mapping
from dataclasses import dataclass

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import InvalidRequestError, UpstreamError
from ailb_server.domain.ports import TokenCounter
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.routing.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class TokenCounting:
    """`counters` are the providers that can count, by name."""

    catalogue: Catalogue
    counters: Mapping[str, TokenCounter]

    async def count(self, request: ChatRequest, principal: Principal = ANYONE) -> bytes:
        """The first answer among the model's targets, in their declared order.

        An estimate would be taken for a count, so a model without a counting provider is refused.
        Raises PermissionDeniedError, ModelNotFoundError, InvalidRequestError, or the last target's
        UpstreamError.
        """
        principal.require_model(request.model)
        failure: UpstreamError | None = None
        for target in self.catalogue.table.resolve(request.model).targets:
            counter = self.counters.get(target.provider)
            if counter is None:
                continue
            try:
                return await counter.count_tokens(request, target.model)
            except UpstreamError as error:
                if not error.failover:
                    raise
                failure = error
        raise failure or InvalidRequestError(
            f"No provider of the model `{request.model}` counts tokens: only Anthropic's API does.",
            param="model",
            model=request.model,
        )
