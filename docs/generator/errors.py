"""The regions of `docs/errors.md`, from the error table, the proto and Envoy's configuration."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ailb_server.api.errors import TABLE
from ailb_server.domain.errors import AilbError, Reason, UpstreamError
from docs.generator.schema import table

_VALUE = re.compile(r"(?P<comment>(?: +//.*\n)+) +ERROR_REASON_(?P<name>\w+) = [1-9]")
_PROTO = Path("proto/ailb/v1/error_reason.proto")
# Whose fault it is where the status does not tell.
_FAULT = {
    Reason.UPSTREAM_REJECTED: "caller",
    Reason.UPSTREAM_MISCONFIGURED: "operator",
    Reason.STORAGE_UNAVAILABLE: "operator",
    Reason.OVERLOADED: "load",
    Reason.INTERNAL_ERROR: "AILB",
}
# Response flags of Envoy's, and the status that it answers with.
_FLAGGED = {"UO": 503, "OM": 503}


def regions(root: Path) -> Mapping[str, str]:
    """The two tables."""
    return {"reasons": _reasons(root), "envoy": _envoy(root)}


def comments(root: Path) -> Mapping[str, str]:
    """What the proto says of each reason, by its name without the prefix."""
    text = (root / _PROTO).read_text(encoding="utf-8")
    return {
        match["name"]: " ".join(line.strip(" /") for line in match["comment"].splitlines())
        for match in _VALUE.finditer(text)
    }


def _reasons(root: Path) -> str:
    head = ("Reason", "When", "gRPC", "HTTP", "OpenAI `type` / `code`", "Fault of", "Next target?")
    told = comments(root)
    kinds = dict(_kinds(AilbError))
    rows = []
    for reason, row in TABLE.items():
        when = told[reason.value].partition(". ")[0]
        theirs = reason is Reason.UPSTREAM_REJECTED
        http = "the provider's" if theirs else str(row.http)
        code = f"`{row.type}` / `{row.code}`" if row.code else f"`{row.type}` / null"
        openai = "the provider's body" if theirs else code
        next_target = _next_target(kinds[reason])
        name = f"`{reason.value}`"
        rows.append((name, when, row.grpc.name, http, openai, _fault(reason), next_target))
    return table(head, rows)


def _kinds(kind: type[AilbError]) -> Iterator[tuple[Reason, type[AilbError]]]:
    for sub in kind.__subclasses__():
        if "reason" in vars(sub):
            yield sub.reason, sub
        yield from _kinds(sub)


def _fault(reason: Reason) -> str:
    if reason in _FAULT:
        return _FAULT[reason]
    return "provider" if reason.value.startswith("UPSTREAM_") else "caller"


def _next_target(kind: type[AilbError]) -> str:
    if not issubclass(kind, UpstreamError):
        return ""
    return "yes" if kind.failover else "no"


def _envoy(root: Path) -> str:
    seen = dict.fromkeys(_envoy_rows(root))
    return table(("HTTP", "OpenAI `type` / `code`", "Message"), list(seen))


def _envoy_rows(root: Path) -> Iterator[tuple[str, str, str]]:
    config = yaml.safe_load((root / "envoy" / "envoy.yaml").read_text(encoding="utf-8"))
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    replies = manager["local_reply_config"]
    for mapper in replies["mappers"]:
        body = mapper.get("body_format_override")
        # Those of Anthropic's shape have a type at the top, and a page of their own.
        if body and "type" not in body["json_format"]:
            yield _envoy_row(_status(mapper), body)
    yield _envoy_row("any other", replies["body_format"])


def _envoy_row(status: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
    error = body["json_format"]["error"]
    code = f"`{error['code']}`" if error["code"] else "null"
    message = re.sub(r"%.*?%", "…", error["message"])
    return status, f"`{error['type']}` / {code}", message


def _status(mapper: Mapping[str, Any]) -> str:
    if "status_code" in mapper:
        return str(mapper["status_code"])
    match mapper["filter"]:
        case {"response_flag_filter": {"flags": flags}}:
            return ", ".join(sorted({str(_FLAGGED[flag]) for flag in flags}))
        case {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}:
            return str(value["default_value"])
        case {"status_code_filter": {"comparison": {"op": "LE"}}}:
            return "other 4xx"
        case found:
            raise ValueError(f"docs/generator/errors.py does not know the filter {found}")
