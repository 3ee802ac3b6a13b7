"""Providers, as the environment or the YAML file names them."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr

from ailb_server.domain.target import Price

_MICRO = 1_000_000
# Dollars for a million tokens: a hundred times the dearest model there is; more is a slip.
MAX_PRICE = 10_000.0
Dollars = Annotated[float, Field(ge=0, le=MAX_PRICE)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PriceSettings(_Strict):
    """Dollars for a million tokens."""

    prompt: Dollars
    completion: Dollars
    cached: Dollars | None = Field(None, description="Prompt tokens read from a cache.")
    cache_write: Dollars | None = Field(None, description="Prompt tokens written to a cache.")

    def price(self) -> Price:
        """In micro-dollars."""
        return Price(
            prompt=round(self.prompt * _MICRO),
            completion=round(self.completion * _MICRO),
            cached=None if self.cached is None else round(self.cached * _MICRO),
            cache_write=None if self.cache_write is None else round(self.cache_write * _MICRO),
        )


class ProviderSettings(_Strict):
    """One provider."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Its name in routing, headers and metrics.",
    )
    kind: Literal["openai", "anthropic"] = Field("openai", description="Its wire format.")
    base_url: AnyHttpUrl = Field(
        description="Up to and including `/v1`, which `anthropic` may leave out."
    )
    api_key_env: str | None = Field(
        None, description="The variable that holds its key. Without it, none is sent."
    )
    headers: Mapping[str, str] = Field(default_factory=dict, description="Sent with every request.")
    models: tuple[str, ...] = Field((), description="Its models. Default: those that it lists.")
    weight: int = Field(1, ge=1, le=1000, description="Its share among those with one model.")
    prices: Mapping[str, PriceSettings] = Field(default_factory=dict, description="By model.")
    owned_by: str = Field("", description="What `GET /v1/models` says. Default: its name.")
    api_key: SecretStr | None = Field(None, exclude=True)


class FileSettings(_Strict):
    """The YAML file."""

    providers: tuple[ProviderSettings, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="A name for one or more models, `model` or `provider/model`.",
    )
