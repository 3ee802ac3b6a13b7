"""Chunks that were found, made passages: neighbours of one document are one text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ailb_server.domain.chat import Json
from ailb_server.domain.knowledge import StoredChunk

# A passage of more chunks would crowd out the others that a model is given.
MAX_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. `similarity` is None if it has no vector, or the query has none."""

    chunk_id: int
    document_row: int
    ordinal: int
    score: float
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """What a caller is told: the fields of `ailb.v1.Passage`."""

    document_id: str
    title: str
    source: str
    metadata: Mapping[str, Json]
    text: str
    first_chunk: int
    last_chunk: int
    similarity: float | None
    score: float


def group(hits: Iterable[Hit], top_k: int) -> list[list[Hit]]:
    """The hits of at most `top_k` passages, each in the document's order; the best passage first.

    `hits` come best first. One beside a passage joins it, or joins two to one, up to MAX_CHUNKS
    chunks; reading ends with the first that would make a passage too many.
    """
    groups: list[list[Hit]] = []
    for hit in hits:
        beside = _beside(groups, hit)
        if beside:
            first = groups[beside[0]]
            joined = [hit, *(member for place in beside for member in groups[place])]
            first[:] = sorted(joined, key=lambda member: member.ordinal)
            for place in reversed(beside[1:]):
                del groups[place]
        elif len(groups) == top_k:
            break
        else:
            groups.append([hit])
    return groups


def _beside(groups: Sequence[Sequence[Hit]], hit: Hit) -> list[int]:
    """The places of the groups that the hit joins, the best first: none, one, or two."""
    found: list[int] = []
    chunks = 1
    for place, members in enumerate(groups):
        if members[0].document_row != hit.document_row:
            continue
        near = hit.ordinal in (members[0].ordinal - 1, members[-1].ordinal + 1)
        if near and chunks + len(members) <= MAX_CHUNKS:
            found.append(place)
            chunks += len(members)
    return found


def passage(hits: Sequence[Hit], chunks: Mapping[int, StoredChunk]) -> Passage:
    """The passage of one group. Its score and similarity are the best of its hits'."""
    parts = [chunks[hit.chunk_id] for hit in hits]
    similarities = [hit.similarity for hit in hits if hit.similarity is not None]
    first = parts[0]
    return Passage(
        document_id=first.document_id,
        title=first.title,
        source=first.source,
        metadata=first.metadata,
        text=joined_text(parts),
        first_chunk=first.ordinal,
        last_chunk=parts[-1].ordinal,
        similarity=max(similarities, default=None),
        score=max(hit.score for hit in hits),
    )


def joined_text(chunks: Sequence[StoredChunk]) -> str:
    """Neighbours as the document has them: what a chunk repeats of the one before is said once."""
    text = chunks[0].text
    for chunk in chunks[1:]:
        text += chunk.text[chunk.overlap :] if chunk.overlap else f"\n{chunk.text}"
    return text
