"""Checked reads of a request, for those who must understand all of it. Pure."""

from collections.abc import Set

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError, UntranslatableError

_OFF_BY_DEFAULT = frozenset({"include_usage", "logprobs", "store", "stream", "strict"})


def refused(param: str, why: str) -> InvalidRequestError:
    """The error for a field that is wrong wherever it goes; `why` ends the sentence."""
    return InvalidRequestError(f"`{param}` {why}.", param=param)


def unable(param: str, why: str) -> UntranslatableError:
    """The error for a field that this provider cannot take, and another may; as `refused`."""
    return UntranslatableError(f"`{param}` {why}.", param=param)


def asks(name: str, value: Json) -> bool:
    """Whether a parameter's value asks for anything, so that leaving it out must be told.

    `false` does, unless it is known to be the default: what it turns off may be on.
    """
    return not (value is None or value in ({}, []) or (value is False and name in _OFF_BY_DEFAULT))


def unheeded(members: JsonObject, known: Set[str], where: str) -> set[str]:
    """The paths of the members that ask for something and are not `known`."""
    return {f"{where}.{name}" for name in members.keys() - known if asks(name, members[name])}


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
