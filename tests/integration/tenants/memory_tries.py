"""Tries at conversations: every RPC, and every method of the store that is a tenant's."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from ailb.v1 import memory_service_pb2 as pb
from ailb_server.api.call import Call, current_call
from ailb_server.api.memory_service import MemoryService
from ailb_server.domain.context import Exchange
from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.memory_queries import Likeness, Selection, SessionRecord, TurnQuery, Window
from ailb_server.domain.principal import Principal
from ailb_server.memory.alignment import unknown
from ailb_server.memory.request_turns import exchange_turns
from ailb_server.storage.memory_append import PostgresMemoryAppend
from ailb_server.storage.memory_recall import PostgresMemoryRecall
from tests.integration.memory.instance import Instance
from tests.integration.tenants.tries import CARL, NAMES, TENANTS, Calls, Try, called, mark, own
from tests.support.conversations import exchange, request, user

TURNS = 6
QUESTION = "secret number of"
# Of all tenants, for background tasks: nobody is shown what they read.
NOBODYS = {"claim", "mismatch"}


@dataclass(frozen=True)
class Conversations:
    """What the tenants have said, and what they know of each other's."""

    memory: Instance
    service: MemoryService
    tokens: Sequence[str]
    sessions: Sequence[SessionRecord]
    space: EmbeddingSpace


async def conversations(memory: Instance) -> Conversations:
    """Everybody says the same, but for their mark."""
    for who in TENANTS:
        for session in own(who):
            for n in range(TURNS):
                await memory.remember(_said(who, session, n))
    await memory.embedding.catch_up()
    service = MemoryService(memory.conversations, memory.reindexing, timedelta(days=1))
    pages = [await memory.conversations.sessions(who, "", 1, None) for who in TENANTS]
    sessions = [page.sessions[0] for page in pages]
    tokens = [await _token(service, who) for who in TENANTS]
    assert memory.embedder.space is not None
    return Conversations(memory, service, tokens, sessions, memory.embedder.space)


def rpc(state: Conversations, draw: random.Random) -> Try:
    """A call of the service, or a chat's use of memory."""
    who, session = draw.choice(TENANTS), draw.choice(NAMES)
    size, token = draw.randrange(1, 9), draw.choice(("", *state.tokens))
    within = draw.choice(("", session))
    end_user = draw.choice(("", "user"))
    requests: dict[str, Any] = {
        "ListSessions": pb.ListSessionsRequest(page_size=size, page_token=token, user=end_user),
        "GetSession": pb.GetSessionRequest(session_id=session),
        "ListTurns": pb.ListTurnsRequest(session_id=session),
        "SearchTurns": pb.SearchTurnsRequest(query=QUESTION, session_id=within),
    }
    if who == CARL:
        every = pb.DeleteSessionsRequest(user="user") if size > 1 else None
        requests |= {
            "DeleteSession": pb.DeleteSessionRequest(session_id=session),
            "DeleteSessions": every or pb.DeleteSessionsRequest(all=True),
            "ReindexSessions": pb.ReindexSessionsRequest(),
        }
    calls = {name: called(state.service, name, asked) for name, asked in requests.items()}
    calls["recall"] = lambda: state.memory.recall(user(QUESTION), session=session, who=who)
    if who == CARL:
        calls["remember"] = lambda: state.memory.remember(_said(who, draw.choice(own(who)), size))
    name = draw.choice(list(calls))
    return Try(name, who, calls[name])


def stored(state: Conversations, draw: random.Random) -> Try:
    """A call of the store, with another's numbers."""
    who, session = draw.choice(TENANTS), draw.choice(NAMES)
    calls = {**_reads(state, who, session, draw)}
    if who == CARL:
        calls |= _writes(state, session, draw)
    name = draw.choice(list(calls))
    return Try(name, who, calls[name])


def _reads(state: Conversations, who: Principal, session: str, draw: random.Random) -> Calls:
    memory, tenant = state.memory, who.tenant_id
    recall = PostgresMemoryRecall(memory.store)
    record, number = draw.choice(state.sessions), draw.randrange(1, 20)
    after = draw.choice((None, (record.last_turn_at, record.id)))
    vector = memory.embedder.vector(QUESTION)
    likeness = draw.choice((None, Likeness(state.space, vector, -1, number, 200)))
    window = Window(tenant, session, number, 200)
    query = TurnQuery(tenant, QUESTION, number, draw.choice((None, session)))
    given = draw.choice(((None, None), (state.space, vector)))
    return {
        "sessions": lambda: memory.sessions.sessions(tenant, "user", number, after),
        "session": lambda: memory.sessions.session(tenant, session),
        "turns": lambda: memory.sessions.turns(tenant, record, number, -1),
        "search": lambda: memory.sessions.search(query, *given),
        "recall": lambda: recall.recall(window, likeness),
        "by_words": lambda: recall.by_words(window, QUESTION, number),
        "embedded": lambda: memory.embeddings.embedded(tenant),
    }


def _writes(state: Conversations, session: str, draw: random.Random) -> Calls:
    memory, tenant = state.memory, CARL.tenant_id
    other = EmbeddingSpace("another", state.space.dimension)
    space = draw.choice((state.space, other))
    end_user = draw.choice((None, "user"))
    selection = draw.choice((Selection(tenant, session, end_user), Selection(tenant, None, "user")))
    said = exchange_turns(_said(CARL, draw.choice(own(CARL)), draw.randrange(99)))

    async def outdated() -> object:
        async with memory.embeddings.claim_outdated(tenant, space, 9, (0, -1)) as claim:
            vector = memory.embedder.vector("x")
            await claim.write([vector for _ in claim.turns])
            return list(claim.turns)

    return {
        "remove": lambda: memory.sessions.remove(selection),
        "append": lambda: PostgresMemoryAppend(memory.store).append(said, unknown),
        "begin_reindex": lambda: memory.embeddings.begin_reindex(tenant, space),
        "end_reindex": lambda: memory.embeddings.end_reindex(tenant, space),
        "claim_outdated": outdated,
    }


def _said(who: Principal, session: str, number: int) -> Exchange:
    words = f"secret number {number} of {mark(who)}"
    said = exchange(
        user(words), session=session, who=who, said=f"noted {words}", request_id=f"r{number}"
    )
    return replace(said, request=request(user(words), user="user"))


async def _token(service: MemoryService, who: Principal) -> str:
    current_call.set(Call("r", rest=False, principal=who))
    page = await service.ListSessions(pb.ListSessionsRequest(page_size=1), cast("Any", None))
    return str(page.next_page_token)
