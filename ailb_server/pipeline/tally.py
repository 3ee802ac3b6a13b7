"""Gathers the message that a chat's chunks say."""

from collections.abc import Sequence

from ailb_server.domain.chat import ChatChunk, Json, JsonObject
from ailb_server.domain.context import Said
from ailb_server.domain.target import Target

CANCELLED = "cancelled"


class Tally:
    """Of the first choice: the others are alternatives that no conversation goes on with."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, JsonObject] = {}
        self._finish: str | None = None
        self._completion_tokens: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing has been said."""
        return not (self._texts or self._refusals or self._calls or self._finish)

    def add(self, chunk: ChatChunk) -> None:
        """Takes a stream's piece or a whole answer."""
        if chunk.usage is not None:
            self._completion_tokens = chunk.usage.completion
        for event in chunk.events:
            for choice in _objects(event.get("choices")):
                # Not `in {0, None}`: a provider may send what cannot be hashed.
                if choice.get("index") is None or choice["index"] == 0:
                    self._add_choice(choice)

    def said(self, target: Target) -> Said:
        """What was said until now."""
        message: JsonObject = {"role": "assistant", "content": "".join(self._texts)}
        if self._refusals:
            message["refusal"] = "".join(self._refusals)
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return Said(
            message,
            target.provider,
            target.model,
            self._finish or CANCELLED,
            self._completion_tokens,
        )

    def _add_choice(self, choice: JsonObject) -> None:
        said = choice.get("delta") or choice.get("message")
        if isinstance(said, dict):
            for name, texts in (("content", self._texts), ("refusal", self._refusals)):
                if isinstance(text := said.get(name), str) and text:
                    texts.append(text)
            for place, call in enumerate(_objects(said.get("tool_calls"))):
                self._add_call(place, call)
        if isinstance(finish := choice.get("finish_reason"), str):
            self._finish = finish

    def _add_call(self, place: int, call: JsonObject) -> None:
        index = call.get("index")
        known = self._calls.setdefault(
            index if isinstance(index, int) else place,
            {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
        )
        known["id"] = known["id"] or str(call.get("id") or "")
        function = call.get("function")
        if isinstance(function, dict):
            known["function"]["name"] += str(function.get("name") or "")
            known["function"]["arguments"] += str(function.get("arguments") or "")


def _objects(value: Json) -> Sequence[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
