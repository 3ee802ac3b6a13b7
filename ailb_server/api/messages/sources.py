"""The knowledge that an answer was given, from its JSON to the typed one."""

from collections.abc import Sequence

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages.fields import members, objects, text, whole
from ailb_server.domain.chat import JsonObject


def sources_of(answer: JsonObject) -> Sequence[pb.Source]:
    """What `ailb.sources` holds."""
    return [_source(source) for source in objects(members(answer.get("ailb")).get("sources"))]


def _source(source: JsonObject) -> pb.Source:
    score = source.get("score")
    return pb.Source(
        number=whole(source.get("number")),
        collection=text(source.get("collection")),
        document_id=text(source.get("document_id")),
        title=text(source.get("title")),
        source=text(source.get("source")),
        score=score if isinstance(score, int | float) else 0.0,
        first_chunk=whole(source.get("first_chunk")),
        last_chunk=whole(source.get("last_chunk")),
        snippet=text(source.get("snippet")),
    )
