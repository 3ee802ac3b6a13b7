"""Reads of a provider's JSON that may be of any type: what does not fit is as if it were absent."""

from collections.abc import Collection

from ailb_server.domain.chat import Json, JsonObject

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


def text(value: Json) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def whole(value: Json, limit: int = MAX_INT32) -> int:
    """A number as an integer from 0 to `limit`; 0 for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return max(0, min(int(value), limit))


def objects(value: Json) -> list[JsonObject]:
    """The objects of an array, in order."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def members(value: Json) -> JsonObject:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def further(fields: JsonObject, known: Collection[str]) -> JsonObject:
    """The members that are not `known`, without those that tell nothing."""
    return {
        name: value
        for name, value in fields.items()
        if name not in known and value is not None and value not in ([], {})
    }
