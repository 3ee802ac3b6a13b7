"""Embeddings without a model: hashed bags of words, so that similar texts lie close together."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from array import array
from collections.abc import Sequence
from typing import Final

import orjson

from ailb_server.demo.answer import Asked
from ailb_server.demo.errors import ApiError, missing, wrong_type
from ailb_server.demo.prompt import count_tokens

DIMENSIONS: Final = 1536
_MAX_DIMENSIONS: Final = 4096
_MAX_INPUTS: Final = 2048
_WORD: Final = re.compile(r"\w+")


def embeddings_body(asked: Asked) -> bytes:
    """The answer of POST /v1/embeddings: unit vectors, as floats or as base64 of
    little-endian float32 (`encoding_format`)."""
    fields = asked.fields
    inputs = _inputs(fields.get("input"))
    width = _width(fields.get("dimensions"))
    encoded = _encoding(fields.get("encoding_format"))
    tokens = sum(count_tokens(text) for text in inputs)
    data = [
        {"object": "embedding", "index": index, "embedding": _render(text, width, as_text=encoded)}
        for index, text in enumerate(inputs)
    ]
    usage = {"prompt_tokens": asked.how.usage.get("prompt_tokens", tokens)}
    return orjson.dumps(
        {
            "object": "list",
            "data": data,
            "model": asked.model,
            "usage": usage | {"total_tokens": usage["prompt_tokens"]},
        }
    )


def vector(text: object, width: int) -> array[float]:
    """A unit vector of float32: each word adds ±1 at four hashed places."""
    sums = [0.0] * width
    for word in _words(text):
        digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=16).digest()
        for start in range(0, 16, 4):
            number = int.from_bytes(digest[start : start + 4], "little")
            sums[(number >> 1) % width] += 1.0 if number & 1 else -1.0
    length = math.sqrt(sum(x * x for x in sums))
    if length == 0.0:
        sums[0] = length = 1.0
    return array("f", (x / length for x in sums))


def _render(text: object, width: int, *, as_text: bool) -> object:
    numbers = vector(text, width)
    # array("f") is little-endian on every platform this is released for.
    return base64.b64encode(numbers.tobytes()).decode() if as_text else numbers.tolist()


def _words(text: object) -> Sequence[str]:
    if isinstance(text, str):
        return _WORD.findall(text.lower())
    return [str(token) for token in text] if isinstance(text, list) else []


def _inputs(given: object) -> list[object]:
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array", given)
    if not given or len(given) > _MAX_INPUTS:
        message = f"Invalid 'input': expected 1 to {_MAX_INPUTS} items, but got {len(given)}."
        raise ApiError(400, message, param="input", code="invalid_value")
    return [given] if isinstance(given[0], int) else list(given)


def _width(given: object) -> int:
    if given is None:
        return DIMENSIONS
    if isinstance(given, bool) or not isinstance(given, int):
        raise wrong_type("dimensions", "an integer", given)
    if not 1 <= given <= _MAX_DIMENSIONS:
        message = f"Invalid 'dimensions': expected 1 to {_MAX_DIMENSIONS}, but got {given}."
        raise ApiError(400, message, param="dimensions", code="invalid_value")
    return given


def _encoding(given: object) -> bool:
    if given is None or given == "float":
        return False
    if given == "base64":
        return True
    message = "Invalid value for 'encoding_format': supported values are 'float' and 'base64'."
    raise ApiError(400, message, param="encoding_format", code="invalid_value")
