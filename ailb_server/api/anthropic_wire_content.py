"""Anthropic's content blocks as OpenAI's content parts. Pure.

Source: anthropic 2.11 `types/*_block_param.py`, `types/*_source_param.py`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.request_fields import name_at, object_at, objects_at, refused, text_at

_PDF = "application/pdf"
# Members that ask for what OpenAI's format has no word for, and that only tune.
_TUNING = ("cache_control", "citations")

_Parts: TypeAlias = Callable[[JsonObject, str], list[JsonObject]]


def text_part(text: str) -> JsonObject:
    """One text part."""
    return {"type": "text", "text": text}


def blocks_of(content: Json, param: str) -> list[tuple[JsonObject, str]]:
    """A content's blocks, each with its path; a string is one text block."""
    if isinstance(content, str):
        return [(text_part(content), param)]
    return objects_at(content, param)


def parts_of(block: JsonObject, path: str, ignored: set[str]) -> list[JsonObject]:
    """A block as parts. What it asks for in vain is added to `ignored`.

    Raises InvalidRequestError for blocks that are only Anthropic's.
    """
    kind = block.get("type")
    translate = _PARTS.get(kind) if isinstance(kind, str) else None
    if translate is None:
        raise refused(f"{path}.type", "is a kind of content that only an Anthropic provider takes")
    ignored.update(name for name in _TUNING if asks(block.get(name)))
    return translate(block, path)


def asks(value: Json) -> bool:
    """Whether an optional member says anything."""
    return not (value is None or value is False or value in ({}, [], {"enabled": False}))


def compact(parts: list[JsonObject]) -> Json:
    """The parts, or the bare string of a single text."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return parts


def _text(block: JsonObject, path: str) -> list[JsonObject]:
    return [text_part(text_at(block.get("text"), f"{path}.text"))]


def _image(block: JsonObject, path: str) -> list[JsonObject]:
    source = object_at(block.get("source"), f"{path}.source")
    match source.get("type"):
        case "base64":
            url = _data_url(source, f"{path}.source")
        case "url":
            url = name_at(source.get("url"), f"{path}.source.url")
        case _:
            raise refused(f"{path}.source.type", "must be `base64` or `url` for this provider")
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: JsonObject, path: str) -> list[JsonObject]:
    source = object_at(block.get("source"), f"{path}.source")
    heads = [block[name] for name in ("title", "context") if block.get(name) is not None]
    head = [text_part(text_at(text, f"{path}.title")) for text in heads]
    match source.get("type"):
        case "base64":
            title = text_at(block.get("title") or "document.pdf", f"{path}.title")
            if source.get("media_type") != _PDF:
                raise refused(f"{path}.source.media_type", f"must be `{_PDF}`")
            file = {"filename": title, "file_data": _data_url(source, f"{path}.source")}
            return [*head, {"type": "file", "file": file}]
        case "text":
            return [*head, text_part(text_at(source.get("data"), f"{path}.source.data"))]
        case "content":
            inner = blocks_of(source.get("content"), f"{path}.source.content")
            found = [part for inside, at in inner for part in _inner(inside, at)]
            return head + found
        case _:
            raise refused(f"{path}.source.type", "is a source that only an Anthropic provider has")


def _inner(block: JsonObject, path: str) -> list[JsonObject]:
    match block.get("type"):
        case "text":
            return _text(block, path)
        case "image":
            return _image(block, path)
        case _:
            raise refused(f"{path}.type", "must be `text` or `image`")


def _search_result(block: JsonObject, path: str) -> list[JsonObject]:
    heads = [name_at(block.get(name), f"{path}.{name}") for name in ("title", "source")]
    inner = blocks_of(block.get("content"), f"{path}.content")
    texts = [text_at(inside.get("text"), f"{at}.text") for inside, at in inner]
    return [text_part("\n".join([*heads, *texts]))]


def _data_url(source: JsonObject, path: str) -> str:
    media_type = name_at(source.get("media_type"), f"{path}.media_type")
    return f"data:{media_type};base64,{name_at(source.get('data'), f'{path}.data')}"


_PARTS: Mapping[str, _Parts] = MappingProxyType(
    {"text": _text, "image": _image, "document": _document, "search_result": _search_result}
)
