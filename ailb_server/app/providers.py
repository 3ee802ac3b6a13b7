"""From settings to providers, and to what routing knows of them."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import AnyHttpUrl

from ailb_server.domain.ports import ChatProvider
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.providers.anthropic_account import AnthropicAccount
from ailb_server.providers.ollama import OllamaProvider, OllamaServer
from ailb_server.providers.openai import OpenAIProvider
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.upstream import Timeouts, Upstream
from ailb_server.routing.catalogue import Declaration
from ailb_server.routing.dispatcher import DispatchRules
from ailb_server.routing.limits import ProviderLimits
from ailb_server.routing.operations import operations_of
from ailb_server.routing.roster import Member
from ailb_server.routing.table import Alias
from ailb_server.settings import AliasSettings, ProviderSettings, Settings
from ailb_server.spend.list_prices import ListPrices

DEMO = "demo"
DEMO_OWNER = "ailb-demo"


class Provider(ChatProvider, Protocol):
    """A provider that holds connections."""

    async def close(self) -> None:
        """Closes all connections."""
        ...


def demo_provider(url: str) -> ProviderSettings:
    """The demo provider as routing sees it: one of OpenAI's format, labelled."""
    return ProviderSettings(name=DEMO, base_url=AnyHttpUrl(url), owned_by=DEMO_OWNER)


def provider_of(settings: ProviderSettings, common: Settings) -> Provider:
    """Opens no connection yet; who calls closes it."""
    upstream = Upstream(
        settings.name, timeouts=_timeouts(common), pool_size=common.upstream_pool_size
    )
    num_ctx = settings.num_ctx or common.ollama_num_ctx
    name, url, headers = settings.name, str(settings.base_url), settings.headers
    key = settings.api_key.get_secret_value() if settings.api_key else None
    match settings.kind:
        case "openai":
            openai = OpenAIAccount(name, url, key, headers=headers)
            return OpenAIProvider(name, openai, upstream)
        case "ollama":
            ollama = OllamaServer(url, num_ctx, api_key=key, headers=headers)
            return OllamaProvider(name, ollama, upstream)
        case "anthropic":
            anthropic = AnthropicAccount(name, url, key, headers=headers)
            return AnthropicProvider(name, anthropic, upstream)


def declaration(
    settings: ProviderSettings, member: Member, list_prices: ListPrices | None
) -> Declaration:
    """What the catalogue is told of a provider."""
    return Declaration(
        provider=settings.name,
        owned_by=settings.owned_by or settings.name,
        listing=member,
        models=settings.models,
        weight=settings.weight,
        prices={model: price.price() for model, price in settings.prices.items()},
        capabilities={m: c.capabilities() for m, c in settings.capabilities.items()},
        list_prices=list_prices,
        operations=operations_of(member.provider),
    )


def limits(settings: ProviderSettings) -> ProviderLimits:
    """AILB's own limits towards the provider."""
    return ProviderLimits(
        max_concurrent=settings.max_concurrent,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
    )


def aliases(
    settings: Mapping[str, AliasSettings | tuple[str, ...]],
) -> Mapping[str, Alias]:
    """The file's aliases and groups."""
    return {
        name: Alias(alias.models, alias.strategy, alias.hedge_after_s)
        if isinstance(alias, AliasSettings)
        else Alias(tuple(alias))
        for name, alias in settings.items()
    }


def manner(settings: ProviderSettings, common: Settings) -> tuple[object, ...]:
    """How it is spoken to, beside its account: a provider that is made once keeps to it."""
    num_ctx = settings.num_ctx or common.ollama_num_ctx
    return _timeouts(common), common.upstream_pool_size, num_ctx


def dispatch_rules(settings: Settings) -> DispatchRules:
    """The bounds of a request's attempts, all together."""
    return DispatchRules(
        total_s=settings.total_timeout_s,
        queue_s=settings.rate_limit_wait_s,
        queue_places=settings.rate_limit_queue,
    )


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect_s=settings.connect_timeout_s,
        first_token_s=settings.first_token_timeout_s,
        between_tokens_s=settings.between_tokens_timeout_s,
        total_s=settings.total_timeout_s,
    )
