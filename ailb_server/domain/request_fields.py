"""Checked reads of a request, for those who must understand all of it. Pure."""

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError


def refused(param: str, why: str) -> InvalidRequestError:
    """The error for a field that the provider cannot take; `why` ends the sentence."""
    return InvalidRequestError(f"`{param}` {why}.", param=param)


def text_at(value: Json, param: str) -> str:
    """A string, or InvalidRequestError."""
    if not isinstance(value, str):
        raise refused(param, "must be a string")
    return value


def name_at(value: Json, param: str) -> str:
    """A string that is not empty, or InvalidRequestError."""
    if not isinstance(value, str) or not value:
        raise refused(param, "must be a string and is required")
    return value


def object_at(value: Json, param: str) -> JsonObject:
    """An object, or InvalidRequestError."""
    if not isinstance(value, dict):
        raise refused(param, "must be an object")
    return value


def objects_at(value: Json, param: str) -> list[tuple[JsonObject, str]]:
    """An array's objects, each with its own path; none for null. Raises InvalidRequestError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise refused(param, "must be an array")
    paths = [f"{param}[{index}]" for index in range(len(value))]
    return [(object_at(item, path), path) for item, path in zip(value, paths, strict=True)]
