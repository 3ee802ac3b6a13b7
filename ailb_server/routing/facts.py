"""What routing needs to know of a request; each fact is worked out when it is first asked for."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

import orjson

from ailb_server.domain.chat import ChatRequest, Json, JsonObject, Operation, TokenUsage

BYTES_PER_TOKEN = 4
_IMAGE_PARTS = frozenset({"image_url", "image", "input_image"})
# About what providers charge for an image of ordinary size, some pages, a minute of speech.
_PART_TOKENS: Mapping[str, int] = MappingProxyType(
    {**dict.fromkeys(_IMAGE_PARTS, 1000), "file": 3000, "document": 3000, "input_audio": 1000}
)
# The kinds of Anthropic's documents that are text.
_TEXTS = frozenset({"text", "content"})
# Where a part's data is, if not in the member named as its type.
_HOLDERS: Mapping[str, str] = MappingProxyType(
    {"image": "source", "document": "source", "input_image": "image_url"}
)
MAX_OUTPUT_TOKENS = 16_384


T = TypeVar("T")


class _once(Generic[T]):  # noqa: N801 - a decorator
    """As `functools.cached_property`, whose lock takes most of its time until Python 3.12."""

    def __init__(self, work: "Callable[[Any], T]") -> None:
        self._work = work

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, of: None, owner: type) -> "_once[T]": ...
    @overload
    def __get__(self, of: object, owner: type) -> T: ...
    def __get__(self, of: object | None, owner: type) -> "_once[T] | T":
        if of is None:
            return self
        found = of.__dict__[self._name] = self._work(of)
        return found


class RequestFacts:
    """Facts of one request at one time, `now` in seconds of a monotonic clock.

    Tokens are estimated from lengths alone: no text and no image is ever read for it.
    """

    def __init__(self, request: ChatRequest, now: float) -> None:
        self._request = request
        self.now = now
        self.stream = request.stream

    @_once
    def prompt_tokens(self) -> int:
        """A quarter of the body's bytes, where images, files and sounds count by number."""
        data = sum(_data_length(part) for part in self._parts)
        flat = sum(_PART_TOKENS[part["type"]] for part in self._parts)
        return max(1, (len(self._request.body) - data) // BYTES_PER_TOKEN) + flat

    def usage_of(self, events: int) -> TokenUsage:
        """About what an answer takes of which so many events were seen, about one token each."""
        return TokenUsage(self.prompt_tokens, min(events, self.max_output_tokens))

    @_once
    def max_output_tokens(self) -> int:
        """What the caller allows, all choices together, at most MAX_OUTPUT_TOKENS for each.

        An embedding has no output in tokens: 0.
        """
        if self._request.operation is Operation.EMBEDDING:
            return 0
        fields = self._request.fields
        told = _positive(fields.get("max_completion_tokens")) or _positive(fields.get("max_tokens"))
        return min(told or MAX_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS) * self.choices

    @_once
    def choices(self) -> int:
        """How many answers are asked for."""
        return _positive(self._request.fields.get("n")) or 1

    @_once
    def needs(self) -> tuple[str, ...]:
        """The names of the capabilities (fields of `Capabilities`) that a target must have."""
        fields = self._request.fields
        form = fields.get("response_format")
        schema = isinstance(form, dict) and form.get("type") == "json_schema"
        images = any(part["type"] in _IMAGE_PARTS for part in self._parts)
        wanted = {"vision": images, "tools": fields.get("tools"), "json_schema": schema}
        return tuple(name for name, asked in wanted.items() if asked)

    @_once
    def _parts(self) -> list[JsonObject]:
        """The parts of all messages that are more than text."""
        request = self._request
        messages = request.fields.get("messages") or ()
        if request.untranslatable is not None and request.wire == "anthropic":
            messages = orjson.loads(request.body).get("messages")
        found: list[JsonObject] = []
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, dict) and isinstance(message.get("content"), list):
                found.extend(_heavy(message["content"]))
        return found


def _heavy(content: list[Json]) -> list[JsonObject]:
    parts = [part for part in content if isinstance(part, dict)]
    # Anthropic's tool results hold parts again.
    inner = [
        part
        for result in parts
        if result.get("type") == "tool_result" and isinstance(result.get("content"), list)
        for part in result["content"]
        if isinstance(part, dict)
    ]
    return [part for part in (*parts, *inner) if _has_data(part)]


def _has_data(part: JsonObject) -> bool:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _PART_TOKENS:
        return False
    source = part.get("source")
    return not (isinstance(source, dict) and source.get("type") in _TEXTS)


def _data_length(part: JsonObject) -> int:
    """Of a part's data in base64, or its URL: the longest text where its data is to be."""
    inner = part.get(_HOLDERS.get(part["type"], part["type"]))
    values = inner.values() if isinstance(inner, dict) else (inner,)
    return max((len(value) for value in values if isinstance(value, str)), default=0)


def _positive(value: Json) -> int:
    return value if isinstance(value, int) and value > 0 else 0
