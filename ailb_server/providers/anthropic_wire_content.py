"""OpenAI's content parts as Anthropic's content blocks. Pure.

Source: anthropic 2.11 `types/*_block_param.py`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.request_fields import (
    name_at,
    object_at,
    objects_at,
    refused,
    text_at,
    unable,
    unheeded,
)

USER_PARTS = frozenset({"text", "image_url", "file"})
ASSISTANT_PARTS = frozenset({"text", "refusal"})
RESULT_PARTS = frozenset({"text", "image_url"})
TEXT_PARTS = frozenset({"text"})

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_WHERE = "messages.content"

_Block: TypeAlias = Callable[[JsonObject, str, set[str]], JsonObject]


def text_blocks(text: str) -> list[JsonObject]:
    """One text block, or none: the API refuses texts of nothing but white space."""
    return [{"type": "text", "text": text}] if text.strip() else []


def blocks(content: Json, param: str, parts: frozenset[str], ignored: set[str]) -> list[JsonObject]:
    """A message's `content` as blocks, of the kinds of `parts` only.

    `cache_control` stays on its part. What a part asks for in vain is added to `ignored`. Raises
    InvalidRequestError.
    """
    if isinstance(content, str):
        return text_blocks(content)
    found: list[JsonObject] = []
    for part, path in objects_at(content, param):
        kind = text_at(part.get("type"), f"{path}.type")
        if kind not in parts:
            raise unable(f"{path}.type", "is not a kind of content that this provider takes here")
        block = _BLOCKS[kind](part, path, ignored)
        ignored |= unheeded(part, {"type", kind, "cache_control"}, _WHERE)
        if block.get("text", "x").strip():
            found.append(_cached(block, part))
    return found


def compact(found: list[JsonObject]) -> Json:
    """The blocks, or the bare string if they are one plain text."""
    if len(found) == 1 and found[0].keys() == {"type", "text"} and found[0]["type"] == "text":
        return found[0]["text"]
    return found


def _cached(block: JsonObject, part: JsonObject) -> JsonObject:
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _text(part: JsonObject, path: str, _: set[str]) -> JsonObject:
    return {"type": "text", "text": text_at(part.get("text"), f"{path}.text")}


def _refusal(part: JsonObject, path: str, _: set[str]) -> JsonObject:
    return {"type": "text", "text": text_at(part.get("refusal"), f"{path}.refusal")}


def _image(part: JsonObject, path: str, ignored: set[str]) -> JsonObject:
    image = object_at(part.get("image_url"), f"{path}.image_url")
    param = f"{path}.image_url.url"
    url = name_at(image.get("url"), param)
    known = {"url", "detail"} if image.get("detail") == "auto" else {"url"}
    ignored |= unheeded(image, known, f"{_WHERE}.image_url")
    if url[:5].lower() == "data:":
        media_type, data = _data_url(url, param)
        media_type = "image/jpeg" if media_type == "image/jpg" else media_type
        if media_type not in _IMAGE_TYPES:
            raise unable(param, "must be a JPEG, PNG, GIF or WebP image for this provider")
        source = {"type": "base64", "media_type": media_type, "data": data}
    elif url[:8].lower().startswith(("http://", "https://")):
        source = {"type": "url", "url": url}
    else:
        raise unable(param, "must be an http, https or data URL for this provider")
    return {"type": "image", "source": source}


def _file(part: JsonObject, path: str, ignored: set[str]) -> JsonObject:
    file = object_at(part.get("file"), f"{path}.file")
    source = "file_id" if file.get("file_id") is not None else "file_data"
    ignored |= unheeded(file, {source, "filename"}, f"{_WHERE}.file")
    param = f"{path}.file.file_data"
    block: JsonObject = {"type": "document"}
    if source == "file_id":
        file_id = text_at(file["file_id"], f"{path}.file.file_id")
        block["source"] = {"type": "file", "file_id": file_id}
    else:
        media_type, data = _data_url(text_at(file.get("file_data"), param), param)
        if media_type != _PDF:
            raise unable(param, "must be a PDF as a data URL for this provider")
        block["source"] = {"type": "base64", "media_type": _PDF, "data": data}
    if file.get("filename") is not None:
        block["title"] = text_at(file["filename"], f"{path}.file.filename")
    return block


def _data_url(url: str, param: str) -> tuple[str, str]:
    """Media type, in small letters, and the base64 text, which is not looked at (RFC 2397)."""
    head, _, data = url.partition(",")
    scheme, _, rest = head.partition(":")
    media_type, *parameters = rest.lower().split(";")
    if scheme.lower() != "data" or "base64" not in parameters or not data:
        raise refused(param, "must be a data URL with base64 data")
    return media_type.strip(), data


_BLOCKS: Mapping[str, _Block] = MappingProxyType(
    {"text": _text, "refusal": _refusal, "image_url": _image, "file": _file}
)
