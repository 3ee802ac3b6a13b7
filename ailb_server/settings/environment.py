"""The environment's names, defaults and meanings; `docs/configuration.md` is made from them."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from ailb_server.settings.base_url import BaseUrl
from ailb_server.settings.header_text import header_value
from ailb_server.settings.loopback import is_loopback
from ailb_server.settings.nlb import NlbSettings
from ailb_server.settings.providers import ContextTokens, Strategy
from ailb_server.settings.repeats import RepeatSettings
from ailb_server.settings.telemetry import TelemetrySettings
from ailb_server.settings.transport import ANY_ORIGIN, TransportSettings
from ailb_server.settings.unknown_price import UnknownPriceSetting

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Names = Annotated[tuple[str, ...], NoDecode]
MIN_SECRET = 24

_PATH = re.compile(r"[/~.\\]|[A-Za-z]:[/\\]")


class Settings(NlbSettings, TransportSettings, RepeatSettings, TelemetrySettings):
    """Every setting. A variable is named as the field, in capitals; an empty one is not set."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = Field(
        "127.0.0.1",
        description="Address that the gRPC server (and, with `ailb up`, Envoy) listens on.",
    )
    http_port: Port = Field(8080, description="REST port: Envoy, started by `ailb up`.")
    grpc_port: Port = Field(50051, description="gRPC port.")
    metrics_port: Port | None = Field(
        None,
        description="If set, Prometheus's own endpoint listens here too. `GET /metrics` on the REST"
        " port works without it.",
    )
    module_id: str = Field(
        "ailb-1",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="This instance's name in status, metrics and logs.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Log lines below this level are dropped. SIGUSR1 switches to `debug` and back.",
    )
    log_format: Literal["auto", "json", "text"] | None = Field(
        None,
        description="`auto` is text for a terminal, else JSON. Default: `auto` for `ailb serve`,"
        " `text` for every other command.",
    )
    ailb_config: Path | None = Field(
        None,
        description="YAML file for what an environment cannot say: see [the file](#the-yaml-file).",
    )
    ailb_data_dir: Path | None = Field(
        None,
        description="Where `ailb up` keeps its Postgres, and the journal of usage is. Default:"
        " `~/.local/share/ailb`.",
    )

    require_api_key: bool | None = Field(
        None,
        description="Whether callers need an API key. Default: true; with `ailb up` only if `HOST`"
        " is not a loopback address.",
    )
    allow_unauthenticated: bool = Field(
        default=False,
        description="Says out loud that `REQUIRE_API_KEY=false` is meant on a `HOST` that others"
        " reach: else such a start is refused.",
    )
    admin_api_key: SecretStr | None = Field(
        None,
        description="A key with the role admin that is stored nowhere, at least 24 characters: to"
        " make the first keys, and for when Postgres is away.",
    )
    key_pepper: SecretStr | None = Field(
        None,
        description="Secret of the digests that stand for keys in Postgres, at least 24 characters,"
        " the same on every instance. Default: one that the first start makes and keeps in"
        " Postgres. Once there are keys it cannot be changed.",
    )
    key_cache_ttl_s: Seconds = Field(
        10,
        description="How long a key is used without asking Postgres. Changes are announced at once;"
        " this is for an announcement that is lost.",
    )
    key_outage_ttl_s: Seconds = Field(3600, description="How long while Postgres does not answer.")
    metrics_without_key: bool = Field(
        default=False,
        description="`GET /metrics` on the REST port and its RPC need no key. Else they need one"
        " with the role admin; `METRICS_PORT` never asks for one.",
    )

    limit_burst_s: Annotated[float, Field(ge=1, le=3600)] = Field(
        60,
        description="How many seconds' worth of a key's, tenant's or provider's requests or tokens"
        " a minute may come at once, after a pause. 60, as OpenAI has it: a minute's.",
    )
    limits_outage: Literal["allow", "deny"] = Field(
        "allow",
        description="What happens to requests of keys with limits or budgets while Postgres is away"
        " and what this instance holds of them is used up: `allow` lets them in and counts them in"
        " a metric, `deny` refuses them with 503.",
    )
    unknown_price: UnknownPriceSetting = Field(
        "allow",
        description="Requests of keys with budgets to a model without a price: `allow` counts them"
        " as free, and in a metric; `deny` refuses them; a number is their price in micro-dollars"
        " for a million tokens.",
    )

    openai_api_key: SecretStr | None = Field(
        None, description="Credential of the provider `openai`."
    )
    openai_base_url: BaseUrl | None = Field(
        None,
        description="Base URL of the provider `openai`: any server of OpenAI's format. Default, if"
        " a key is set: `https://api.openai.com/v1`.",
    )
    openai_models: Names = Field(
        (),
        description="Its models, separated by commas. Default: those that its `GET /models` lists.",
    )
    anthropic_api_key: SecretStr | None = Field(
        None, description="Credential of the provider `anthropic`."
    )
    anthropic_base_url: BaseUrl | None = Field(
        None,
        description="Base URL of the provider `anthropic`: any server of Anthropic's Messages API,"
        " without or with `/v1`. Default, if a key is set: `https://api.anthropic.com`.",
    )
    anthropic_models: Names = Field(
        (),
        description="Its models, separated by commas. Default: those that its `GET /v1/models`"
        " lists.",
    )
    ollama_base_url: BaseUrl | None = Field(
        None,
        description="Base URL of the provider `ollama`, spoken to by its native API, such as"
        " `http://localhost:11434`: without `/v1`.",
    )
    ollama_models: Names = Field(
        (),
        description="Its models, separated by commas. Default: those that it has now. A path, which"
        " Ollama itself takes under this name, says nothing here.",
    )
    ollama_num_ctx: ContextTokens = Field(
        8192,
        description="Context in tokens that Ollama is told to hold, because it cuts longer prompts"
        " silently. A provider's `num_ctx` in the YAML file and a request's field `num_ctx` win.",
    )
    demo_provider: bool = Field(
        default=False,
        description="Starts the built-in demo provider, deterministic and offline. `ailb up` starts"
        " it by itself when no other provider is configured.",
    )

    routing_strategy: Strategy = Field(
        "load_balanced",
        description="How a target is chosen among those that serve a model. An alias may have its"
        " own, a request asks for another by the header `x-ailb-routing-strategy`.",
    )
    hedge_after_s: Seconds | None = Field(
        None,
        description="If set, a second target is asked too when the first one's answer has not begun"
        " by then; the slower is cancelled. Costs tokens twice. A target that is overtaken again"
        " and again is left out for a while, as one that fails.",
    )
    rate_limit_wait_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        30,
        description="How long a request waits for a provider's rate limit when no other target is"
        " left; 0 refuses it at once.",
    )
    rate_limit_queue: Annotated[int, Field(ge=1, le=100_000)] = Field(
        100,
        description="How many requests wait so at once; beyond it they are refused with 503.",
    )
    list_prices: bool = Field(
        default=True,
        description="Vendors' list prices for models without a price in the file. Not for providers"
        " at private addresses, and offline: as old as the package `genai-prices`.",
    )
    connect_timeout_s: Seconds = Field(5, description="Until a provider accepts the connection.")
    first_token_timeout_s: Seconds = Field(
        120,
        description="Until a provider's answer begins; for a whole answer, until it is there. Over"
        " REST, Envoy waits for either 600 s at most.",
    )
    between_tokens_timeout_s: Seconds = Field(
        120, description="The longest pause within a provider's stream."
    )
    total_timeout_s: Seconds = Field(600, description="The longest that an answer may take.")
    upstream_pool_size: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1000,
        description="Connections to one provider, at least `MAX_CONCURRENT_REQUESTS`.",
    )
    provider_refresh_s: Seconds = Field(
        60, description="How often providers are asked for their models, which shows their health."
    )

    max_concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1000,
        description="Calls that run at once; beyond it they are refused with 503. More than 1,000"
        " need a larger `UPSTREAM_POOL_SIZE` too.",
    )
    drain_timeout_s: Seconds = Field(
        30, description="How long running calls may take to end after SIGTERM."
    )
    drain_delay_s: Annotated[float, Field(ge=0, le=600)] = Field(
        0,
        description="How long after SIGTERM, before that, new calls are still taken, while health"
        " says NOT_SERVING: so that load balancers notice. Instances of `ailb up` have 1.",
    )

    database_url: SecretStr | None = Field(
        None,
        description="Postgres with pgvector. Needed by `ailb serve` and `ailb migrate`; `ailb up`"
        " brings its own.",
    )
    database_pool_size: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="Connections to Postgres, beside one for announcements."
    )
    database_connect_timeout_s: Seconds = Field(
        30, description="How long a start waits for Postgres before it gives up."
    )

    usage_journal_dir: Path | None = Field(
        None,
        description="Directory, on this machine's disk, where rows of the usage ledger wait until"
        " Postgres has them. Instances may share it. Default: `usage` in `AILB_DATA_DIR`.",
    )
    usage_journal_max_mb: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        512,
        description="MiB that may wait there, for about 2,000 requests each. Further rows are lost,"
        " which the log and `ailb_usage_lost_rows_total` tell.",
    )
    usage_retention_months: Annotated[int, Field(ge=0, le=1200)] = Field(
        25,
        description="How many whole months of the usage ledger stay, before the running one. Older"
        " ones are dropped; 0 keeps all.",
    )
    audit_retention_months: Annotated[int, Field(ge=0, le=1200)] = Field(
        13, description="The same of the audit log."
    )

    enable_memory: bool = Field(
        default=True,
        description="Conversation memory: requests with a `session_id` (or the header"
        " `X-Session-ID`) recall what the session said before. If off, the field is ignored and"
        " named in `x-ailb-ignored-params`.",
    )
    memory_recent_tokens: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        2000, description="About how many tokens of a session's last turns a request is given."
    )
    memory_similar_turns: Annotated[int, Field(ge=0, le=50)] = Field(
        5, description="At most so many older turns that resemble the request; 0: none."
    )
    memory_min_similarity: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.35, description="How similar those must be: cosine."
    )
    memory_ttl_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        90,
        description="A session without a new turn for so long is removed.",
        json_schema_extra={"unit": "days"},
    )
    enable_rag: bool = Field(
        default=True,
        description="Knowledge (RAG): requests with a `rag_collection` are given passages of it. If"
        " off, such a request is refused.",
    )
    rag_cache_size: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        10_000, description="Results of retrieval kept in memory, for an hour at most; 0: none."
    )
    memory_backend: Literal["pgvector"] = Field(
        "pgvector", description="Where conversations are kept. Only `pgvector`."
    )
    rag_backend: Literal["pgvector"] = Field(
        "pgvector", description="Where knowledge is kept. Only `pgvector`."
    )
    embedding_backend: Literal["local", "provider", "none"] = Field(
        "local",
        description="Who turns texts into vectors for memory and knowledge: `local`, a process of"
        " its own (needs `ailb-server[embed]`); `provider`, a configured provider's model; `none`:"
        " memory then works by recency and words, knowledge by words.",
    )
    embedding_model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        min_length=1,
        max_length=512,
        description="`local`: a sentence-transformers model by its name at the hub, fetched once,"
        " or a directory. `provider`: a model as callers name it, such as"
        " `openai/text-embedding-3-small`.",
    )
    embedding_model_revision: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{40}$",
        description="The hub's commit to fetch. Default: a pinned one for the default model, else"
        " the newest.",
    )
    embedding_runtime: Literal["auto", "onnx", "torch"] = Field(
        "auto",
        description="What runs a local model: `onnx` (small and quick), or `torch` by the package"
        " sentence-transformers. `auto`: the first that is installed and has the model's files.",
    )
    embedding_timeout_s: Seconds = Field(
        5, description="How long a chat waits for its query's vector before it goes on without."
    )

    @field_validator("openai_models", "anthropic_models", "ollama_models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("ollama_models")
    @classmethod
    def _no_directory(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Ollama's own OLLAMA_MODELS is the directory of its models; both may share an environment.
        return tuple(name for name in value if not _PATH.match(name))

    @field_validator("ollama_base_url")
    @classmethod
    def _root(cls, value: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if value and (value.path or "").rstrip("/").endswith(("/v1", "/api")):
            raise ValueError("is Ollama's own address: without /v1 or /api")
        return value

    @field_validator("openai_api_key", "anthropic_api_key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        key = header_value(value.get_secret_value()) if value else ""
        return SecretStr(key) if key else None

    @field_validator("admin_api_key", "key_pepper")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        secret = header_value(value.get_secret_value()) if value else ""
        if secret and len(secret) < MIN_SECRET:
            raise ValueError(f"must have at least {MIN_SECRET} characters: openssl rand -hex 32")
        return SecretStr(secret) if secret else None

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        url = value.get_secret_value().strip() if value else ""
        # Not pydantic's PostgresDsn: that refuses a socket's directory as `?host=`.
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return SecretStr(url) if url else None

    @field_validator("memory_backend", "rag_backend", mode="before")
    @classmethod
    def _backend(cls, value: object) -> object:
        if value != "pgvector":
            raise ValueError("only pgvector is supported: set it to `pgvector` or remove it")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = []
        if self.connect_timeout_s > self.total_timeout_s:
            faults.append("CONNECT_TIMEOUT_S: must not exceed TOTAL_TIMEOUT_S")
        # Else a call would wait for a connection of our own, and the provider be blamed for it.
        if self.upstream_pool_size < self.max_concurrent_requests:
            faults.append("UPSTREAM_POOL_SIZE: must not be less than MAX_CONCURRENT_REQUESTS")
        ports = [self.http_port, self.grpc_port, self.metrics_port]
        chosen = [port for port in ports if port is not None]
        if len(set(chosen)) < len(chosen):
            faults.append("HTTP_PORT, GRPC_PORT, METRICS_PORT: must differ from each other")
        if self.require_api_key is False and not (
            self.allow_unauthenticated or is_loopback(self.host)
        ):
            faults.append(
                f"REQUIRE_API_KEY: is false, and HOST={self.host} lets others spend the providers'"
                " money. If that is meant, set ALLOW_UNAUTHENTICATED=true"
            )
        if self.require_api_key is False and ANY_ORIGIN in self.cors_allowed_origins:
            faults.append(
                "CORS_ALLOWED_ORIGINS: `*` with REQUIRE_API_KEY=false lets every web page that"
                " somebody here opens use AILB: name the origins"
            )
        if faults:
            raise ValueError("\n".join(faults))
        return self
