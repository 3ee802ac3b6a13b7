"""Every error's body is of the type that the official packages have for it."""

from collections.abc import Iterator

import orjson
import pytest
from anthropic.types import ErrorResponse
from openai.types import ErrorObject

from ailb_server.api import anthropic_errors, errors
from ailb_server.domain.errors import AilbError, UpstreamRejectedError


def _kinds(kind: type[AilbError] = AilbError) -> Iterator[type[AilbError]]:
    for inner in kind.__subclasses__():
        # What holds a provider's own words is tested with the relay.
        if hasattr(inner, "reason") and not issubclass(inner, UpstreamRejectedError):
            yield inner
        yield from _kinds(inner)


_EACH_KIND = pytest.mark.parametrize("kind", dict.fromkeys(_kinds()))


@_EACH_KIND
def test_openais(kind: type[AilbError]) -> None:
    told = orjson.loads(errors.openai_body(kind("It failed.", param="messages[0]")))
    error = ErrorObject.model_validate(told["error"], strict=True)
    assert (error.message, error.param) == ("It failed.", "messages[0]")


@_EACH_KIND
def test_anthropics(kind: type[AilbError]) -> None:
    body = anthropic_errors.error_body(kind("It failed."), "r-1")
    error = ErrorResponse.model_validate_json(body, strict=True)
    assert error.error.message.endswith("It failed.")
    assert error.request_id == "r-1"
