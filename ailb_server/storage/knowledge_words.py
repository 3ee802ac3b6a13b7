"""The SQL of full-text search within one collection."""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence

from ailb_server.domain.knowledge import TellingWords
from ailb_server.storage.connection import Connection

# One statement for all collections. The array is the first column of the index: GIN then reads the
# matches within the collection only, however common a word is elsewhere.
IN_COLLECTION = "k.collection_id = $2 AND ARRAY[k.collection_id] @> ARRAY[$2::integer]"
GATE = "(SELECT true FROM collections WHERE tenant_id = $1 AND id = $2)"
# Asked of each match by itself, and never a join: the planner takes any filter for a rare one.
FILTERED = """
 AND (SELECT true FROM documents d
       WHERE d.id = {of}.document_id AND d.tenant_id = $1 AND d.collection_id = $2
         AND d.metadata @> {filter}::jsonb)
"""
# More matches than that are not ranked: such words tell little, and ranking reads every one.
_RANKED = 2000
# Chunks with all words of $3, and if those are fewer than $5, then those with some of the words $6.
# These are weighed as Okapi BM25 does: by how few of the collection's $7 chunks have a word.
# Source: Robertson, Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009),
# formula 3.3, with the 1 that keeps it above 0. How often a chunk has a word only tells equals
# apart. A chunk must have the share $9 of the whole weight: that of $6, and $8 of words not sought.
_WITH_WORDS = """
WITH every AS MATERIALIZED (
  SELECT id, document_id, ordinal, rank FROM (
    SELECT k.id, k.document_id, k.ordinal, ts_rank(k.tsv, plainto_tsquery('english', $3)) AS rank
      FROM chunks k
     WHERE {gate} AND {in_collection} AND k.tsv @@ plainto_tsquery('english', $3){filtered}
     LIMIT {ranked}) matches
   ORDER BY rank DESC, id LIMIT $4
), one AS MATERIALIZED (
  SELECT w.word, m.id, m.document_id, m.ordinal, m.rank,
         count(m.id) OVER (PARTITION BY w.word) AS frequency
    FROM (SELECT DISTINCT word::tsquery FROM unnest($6::text[]) word
           WHERE (SELECT count(*) FROM every) < $5) w
    LEFT JOIN LATERAL (SELECT k.id, k.document_id, k.ordinal, ts_rank(k.tsv, w.word) AS rank
                         FROM chunks k
                        WHERE {gate} AND {in_collection} AND k.tsv @@ w.word{filtered}
                        LIMIT {read}) m ON true
), told AS (
  SELECT word, id, document_id, ordinal, rank,
         ln(1 + (greatest($7::float8 - frequency, 0) + 0.5::float8) / (frequency + 0.5::float8))
           AS weight
    FROM one
), weighed AS (
  SELECT id, document_id, ordinal, sum(weight * (1 + rank)) AS weight
    FROM told WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM every)
   GROUP BY id, document_id, ordinal
  HAVING sum(weight) >= $9 * ($8::float8 + (
           SELECT sum(weight) FROM (SELECT DISTINCT word, weight FROM told) words))
   ORDER BY weight DESC, id LIMIT $4
)
SELECT id, document_id, ordinal
  FROM (SELECT id, document_id, ordinal, true AS complete, rank AS weight FROM every
        UNION ALL SELECT id, document_id, ordinal, false, weight FROM weighed) found
 ORDER BY complete DESC, weight DESC, id LIMIT $4
"""
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
# So many chunks at least are read for the words chosen; reading is what takes the time.
_READ = 300
_QUOTED = re.compile(r"(['\\])")


def with_words(*, filtered: bool) -> str:
    """Takes tenant, collection, text, limit, enough, quoted lexemes, how many chunks there are,
    the weight of the text's other lexemes, the share of all weight to have[, filter]."""
    return _WITH_WORDS.format(
        gate=GATE,
        in_collection=IN_COLLECTION,
        filtered=FILTERED.format(of="k", filter="$10") if filtered else "",
        ranked=_RANKED,
        read=_RANKED // 4,
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
    ) -> TellingWords:
        """At least one, at most 8 of the lexemes, or 32 where `passages` are few; together
        about 300 of the passages have them."""
        if self._clock() - self._read_at > _STATISTICS_TTL_S:
            self._read_at = self._clock()
            self._shares = await _read(connection)
        # Where nothing is known, long words are taken for rare.
        order = sorted(lexemes, key=lambda lexeme: (self._share(lexeme), -len(lexeme), lexeme))
        most = _MOST_WORDS_OF_FEW if passages <= _FEW else _MOST_WORDS
        expected = 0.0
        chosen = 0
        for lexeme in order[:most]:
            expected += self._share(lexeme) * passages
            if chosen and expected > _READ:
                break
            chosen += 1
        others = sum(self._weight(lexeme, passages) for lexeme in order[chosen:])
        return TellingWords(tuple(order[:chosen]), others)

    def _weight(self, lexeme: str, passages: int) -> float:
        """As the statement weighs it, by what is expected."""
        frequency = self._share(lexeme) * passages
        return math.log(1 + (passages - frequency + 0.5) / (frequency + 0.5))

    def _share(self, lexeme: str) -> float:
        return self._shares.get(lexeme, 0.0)


async def _read(connection: Connection) -> Mapping[str, float]:
    row = await connection.fetchrow(_STATISTICS)
    if row is None or row["words"] is None:
        return {}
    # The shares have two or three more, of other meanings, at their end.
    return dict(zip(row["words"], row["shares"], strict=False))
