"""Reads pydantic's JSON schema into the words of a table."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_KINDS = {
    "boolean": "`true`, `false`",
    "object": "a mapping",
    "path": "path",
    "password": "secret",
    "uri": "URL",
}


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def takes(field: Schema) -> str:
    """What values a field takes, such as `1 to 65535`."""
    return ", ".join(_takes(option) for option in _options(field))


def _takes(field: Schema) -> str:
    if "enum" in field or "const" in field:
        return ", ".join(f"`{option}`" for option in field.get("enum", [field.get("const")]))
    match field["type"]:
        case "integer" | "number":
            return _number(field)
        case "array":
            return "a list" if "$ref" in field["items"] else "names"
        case kind:
            return _KINDS.get(field.get("format", kind), "text")


def default(field: Schema) -> str:
    """The default as it would be written; empty if there is none."""
    found = field.get("default")
    if found is None or found in ([], ""):
        return ""
    if isinstance(found, list):
        return ",".join(map(str, found))
    return str(found).lower() if isinstance(found, bool) else str(found)


def value(field: Schema) -> Schema:
    """The field without `or null`."""
    return _options(field)[0]


def _options(field: Schema) -> Sequence[Schema]:
    own = {name: told for name, told in field.items() if name == "unit"}
    options: list[Schema] = field.get("anyOf", [field])
    return [{**option, **own} for option in options if option.get("type") != "null"]


def _number(field: Schema) -> str:
    top = f"{field['maximum']:,.0f}"
    if "exclusiveMinimum" in field:
        return f"{field.get('unit', 'seconds')}, to {top}"
    return f"{field['minimum']:,} to {top}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
