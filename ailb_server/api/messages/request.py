"""A typed chat request in OpenAI's shape."""

import orjson

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import names
from ailb_server.api.messages.request_message import message_json
from ailb_server.api.messages.request_tools import (
    enum_name,
    response_format_json,
    tool_choice_json,
    tool_json,
)
from ailb_server.api.messages.structs import additional, json_of, number
from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatRequest, JsonObject

# Sent as they are; the optional ones only if they are set.
_PLAIN = frozenset(
    {
        "n",
        "max_completion_tokens",
        "max_tokens",
        "logprobs",
        "top_logprobs",
        "seed",
        "user",
        "parallel_tool_calls",
        "session_id",
        "rag_collection",
        "rag_top_k",
    }
)
_NUMBERS = frozenset(
    {"temperature", "top_p", "presence_penalty", "frequency_penalty", "rag_min_score"}
)
# Which method is called says whether the answer streams; usage is always told.
_NOT_ADDITIONAL = frozenset(pb.ChatCompletionParameters.DESCRIPTOR.fields_by_name) | {
    "stream",
    "stream_options",
}


def chat_request(parameters: pb.ChatCompletionParameters, *, stream: bool) -> ChatRequest:
    """The request that a REST caller would have written.

    Raises InvalidRequestError; `param` is the field's path below `parameters`, which is OpenAI's
    path too, such as `messages[0].content[1].image_url.url`.
    """
    return parse_chat_request(orjson.dumps(_fields(parameters, stream=stream)))


def _fields(parameters: pb.ChatCompletionParameters, *, stream: bool) -> JsonObject:
    fields: JsonObject = {
        "model": parameters.model,
        "messages": [
            message_json(message, f"messages[{index}]")
            for index, message in enumerate(parameters.messages)
        ],
    }
    for field, value in parameters.ListFields():
        if field.name in _PLAIN:
            fields[field.name] = value
        elif field.name in _NUMBERS:
            fields[field.name] = number(value, field.name)
    fields.update(_lists(parameters))
    fields.update(_choices(parameters))
    if parameters.HasField("additional_parameters"):
        fields.update(additional(parameters.additional_parameters, _NOT_ADDITIONAL))
    if stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    return fields


def _lists(parameters: pb.ChatCompletionParameters) -> JsonObject:
    fields: JsonObject = {}
    if parameters.stop:
        fields["stop"] = list(parameters.stop)
    if parameters.tools:
        fields["tools"] = [
            tool_json(tool, f"tools[{index}]") for index, tool in enumerate(parameters.tools)
        ]
    if parameters.logit_bias:
        fields["logit_bias"] = {
            token: number(bias, "logit_bias")
            for token, bias in sorted(parameters.logit_bias.items())
        }
    if parameters.metadata:
        fields["metadata"] = dict(sorted(parameters.metadata.items()))
    return fields


def _choices(parameters: pb.ChatCompletionParameters) -> JsonObject:
    """What stands for the provider's default is not sent."""
    fields: JsonObject = {}
    if parameters.HasField("tool_choice"):
        fields["tool_choice"] = tool_choice_json(parameters.tool_choice)
    if parameters.HasField("response_format"):
        fields["response_format"] = response_format_json(parameters.response_format)
    if parameters.reasoning_effort:
        fields["reasoning_effort"] = enum_name(
            names.EFFORTS, parameters.reasoning_effort, "reasoning_effort"
        )
    if parameters.HasField("rag_filter"):
        fields["rag_filter"] = json_of(parameters.rag_filter, "rag_filter")
    return {name: value for name, value in fields.items() if value is not None}
