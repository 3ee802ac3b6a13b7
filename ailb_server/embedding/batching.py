"""Which of the waiting texts are encoded together next."""

from dataclasses import dataclass

from ailb_server.embedding.frames import Ask


@dataclass(frozen=True, slots=True)
class Waiting:
    """A text that waits for its vector; `tokens` is what encoding it costs."""

    id: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class BatchRules:
    """`tokens` are counted as encoded: texts times the longest one's.

    Batches of bulk are smaller, because a query that comes meanwhile waits for the running batch,
    and a larger one encodes long texts no faster. While queries keep coming, one batch in
    `bulk_every` is bulk's.
    """

    texts: int = 16
    query_tokens: int = 2048
    bulk_tokens: int = 512
    bulk_every: int = 8


class BatchQueue:
    """Two lanes, each in order; queries go before bulk. What waits is bounded by who asks."""

    def __init__(self, rules: BatchRules | None = None) -> None:
        self._rules = rules or BatchRules()
        self._lanes: dict[Ask, dict[int, Waiting]] = {Ask.QUERY: {}, Ask.BULK: {}}
        self._in_a_row = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def add(self, waiting: Waiting, lane: Ask) -> None:
        """To the lane's end."""
        self._lanes[lane][waiting.id] = waiting

    def drop(self, request: int) -> bool:
        """Whether it still waited."""
        return any([lane.pop(request, None) is not None for lane in self._lanes.values()])

    def take(self) -> list[Waiting]:
        """The next batch, never empty while anything waits."""
        lane = self._next_lane()
        waiting = self._lanes[lane]
        most = self._rules.query_tokens if lane is Ask.QUERY else self._rules.bulk_tokens
        batch: list[Waiting] = []
        longest = 0
        for item in list(waiting.values())[: self._rules.texts]:
            longest = max(longest, item.tokens)
            if batch and (len(batch) + 1) * longest > most:
                break
            batch.append(waiting.pop(item.id))
        return batch

    def _next_lane(self) -> Ask:
        queries, bulk = self._lanes[Ask.QUERY], self._lanes[Ask.BULK]
        if queries and (not bulk or self._in_a_row < self._rules.bulk_every - 1):
            self._in_a_row = self._in_a_row + 1 if bulk else 0
            return Ask.QUERY
        self._in_a_row = 0
        return Ask.BULK
