"""OpenAI's embedding request, from bytes to a domain value. Pure."""

from collections.abc import Sequence

from ailb_server.api.request_fields import OWN_TYPES, FieldTypes, request_of
from ailb_server.domain.chat import ChatRequest, Json, Operation
from ailb_server.domain.errors import InvalidRequestError

_TYPES: FieldTypes = {
    "dimensions": ((int,), "an integer"),
    # Which formats there are is the provider's to say.
    "encoding_format": ((str,), "a string"),
    "user": ((str,), "a string"),
    **OWN_TYPES,
}


def parse_embedding_request(body: bytes) -> ChatRequest:
    """Raises InvalidRequestError, with the fact `param` where a field is at fault."""
    request = request_of(body, _TYPES, Operation.EMBEDDING)
    _check_input(request.fields.get("input"))
    dimensions = request.fields.get("dimensions")
    if dimensions is not None and dimensions < 1:
        raise InvalidRequestError("`dimensions` must be at least 1.", param="dimensions")
    return request


def _check_input(given: Json) -> None:
    """A text, a text's tokens, or an array of either."""
    if not isinstance(given, str | list):
        raise InvalidRequestError(
            "`input` must be a string or an array and is required.", param="input"
        )
    if not given:
        raise InvalidRequestError("`input` must not be empty.", param="input")
    if isinstance(given, str) or _integers(given):
        return
    texts = isinstance(given[0], str)
    for index, item in enumerate(given):
        fits = isinstance(item, str) if texts else isinstance(item, list) and _integers(item)
        if not fits:
            raise InvalidRequestError(
                "`input` must hold strings only, integers only, or non-empty arrays of integers"
                " only.",
                param=f"input[{index}]",
            )


def _integers(items: Sequence[Json]) -> bool:
    # By exact type, because a bool is an int to Python; as a set, because tokens are many.
    return set(map(type, items)) == {int}
