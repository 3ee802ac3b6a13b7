"""What the installed openai package knows of a chat's parameters, and what of that is probed."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from typing_extensions import get_type_hints, is_typeddict

from ailb_server.domain.chat import Json

_ROOTS: tuple[Any, ...] = (CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming)


def parameters() -> set[str]:
    """The names at the top."""
    return {name for root in _ROOTS for name in get_type_hints(root)}


def members() -> set[str]:
    """`module.Type.member` of every type that a chat can hold, however deep."""
    seen: dict[str, Any] = {}
    for root in _ROOTS:
        _collect(root, seen)
    return {f"{name}.{member}" for name, kind in seen.items() for member in get_type_hints(kind)}


def covered(request: Json) -> set[str]:
    """The members that this request holds."""
    return {found for root in _ROOTS for found in _covered(root, request)}


def words() -> set[tuple[str, str]]:
    """Parameters that take words of a list, each with each word."""
    hints = [hint for root in _ROOTS for hint in get_type_hints(root).items()]
    return {
        (name, word)
        for name, hint in hints
        if name != "model"
        for word in _words(hint)
        if isinstance(word, str)
    }


def _collect(hint: Any, seen: dict[str, Any]) -> None:
    if not is_typeddict(hint):
        for argument in _arguments(hint):
            _collect(argument, seen)
    elif _name(hint) not in seen:
        seen[_name(hint)] = hint
        for member in get_type_hints(hint).values():
            _collect(member, seen)


def _covered(hint: Any, value: Json) -> Iterator[str]:
    if is_typeddict(hint):
        if isinstance(value, dict) and _fits(hint, value):
            for member, inner in get_type_hints(hint).items():
                if member in value:
                    yield f"{_name(hint)}.{member}"
                    yield from _covered(inner, value[member])
        return
    values = value if isinstance(value, list) else [value]
    for argument in _arguments(hint):
        for item in values:
            yield from _covered(argument, item)


def _fits(hint: Any, value: dict[str, Json]) -> bool:
    """Required members are there, and those of one word only have it."""
    hints = get_type_hints(hint)
    if hint in _ROOTS:
        return True
    if not hint.__required_keys__ <= value.keys() <= hints.keys() | {"cache_control"}:
        return hint.__required_keys__ <= value.keys() and "role" in value
    return all(
        value[name] in get_args(member)
        for name, member in hints.items()
        if name in value and _is_literal(member)
    )


def _words(hint: Any) -> Iterable[Any]:
    if _is_literal(hint):
        return get_args(hint)
    if is_typeddict(hint):
        return ()
    return [word for argument in _arguments(hint) for word in _words(argument)]


def _arguments(hint: Any) -> tuple[Any, ...]:
    return () if _is_literal(hint) else get_args(hint)


def _is_literal(hint: Any) -> bool:
    origin: object = get_origin(hint)
    return origin is Literal


def _name(hint: Any) -> str:
    return f"{hint.__module__.rpartition('.')[2]}.{hint.__name__}"
