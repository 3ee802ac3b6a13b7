"""Finds what a session brings to a request."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.context import Recalled
from ailb_server.domain.embedding import Embedder
from ailb_server.domain.errors import EmbedderUnavailableError, StorageUnavailableError
from ailb_server.domain.memory_queries import Found, Likeness, Window
from ailb_server.domain.principal import Principal
from ailb_server.domain.turn import NewTurn, StoredTurn
from ailb_server.memory.alignment import aligned
from ailb_server.memory.availability import Availability
from ailb_server.memory.journal import Journal
from ailb_server.memory.long_sessions import LongSessions
from ailb_server.memory.quotes import MAX_QUOTE, most_similar, quoted
from ailb_server.memory.recent import MAX_RECENT, chosen, longest_text, message_of
from ailb_server.memory.request_turns import Sent, fingerprint_of, sent_by
from ailb_server.memory.stores import RecallStore
from ailb_server.memory.telling import MemoryObserver

# How long a chat waits for the store while it is thought to be up.
PATIENCE_S = 1.0
# Candidates beside those wanted: some are among the last turns, or in the request.
_SPARE = MAX_RECENT + 12
_MAX_QUESTION = 8192
# Words alone have no threshold to pass; more would bury the others.
_MAX_QUESTION_WORDS = 1000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecallRules:
    """The settings MEMORY_RECENT_TOKENS, MEMORY_SIMILAR_TURNS, MEMORY_MIN_SIMILARITY and
    EMBEDDING_TIMEOUT_S."""

    recent_tokens: int = 2000
    similar_turns: int = 5
    min_similarity: float = 0.35
    embedding_timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A recall that runs."""

    tenant_id: int
    session_id: str
    sent: Sent
    known: Sequence[int]
    waiting: Sequence[StoredTurn]


class Recalling:
    """The last turns, and older ones that resemble the request."""

    def __init__(
        self,
        store: RecallStore,
        journal: Journal,
        availability: Availability,
        embedder: Embedder,
        observer: MemoryObserver,
        rules: RecallRules,
    ) -> None:
        self._store = store
        self._journal = journal
        self._availability = availability
        self._embedder = embedder
        self._observer = observer
        self._rules = rules
        self._long = LongSessions()

    async def recall(self, who: Principal, session_id: str, request: ChatRequest) -> Recalled:
        """See `domain.context.Memory`; an outage takes no request longer than PATIENCE_S."""
        started = time.perf_counter()
        sent = sent_by(request)
        asked = _Asked(
            tenant_id=who.tenant_id,
            session_id=session_id,
            sent=sent,
            known=[fingerprint_of(message) for message in sent.history],
            waiting=_as_stored(self._journal.turns(who.tenant_id, session_id)),
        )
        recalled = await self._answered(asked) if self._availability.up else None
        if recalled is None:
            turns = self._last(asked, asked.waiting)[0]
            recalled = Recalled(self._messages(turns), degraded=True)
        outcome = "degraded" if recalled.degraded else "ok"
        self._observer.recalled(outcome, time.perf_counter() - started)
        return recalled

    async def _answered(self, asked: _Asked) -> Recalled | None:
        """None in an outage."""
        try:
            return await self._recalled(asked)
        except StorageUnavailableError:
            self._availability.failed()
        except TimeoutError:
            self._availability.suspect()
        except Exception as error:  # noqa: BLE001 - memory must not fail a chat; the type tells
            _log.error("memory: a recall failed: %s", type(error).__qualname__)
        return None

    async def _recalled(self, asked: _Asked) -> Recalled:
        key = (asked.tenant_id, asked.session_id)
        known_long = key in self._long
        likeness = await self._likeness(asked) if known_long else None
        found = await self._found(asked, likeness)
        turns, repeated = self._last(asked, _joined(found.last, asked.waiting))
        older = found.turn_count - len(turns) - max(repeated, len(asked.sent.history))
        if older <= 0 or not self._rules.similar_turns:
            return Recalled(self._messages(turns))
        if not known_long:
            self._long.add(key)
            likeness = await self._likeness(asked)
            if likeness is not None:
                found = await self._found(asked, likeness)
        similar = found.similar if likeness else await self._by_words(asked)
        return Recalled(self._messages(turns), self._quoted(asked, turns, similar))

    async def _found(self, asked: _Asked, likeness: Likeness | None) -> Found:
        async with asyncio.timeout(PATIENCE_S):
            return await self._store.recall(self._window(asked), likeness)

    async def _by_words(self, asked: _Asked) -> Sequence[StoredTurn]:
        words = asked.sent.question()[:_MAX_QUESTION_WORDS]
        if not words.strip():
            return ()
        window = replace(self._window(asked), characters=MAX_QUOTE + 1)
        async with asyncio.timeout(PATIENCE_S):
            limit = self._rules.similar_turns + _SPARE
            return await self._store.by_words(window, words, limit)

    def _window(self, asked: _Asked) -> Window:
        characters = longest_text(self._rules.recent_tokens) + 1
        return Window(asked.tenant_id, asked.session_id, MAX_RECENT, characters)

    async def _likeness(self, asked: _Asked) -> Likeness | None:
        """None without an embedder that answers in time."""
        question, space = asked.sent.question()[:_MAX_QUESTION], self._embedder.space
        if not question.strip() or space is None or not self._rules.similar_turns:
            return None
        try:
            async with asyncio.timeout(self._rules.embedding_timeout_s):
                (vector,) = await self._embedder.embed([question])
        except (EmbedderUnavailableError, TimeoutError):
            return None
        return Likeness(
            space=self._embedder.space or space,
            vector=vector,
            at_least=self._rules.min_similarity,
            limit=self._rules.similar_turns + _SPARE,
            characters=MAX_QUOTE + 1,
        )

    def _last(self, asked: _Asked, turns: Sequence[StoredTurn]) -> tuple[list[StoredTurn], int]:
        """Those to be given as messages, and how many of the others the request repeats."""
        pairs = aligned([turn.fingerprint for turn in turns], asked.known)
        repeated = {position for position, _ in pairs}
        rest = [turn for position, turn in enumerate(turns) if position not in repeated]
        given = chosen(rest, self._rules.recent_tokens, asked.sent.awaited_results())
        return given, len(repeated)

    def _messages(self, turns: Sequence[StoredTurn]) -> tuple[dict[str, object], ...]:
        return tuple(message_of(turn, self._rules.recent_tokens) for turn in turns)

    def _quoted(
        self, asked: _Asked, given: Sequence[StoredTurn], similar: Sequence[StoredTurn]
    ) -> str | None:
        numbers = {turn.turn for turn in given}
        said = {*asked.known, *(fingerprint_of(message) for message in asked.sent.now)}
        said.update(turn.fingerprint for turn in given)
        fitting = [t for t in similar if t.turn not in numbers and t.fingerprint not in said]
        return quoted(most_similar(_unlike(fitting), self._rules.similar_turns))


def _joined(last: Sequence[StoredTurn], waiting: Sequence[StoredTurn]) -> list[StoredTurn]:
    """Both in order, without what was stored just now and is in both."""
    stored = [turn.fingerprint for turn in last]
    queued = [turn.fingerprint for turn in waiting]
    for size in range(min(len(stored), len(queued)), 0, -1):
        if stored[-size:] == queued[:size]:
            return [*last, *waiting[size:]]
    return [*last, *waiting]


def _unlike(turns: Sequence[StoredTurn]) -> list[StoredTurn]:
    """The best one of those that say the same."""
    kept: dict[int, StoredTurn] = {}
    for turn in turns:
        kept.setdefault(turn.fingerprint, turn)
    return list(kept.values())


def _as_stored(turns: Sequence[NewTurn]) -> list[StoredTurn]:
    """What waits to be stored, as if it were; its numbers are not known yet."""
    now = datetime.now(UTC)
    return [
        StoredTurn(-1 - position, turn.role, turn.text, turn.message, turn.fingerprint, now)
        for position, turn in enumerate(turns)
    ]
