"""The models the demo lists, and how each one behaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from ailb_server.demo.behaviour import Behaviour
from ailb_server.demo.errors import INVALID, ApiError, unknown_model

OWNER: Final = "ailb-demo"
# 2025-01-01T00:00:00Z: a listing must not depend on when it is asked for.
_CREATED: Final = 1_735_689_600

_MODELS: Final[Mapping[str, Behaviour]] = {
    "demo": Behaviour(),
    "demo-slow": Behaviour(latency_ms=500.0, chunk_ms=50.0),
    "demo-long": Behaviour(words=800),
    "demo-tools": Behaviour(eager_tools=True),
    "demo-echo": Behaviour(echo=True),
    "demo-error": Behaviour(status=500),
}


class Catalogue:
    """The built-in models, and further names that behave as `demo` does."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self._models = {**_MODELS, **{name: Behaviour() for name in extra}}

    def behaviour(self, model: str) -> Behaviour:
        """How a model answers. Raises ApiError (404) for an unknown one."""
        known = self._models.get(model)
        if known is None:
            raise unknown_model(model)
        return known

    def list_body(self) -> bytes:
        """The answer of GET /v1/models."""
        return orjson.dumps({"object": "list", "data": [_entry(name) for name in self._models]})

    def model_body(self, model: str) -> bytes:
        """The answer of GET /v1/models/{model}. Raises ApiError (404) for an unknown one."""
        if model not in self._models:
            message = f"The model '{model}' does not exist"
            raise ApiError(404, message, kind=INVALID, param="model", code="model_not_found")
        return orjson.dumps(_entry(model))


def _entry(model: str) -> dict[str, object]:
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": OWNER}
