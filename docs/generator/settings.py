"""The regions of `docs/configuration.md`, from the fields of Settings and of the YAML file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from ailb_server.settings import Settings
from ailb_server.settings.providers import (
    AliasSettings,
    CapabilitySettings,
    FileSettings,
    PriceSettings,
    ProviderSettings,
)
from docs.generator.schema import Schema, default, table, takes

# The first field of each section, in the order of the document.
_SECTIONS = {
    "access_log_sample": "Access log and traces",
    "host": "Addresses, names, logs",
    "require_api_key": "Callers and their keys",
    "tls_cert_file": "TLS, browsers, load balancers, signatures",
    "nlb_address": "MarchProxy's load balancer",
    "limit_burst_s": "Limits and budgets",
    "openai_api_key": "Providers",
    "routing_strategy": "Routing and time limits",
    "max_concurrent_requests": "Load and ending",
    "database_url": "Postgres",
    "usage_journal_dir": "Usage",
    "enable_memory": "Memory and knowledge",
    "response_cache_max_mb": "Answers given again",
}


def sections() -> Iterator[tuple[str, list[tuple[str, Schema]]]]:
    """The sections in order: a title, and each variable with its schema."""
    fields: dict[str, Schema] = Settings.model_json_schema()["properties"]
    if missing := _SECTIONS.keys() - fields.keys():
        raise ValueError(f"sections begin with fields that do not exist: {missing}")
    found: dict[str, list[tuple[str, Schema]]] = {}
    first = ""
    for name, schema in fields.items():
        first = name if name in _SECTIONS else first
        found.setdefault(first, []).append((name.upper(), schema))
    for first, title in _SECTIONS.items():
        yield title, found[first]


def regions(docs: Path) -> Mapping[str, str]:
    """The tables, and the example file."""
    example = (docs / "ailb.example.yaml").read_text(encoding="utf-8")
    return {
        "settings": "\n\n".join(_section(title, rows) for title, rows in sections()),
        "file": _file(),
        "example": f"```yaml\n{example.strip()}\n```",
    }


def _section(title: str, rows: list[tuple[str, Schema]]) -> str:
    head = ("Variable", "Takes", "Default", "Meaning")
    cells = [(f"`{name}`", takes(s), _code(default(s)), s["description"]) for name, s in rows]
    return f"### {title}\n\n{table(head, cells)}"


def _file() -> str:
    parts = (
        ("At the top", FileSettings),
        ("A provider", ProviderSettings),
        ("A price, in dollars for a million tokens", PriceSettings),
        ("Capabilities of a model", CapabilitySettings),
        ("An alias with rules of its own", AliasSettings),
    )
    return "\n\n".join(f"{title}:\n\n{_fields(model)}" for title, model in parts)


def _fields(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    needed = schema.get("required", ())
    hidden = {name for name, field in model.model_fields.items() if field.exclude}
    rows = [
        (
            f"`{name}`",
            takes(field),
            "needed" if name in needed else _code(default(field)),
            field.get("description", ""),
        )
        for name, field in schema["properties"].items()
        if name not in hidden
    ]
    return table(("Field", "Takes", "Default", "Meaning"), rows)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
