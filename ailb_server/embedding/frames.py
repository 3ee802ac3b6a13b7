"""What the gateway and its embedding worker say to each other.

A frame is the payload's length (uint32), the request's id (uint32), its kind (uint8), all
little-endian, and the payload. One request is one text.
"""

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import orjson

from ailb_server.domain.embedding import Vector

MAX_PAYLOAD = 1 << 20

_HEADER = struct.Struct("<IIB")
_TOKENS = struct.Struct("<I")


class FrameError(ValueError):
    """The other side does not speak this protocol."""


class Ask(IntEnum):
    """To the worker. QUERY and BULK carry a text in UTF-8; DROP takes an earlier one back."""

    QUERY = 0
    BULK = 1
    DROP = 2


class Tell(IntEnum):
    """From the worker. VECTOR carries the text's tokens (uint32) and the vector (float32,
    little-endian), REFUSED a few words; every QUERY and BULK gets one of them, also when dropped.
    STATE carries a JSON object, with the id 0."""

    VECTOR = 0
    REFUSED = 1
    STATE = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    id: int
    kind: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A text's vector, and the tokens that it was cut into. The vector is read-only."""

    vector: Vector
    tokens: int


def packed(request: int, kind: int, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    return _HEADER.pack(len(payload), request, kind) + payload


def packed_state(**state: str | int | None) -> bytes:
    """A STATE frame's bytes."""
    return packed(0, Tell.STATE, orjson.dumps(state))


def packed_vector(request: int, embedded: Embedded) -> bytes:
    """A VECTOR frame's bytes."""
    numbers = embedded.vector.astype("<f4", copy=False).tobytes()
    return packed(request, Tell.VECTOR, _TOKENS.pack(embedded.tokens) + numbers)


def vector_of(payload: bytes) -> Embedded:
    """Reads a VECTOR. Raises FrameError."""
    if len(payload) <= _TOKENS.size or len(payload) % _TOKENS.size:
        raise FrameError("a vector of no length")
    (tokens,) = _TOKENS.unpack_from(payload)
    return Embedded(np.frombuffer(payload, dtype="<f4", offset=_TOKENS.size), tokens)


def state_of(payload: bytes) -> dict[str, Any]:
    """Reads a STATE. Raises FrameError."""
    try:
        state = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise FrameError("a state that is not JSON") from error
    if not isinstance(state, dict):
        raise FrameError("a state that is not an object")
    return state


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """None once the other side is gone. Raises FrameError."""
    try:
        length, request, kind = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if length > MAX_PAYLOAD:
            raise FrameError(f"a frame of {length} bytes")
        return Frame(request, kind, await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
