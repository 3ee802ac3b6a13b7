"""Providers, as the environment or the YAML file names them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from typing_extensions import override

from ailb_server.domain.target import MAX_PRICE as _MAX_MICRO
from ailb_server.domain.target import Capabilities, Price
from ailb_server.settings.base_url import BaseUrl
from ailb_server.settings.header_text import sendable

_MICRO = 1_000_000
# Dollars for a million tokens.
MAX_PRICE_MICRO_DOLLARS = _MAX_MICRO
MAX_PRICE = _MAX_MICRO / _MICRO
Dollars = Annotated[float, Field(ge=0, le=MAX_PRICE)]
Limit = Annotated[int, Field(ge=1, le=1_000_000_000)]
Strategy: TypeAlias = Literal[
    "load_balanced",
    "round_robin",
    "cost_optimized",
    "latency_optimized",
    "failover",
    "random",
]
# Tokens that a model holds at once. The largest there are hold ten million.
ContextTokens = Annotated[int, Field(ge=1, le=16 * 1024 * 1024)]


Tokens = Annotated[int, Field(ge=1, le=100_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TierSettings(_Strict):
    """Dollars for a million tokens."""

    prompt: Dollars = Field(description="Prompt tokens.")
    completion: Dollars = Field(description="Completion tokens.")
    cached: Dollars | None = Field(None, description="Prompt tokens read from a cache.")
    cache_write: Dollars | None = Field(None, description="Prompt tokens written to a cache.")
    reasoning: Dollars | None = Field(
        None, description="Completion tokens of reasoning. Default: as other completion tokens."
    )

    def price(self) -> Price:
        """In micro-dollars."""
        return Price(
            prompt=round(self.prompt * _MICRO),
            completion=round(self.completion * _MICRO),
            cached=_micro(self.cached),
            cache_write=_micro(self.cache_write),
            reasoning=_micro(self.reasoning),
        )


class PriceSettings(TierSettings):
    """Dollars for a million tokens."""

    tiers: Mapping[Tokens, TierSettings] = Field(
        default_factory=dict,
        description="Prices of all tokens of a request with a longer prompt: `200000: {prompt: 6,"
        " completion: 22.5}` is for prompts of more than 200,000 tokens.",
    )

    @override
    def price(self) -> Price:
        """In micro-dollars."""
        tiers = tuple((above, tier.price()) for above, tier in sorted(self.tiers.items()))
        return replace(super().price(), tiers=tiers)


def _micro(dollars: float | None) -> int | None:
    return None if dollars is None else round(dollars * _MICRO)


class CapabilitySettings(_Strict):
    """What a model can do. What is not said is not known, and then allowed."""

    vision: bool | None = Field(None, description="Images in messages.")
    tools: bool | None = Field(None, description="Calls of functions.")
    json_schema: bool | None = Field(None, description="Answers after a JSON schema.")
    context: int | None = Field(
        None, ge=1, le=100_000_000, description="Tokens, prompt and answer together."
    )

    def capabilities(self) -> Capabilities:
        """As routing has them."""
        return Capabilities(**self.model_dump())


class ProviderSettings(_Strict):
    """One provider."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Its name in routing, headers and metrics.",
    )
    kind: Literal["openai", "anthropic", "ollama"] = Field("openai", description="Its wire format.")
    base_url: BaseUrl = Field(
        description="Up to and including `/v1`, which `anthropic` may leave out; of an Ollama,"
        " without a path."
    )
    api_key_env: str | None = Field(
        None, description="The variable that holds its key. Without it, none is sent."
    )
    headers: Mapping[str, str] = Field(default_factory=dict, description="Sent with every request.")
    models: tuple[str, ...] = Field((), description="Its models. Default: those that it lists.")
    weight: int = Field(1, ge=1, le=1000, description="Its share among those with one model.")
    prices: Mapping[str, PriceSettings] = Field(default_factory=dict, description="By model.")
    num_ctx: ContextTokens | None = Field(
        None, description="Ollama only: the context in tokens. Default: `OLLAMA_NUM_CTX`."
    )
    capabilities: Mapping[str, CapabilitySettings] = Field(
        default_factory=dict, description="By model; `*` is for all others."
    )
    max_concurrent: Limit | None = Field(
        None, description="Requests of one instance to it that run at once."
    )
    requests_per_minute: Limit | None = Field(
        None, description="Requests to it a minute, of all instances together."
    )
    tokens_per_minute: Limit | None = Field(
        None,
        description="Tokens to and from it a minute, likewise: estimated, then corrected.",
    )
    owned_by: str = Field("", description="What `GET /v1/models` says. Default: its name.")
    api_key: SecretStr | None = Field(None, exclude=True)

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return sendable(value)


class FileProvider(ProviderSettings):
    """A provider in the YAML file."""

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, value: object) -> object:
        if isinstance(value, Mapping) and "api_key" in value:
            raise ValueError("a key does not belong in the file: name its variable in api_key_env")
        return value


class AliasSettings(_Strict):
    """A name for other models, with rules of its own."""

    models: tuple[str, ...] = Field(description="`model` or `provider/model`, in order.")
    strategy: Strategy | None = Field(None, description="Default: `ROUTING_STRATEGY`.")
    hedge_after_s: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        None, description="As `HEDGE_AFTER_S`, which is its default."
    )


class FileSettings(_Strict):
    """The YAML file."""

    providers: tuple[FileProvider, ...] = Field((), description="Beside the environment's.")
    aliases: Mapping[str, AliasSettings | tuple[str, ...]] = Field(
        default_factory=dict,
        description="A name for one or more models, `model` or `provider/model`; or a mapping:"
        " see an alias.",
    )
