"""The SQL of full-text search within one collection."""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence

from ailb_server.storage.connection import Connection

# One statement for all collections. The array is the first column of the index: GIN then reads the
# matches within the collection only, however common a word is elsewhere.
IN_COLLECTION = "k.collection_id = $2 AND ARRAY[k.collection_id] @> ARRAY[$2::integer]"
GATE = "(SELECT true FROM collections WHERE tenant_id = $1 AND id = $2)"
FILTERED = """
 AND {of}.document_id IN (
   SELECT id FROM documents
    WHERE tenant_id = $1 AND collection_id = $2
      AND ARRAY[collection_id] @> ARRAY[$2::integer] AND metadata @> {filter}::jsonb)
"""
# More matches than that are not ranked: such words tell little, and ranking reads every one.
_RANKED = 2000
_ALL_WORDS = """
SELECT id, document_id, ordinal FROM (
  SELECT k.id, k.document_id, k.ordinal, ts_rank(k.tsv, plainto_tsquery('english', $3)) AS rank
    FROM chunks k
   WHERE {gate} AND {in_collection} AND k.tsv @@ plainto_tsquery('english', $3){filtered}
   LIMIT {ranked}) matches
 ORDER BY rank DESC, id LIMIT $4
"""
# As Okapi BM25 weighs words: by how few of the collection's chunks have them. Source: Robertson,
# Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009), formula 3.3, with the 1
# that keeps it above 0. How often a chunk has a word only tells equals apart.
_ANY_WORD = """
SELECT id, document_id, ordinal FROM (
  SELECT m.id, m.document_id, m.ordinal, m.rank, count(*) OVER (PARTITION BY w.word) AS having
    FROM (SELECT DISTINCT word::tsquery FROM unnest($3::text[]) word) w,
         LATERAL (SELECT k.id, k.document_id, k.ordinal, ts_rank(k.tsv, w.word) AS rank
                    FROM chunks k
                   WHERE {gate} AND {in_collection} AND k.tsv @@ w.word{filtered}
                   LIMIT {ranked}) m) matches
 GROUP BY id, document_id, ordinal
 ORDER BY sum(ln(1 + (greatest($5::float8 - having, 0) + 0.5) / (having + 0.5)) * (1 + rank)) DESC,
          id
 LIMIT $4
"""
LEXEMES = "SELECT tsvector_to_array(to_tsvector('english', $1))"
_STATISTICS = """
SELECT most_common_elems::text::text[] AS words, most_common_elem_freqs AS shares
  FROM pg_stats
 WHERE schemaname = current_schema() AND tablename = 'chunks' AND attname = 'tsv'
"""
_STATISTICS_TTL_S = 600.0
# Each word is a look-up of its own; where a collection is small, so is each of them.
_MOST_WORDS = 8
_MOST_WORDS_OF_FEW = 32
_FEW = 2500
_QUOTED = re.compile(r"(['\\])")


def all_words(*, filtered: bool) -> str:
    """Chunks with all words of $3: tenant, collection, text, limit[, filter]."""
    return _ALL_WORDS.format(
        gate=GATE,
        in_collection=IN_COLLECTION,
        filtered=FILTERED.format(of="k", filter="$5") if filtered else "",
        ranked=_RANKED,
    )


def any_word(*, filtered: bool) -> str:
    """Chunks with one of the lexemes $3: tenant, collection, quoted lexemes, limit, chunks of the
    collection[, filter]."""
    return _ANY_WORD.format(
        gate=GATE,
        in_collection=IN_COLLECTION,
        filtered=FILTERED.format(of="k", filter="$6") if filtered else "",
        ranked=_RANKED,
    )


def quoted(lexeme: str) -> str:
    """The lexeme as the text of a tsquery."""
    return "'" + _QUOTED.sub(r"\1\1", lexeme) + "'"


class WordShares:
    """In which share of all chunks words occur, as ANALYZE last counted; read every 10 minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_at = -math.inf
        self._shares: Mapping[str, float] = {}

    async def rarest(
        self, connection: Connection, lexemes: Sequence[str], passages: int
    ) -> Sequence[str]:
        """At least one, at most 8 of the lexemes, or 32 where `passages` are few; together about
        2,000 of the passages have them."""
        if self._clock() - self._read_at > _STATISTICS_TTL_S:
            self._read_at = self._clock()
            self._shares = await _read(connection)
        # Where nothing is known, long words are taken for rare.
        order = sorted(lexemes, key=lambda lexeme: (self._share(lexeme), -len(lexeme), lexeme))
        expected = 0.0
        chosen: list[str] = []
        for lexeme in order[: _MOST_WORDS_OF_FEW if passages <= _FEW else _MOST_WORDS]:
            expected += self._share(lexeme) * passages
            if chosen and expected > _RANKED:
                break
            chosen.append(lexeme)
        return chosen

    def _share(self, lexeme: str) -> float:
        return self._shares.get(lexeme, 0.0)


async def _read(connection: Connection) -> Mapping[str, float]:
    row = await connection.fetchrow(_STATISTICS)
    if row is None or row["words"] is None:
        return {}
    # The shares have two or three more, of other meanings, at their end.
    return dict(zip(row["words"], row["shares"], strict=False))
