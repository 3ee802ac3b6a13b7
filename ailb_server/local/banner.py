"""What `ailb up` says once it is ready."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from ailb_server.app import DEMO_OWNER, VERSION
from ailb_server.local.addresses import authority, called_host
from ailb_server.settings import ProviderSettings, Settings

_MODELS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, and where. `admin_secret` is that of a key that was made by this start,
    `instances` are names and gRPC ports of gateways in processes of their own."""

    settings: Settings
    providers: tuple[ProviderSettings, ...]
    models: tuple[str, ...]
    database_url: str
    data_dir: Path
    admin_secret: str | None = field(default=None, repr=False)
    instances: tuple[tuple[str, int], ...] = ()

    def banner(self) -> str:
        """A few lines for people: addresses, providers, and the line to try."""
        settings = self.settings
        host = called_host(settings.host)
        scheme = "http" if settings.envoy_tls_cert_file is None else "https"
        rest = f"{scheme}://{authority(host, settings.http_port)}"
        grpc = "ailb.v1, with reflection"
        if settings.tls_cert_file is not None:
            grpc += ", by TLS"
        rows = [
            ("REST", f"{rest}/v1", "OpenAI's API, through Envoy; also /healthz, /metrics"),
            ("Dashboard", f"{rest}/dashboard", "figures, and a playground, in a browser"),
            *self._grpc_rows(host, grpc),
            ("Postgres", self.database_url, ""),
            ("Data", str(self.data_dir), ""),
            *(self._provider_row(provider) for provider in self.providers),
            ("Models", self._models(), ""),
        ]
        width = max(len(value) for _, value, note in rows if note)
        table = "\n".join(
            f"  {name:<9} {value:<{width}}  {note}".rstrip() for name, value, note in rows
        )
        return (
            f"\nAILB {VERSION} is up. Ctrl-C stops everything."
            f"\n{self._keys()}\n\n{table}\n\n"
            f"Try it:\n\n{self._curl(rest)}\n"
        )

    def _grpc_rows(self, host: str, note: str) -> list[tuple[str, str, str]]:
        if not self.instances:
            return [("gRPC", authority(host, self.settings.grpc_port), note)]
        return [
            ("" if number else "gRPC", authority(host, port), name if number else f"{name}: {note}")
            for number, (name, port) in enumerate(self.instances)
        ]

    def _keys(self) -> str:
        settings = self.settings
        if not settings.require_api_key:
            return (
                f"No key is asked for: whoever reaches {settings.host} may use it."
                " REQUIRE_API_KEY=true asks for one."
            )
        if self.admin_secret is None:
            return "API keys are asked for; below, AILB_API_KEY is one. `ailb keys` makes them."
        return (
            "API keys are asked for. Here is the first, with the role admin, shown only now:\n\n"
            f"  export AILB_API_KEY={self.admin_secret}"
        )

    def _provider_row(self, provider: ProviderSettings) -> tuple[str, str, str]:
        if provider.owned_by == DEMO_OWNER:
            return (
                "Provider",
                f"{provider.name} (DEMO)",
                "invented answers, offline. For real ones set OPENAI_API_KEY or OPENAI_BASE_URL",
            )
        return "Provider", f"{provider.name}  {provider.base_url}", ""

    def _models(self) -> str:
        if not self.models:
            return "none yet: the provider lists none or cannot be reached"
        more = len(self.models) - _MODELS_SHOWN
        return ", ".join(self.models[:_MODELS_SHOWN]) + (f" and {more} more" if more > 0 else "")

    def _curl(self, rest: str) -> str:
        body = {
            "model": self.models[0] if self.models else "MODEL",
            "messages": [{"role": "user", "content": "Say hello!"}],
        }
        key = '-H "authorization: Bearer $AILB_API_KEY" ' if self.settings.require_api_key else ""
        return (
            f"  curl {rest}/v1/chat/completions {key}-H 'content-type: application/json' \\\n"
            f"    -d '{json.dumps(body)}'\n"
        )
