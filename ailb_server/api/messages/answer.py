"""Completions and their chunks, from OpenAI's shape to the typed one.

Every valid JSON is answered: a member of a wrong type is as if it were absent. What the messages
have no field for is in the `additional_fields` of the answer, the choice, the message or the call.
"""

from collections.abc import Mapping

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import names
from ailb_server.api.messages.answer_message import logprobs_of, message_of, role_of
from ailb_server.api.messages.fields import (
    MAX_INT32,
    MAX_INT64,
    further,
    members,
    objects,
    text,
    whole,
)
from ailb_server.api.messages.sources import sources_of
from ailb_server.api.messages.structs import struct_if_any
from ailb_server.domain.chat import JsonObject, TokenUsage

_ANSWER = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "ailb"}
)
_CHOICE = frozenset({"index", "message", "delta", "finish_reason", "logprobs"})
_USAGE_DETAILS: Mapping[str, frozenset[str]] = {
    "prompt_tokens_details": frozenset({"cached_tokens", "cache_write_tokens"}),
    "completion_tokens_details": frozenset({"reasoning_tokens"}),
}
_USAGE = _USAGE_DETAILS.keys() | {"prompt_tokens", "completion_tokens", "total_tokens"}


def completion_of(answer: JsonObject, usage: TokenUsage | None) -> pb.ChatCompletion:
    """The completion object `answer`, whose tokens are `usage`."""
    choices = objects(answer.get("choices"))
    return pb.ChatCompletion(
        id=text(answer.get("id")),
        created=whole(answer.get("created"), MAX_INT64),
        model=text(answer.get("model")),
        choices=[_choice(choice, position) for position, choice in enumerate(choices)],
        usage=_usage(usage),
        system_fingerprint=_fingerprint(answer),
        additional_fields=struct_if_any(_rest(answer)),
        sources=sources_of(answer),
    )


class ChunkReader:
    """Reads the chunk objects of one stream, in order."""

    def __init__(self) -> None:
        self._begun: set[int] = set()

    def read(self, event: JsonObject, usage: TokenUsage | None) -> pb.ChatCompletionChunk:
        """The chunk object `event`; `usage` is the whole completion's, if the event tells it."""
        choices = objects(event.get("choices"))
        return pb.ChatCompletionChunk(
            id=text(event.get("id")),
            created=whole(event.get("created"), MAX_INT64),
            model=text(event.get("model")),
            choices=[self._choice(choice, position) for position, choice in enumerate(choices)],
            usage=_usage(usage),
            system_fingerprint=_fingerprint(event),
            additional_fields=struct_if_any(_rest(event)),
            sources=sources_of(event),
        )

    def _choice(self, choice: JsonObject, position: int) -> pb.ChoiceDelta:
        index = whole(choice.get("index", position))
        delta = members(choice.get("delta"))
        return pb.ChoiceDelta(
            index=index,
            delta=message_of(delta, self._role(index, delta)),
            finish_reason=_finish_reason(choice),
            logprobs=logprobs_of(choice.get("logprobs")),
            additional_fields=struct_if_any(_rest_of_choice(choice)),
        )

    def _role(self, index: int, delta: JsonObject) -> pb.Role.ValueType:
        # Some providers repeat it in every chunk, some never tell it.
        if index in self._begun:
            return pb.ROLE_UNSPECIFIED
        self._begun.add(index)
        return role_of(delta)


def _choice(choice: JsonObject, position: int) -> pb.Choice:
    message = members(choice.get("message"))
    return pb.Choice(
        index=whole(choice.get("index", position)),
        message=message_of(message, role_of(message)),
        finish_reason=_finish_reason(choice),
        logprobs=logprobs_of(choice.get("logprobs")),
        additional_fields=struct_if_any(_rest_of_choice(choice)),
    )


def _finish_reason(choice: JsonObject) -> pb.FinishReason.ValueType:
    return names.FINISH_REASONS.get(text(choice.get("finish_reason")), pb.FINISH_REASON_UNSPECIFIED)


def _fingerprint(answer: JsonObject) -> str | None:
    fingerprint = answer.get("system_fingerprint")
    return fingerprint if isinstance(fingerprint, str) else None


def _usage(usage: TokenUsage | None) -> pb.Usage | None:
    if usage is None:
        return None
    return pb.Usage(
        prompt_tokens=min(usage.prompt, MAX_INT32),
        completion_tokens=min(usage.completion, MAX_INT32),
        total_tokens=min(usage.prompt + usage.completion, MAX_INT32),
        cached_tokens=min(usage.cached, MAX_INT32),
        cache_write_tokens=min(usage.cache_write, MAX_INT32),
        reasoning_tokens=min(usage.reasoning, MAX_INT32),
    )


def _rest(answer: JsonObject) -> JsonObject:
    rest = further(answer, _ANSWER)
    if rest_of_usage := _rest_of_usage(members(answer.get("usage"))):
        rest["usage"] = rest_of_usage
    return rest


def _rest_of_choice(choice: JsonObject) -> JsonObject:
    rest = further(choice, _CHOICE)
    reason = text(choice.get("finish_reason"))
    if reason and reason not in names.FINISH_REASONS:
        rest["finish_reason"] = reason
    if refusal := members(choice.get("logprobs")).get("refusal"):
        rest["logprobs"] = {"refusal": refusal}
    return rest


def _rest_of_usage(usage: JsonObject) -> JsonObject:
    """Kinds of tokens and prices that `Usage` has no field for, where they are not zero."""
    rest = {name: value for name, value in usage.items() if name not in _USAGE and value}
    for name, known in _USAGE_DETAILS.items():
        details = members(usage.get(name))
        if more := {kind: n for kind, n in details.items() if kind not in known and n}:
            rest[name] = more
    return rest
