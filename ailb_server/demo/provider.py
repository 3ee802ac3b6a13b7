"""The provider's decision, pure: which behaviour a request chose, and the reply to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from ailb_server.demo.answer import Asked
from ailb_server.demo.behaviour import Behaviour, adjust
from ailb_server.demo.catalogue import Catalogue
from ailb_server.demo.errors import ApiError, error_for
from ailb_server.demo.reply import JSON, SSE, Reply, error_reply
from ailb_server.demo.validate import model_of, parse

Endpoint: TypeAlias = Callable[[Asked], Reply]

# With these the status is not the answer's but that of the error inside it.
_ERRORS_INSIDE: Final = ("error_in_200", "error_late")


@dataclass(frozen=True, slots=True)
class Provider:
    """What all requests share: the models, and wishes forced upon every request."""

    catalogue: Catalogue
    forced: Mapping[str, object]

    def post(
        self, endpoint: Endpoint, raw: bytes, *, tag: str, created: int
    ) -> tuple[Reply, Behaviour]:
        """The reply to a JSON request. Wishes in its field `demo` win over what is forced, and
        that over the model's own behaviour. `created` is in Unix seconds."""
        how = self._forced(Behaviour())
        try:
            fields = parse(raw)
            model = model_of(fields)
            how = self._forced(self.catalogue.behaviour(model))
            if fields.get("demo") is not None:
                how = adjust(how, fields["demo"])
            ready = _decided(how, streamed=fields.get("stream") is True)
            return ready or endpoint(Asked(fields, raw, tag, model, how, created)), how
        except ApiError as error:
            return error_reply(error), how

    def get(self, body: Callable[[Catalogue], bytes]) -> tuple[Reply, Behaviour]:
        """The reply to a GET: `body` reads it from the catalogue and may raise ApiError."""
        how = self._forced(Behaviour())
        try:
            return _decided(how, streamed=False) or Reply(200, body(self.catalogue)), how
        except ApiError as error:
            return error_reply(error), how

    def _forced(self, base: Behaviour) -> Behaviour:
        return adjust(base, self.forced) if self.forced else base


def _decided(how: Behaviour, *, streamed: bool) -> Reply | None:
    """The reply that a status or a raw body prescribes, whatever was asked."""
    if how.fails and how.fault not in _ERRORS_INSIDE:
        error = how.error_body
        return Reply(how.status, error_for(how.status).body() if error is None else error)
    if how.body is not None:
        return Reply(200, how.body, SSE if streamed else JSON)
    return None
