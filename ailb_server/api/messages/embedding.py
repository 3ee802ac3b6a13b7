"""Typed embeddings and OpenAI's shape, each from the other. Pure."""

import binascii

import orjson

from ailb.v1 import embedding_pb2 as pb
from ailb.v1.embedding_service_pb2 import CreateEmbeddingsResponse
from ailb_server.api.embedding_wire import parse_embedding_request
from ailb_server.api.messages.fields import objects, text, whole
from ailb_server.api.messages.structs import additional
from ailb_server.domain.chat import ChatRequest, Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError

_FLOAT_BYTES = 4
# `input` is OpenAI's name for what has two fields here.
_NOT_ADDITIONAL = frozenset(pb.EmbeddingParameters.DESCRIPTOR.fields_by_name) | {"input"}
_LENGTH_DELIMITED = 2
_VALUES_TAG = bytes([pb.Embedding.VALUES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])


def embedding_request(parameters: pb.EmbeddingParameters) -> ChatRequest:
    """The request that a REST caller would have written, with `input` as an array.

    It asks for base64, as OpenAI's SDKs do unless told otherwise: a quarter of the bytes, and no
    number is parsed. `additional_parameters` may say another `encoding_format`.
    Raises InvalidRequestError; `param` is the field's path below `parameters`.
    """
    fields: JsonObject = {
        "model": parameters.model,
        "input": _input(parameters),
        "encoding_format": "base64",
    }
    for name in ("dimensions", "user"):
        if parameters.HasField(name):
            fields[name] = getattr(parameters, name)
    if parameters.HasField("additional_parameters"):
        fields.update(additional(parameters.additional_parameters, _NOT_ADDITIONAL))
    return parse_embedding_request(orjson.dumps(fields))


def _input(parameters: pb.EmbeddingParameters) -> list[str] | list[list[int]]:
    if parameters.inputs and parameters.token_inputs:
        raise InvalidRequestError(
            "`inputs` and `token_inputs` exclude each other.", param="token_inputs"
        )
    if parameters.inputs:
        return list(parameters.inputs)
    if not parameters.token_inputs:
        raise InvalidRequestError("`inputs` must not be empty.", param="inputs")
    for index, item in enumerate(parameters.token_inputs):
        if not item.tokens:
            raise InvalidRequestError(
                "A list of tokens must not be empty.", param=f"token_inputs[{index}].tokens"
            )
    return [list(item.tokens) for item in parameters.token_inputs]


def embeddings_response(answer: JsonObject, inputs: int) -> CreateEmbeddingsResponse:
    """The response of OpenAI's list `answer`. Raises ValueError unless there is a readable
    embedding for each of the `inputs`."""
    data = objects(answer.get("data"))
    told = {whole(item.get("index", position)): item for position, item in enumerate(data)}
    if sorted(told) != list(range(inputs)):
        raise ValueError("not one embedding for each input")
    embeddings = [_embedding(told[index].get("embedding")) for index in range(inputs)]
    if not all(embedding.values for embedding in embeddings):
        raise ValueError("an embedding without numbers")
    return CreateEmbeddingsResponse(
        embeddings=embeddings,
        model=text(answer.get("model")),
        usage=_usage(answer.get("usage")),
    )


def _embedding(told: Json) -> pb.Embedding:
    """Of a list of numbers, or of little-endian float32 in base64."""
    if not isinstance(told, str):
        return _of_numbers(told)
    packed = binascii.a2b_base64(told, strict_mode=True)
    if len(packed) % _FLOAT_BYTES:
        raise ValueError("not whole float32 numbers")
    # That is protobuf's own encoding: through Python's floats it would take three times as long.
    return pb.Embedding.FromString(_VALUES_TAG + _varint(len(packed)) + packed)


def _of_numbers(told: Json) -> pb.Embedding:
    try:
        return pb.Embedding(values=told)
    except TypeError as error:
        raise ValueError("neither numbers nor base64") from error


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >> 7:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def _usage(usage: Json) -> pb.EmbeddingUsage | None:
    if not isinstance(usage, dict):
        return None
    prompt = whole(usage.get("prompt_tokens"))
    total = whole(usage.get("total_tokens"))
    return pb.EmbeddingUsage(prompt_tokens=prompt, total_tokens=max(prompt, total))
