"""`ailb.v1.MemoryService` over gRPC, as a caller meets it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from ailb.v1 import chat_pb2, memory_service_pb2_grpc
from ailb.v1 import memory_service_pb2 as pb
from ailb_server.api.edge import Edge
from ailb_server.api.memory_service import MemoryService
from ailb_server.app.services import memory_services
from ailb_server.server import GrpcServer
from tests.integration.api_core.conftest import error_info
from tests.integration.memory.instance import Instance
from tests.support.conversations import assistant, exchange, tool, user

TTL = timedelta(days=90)


@pytest.fixture
async def service(memory: Instance) -> AsyncIterator[Any]:
    servicer = MemoryService(memory.conversations, memory.reindexing, TTL)
    server = GrpcServer(Edge(10), memory_services(servicer), max_calls=10)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield memory_service_pb2_grpc.MemoryServiceStub(channel)
    await server.stop()


async def test_sessions_are_listed_page_by_page_the_last_used_first(
    memory: Instance, service: Any
) -> None:
    for n in range(7):
        await memory.remember(exchange(user("x"), session=f"s{n}"))
    await memory.remember(exchange(user("again"), session="s2"))
    seen: list[str] = []
    token = ""
    while True:
        page = await service.ListSessions(pb.ListSessionsRequest(page_size=3, page_token=token))
        seen += [session.id for session in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert seen == ["s2", "s6", "s5", "s4", "s3", "s1", "s0"]
    first = (await service.GetSession(pb.GetSessionRequest(session_id="s2"))).session
    assert first.turn_count == 4
    assert first.expires_at.ToDatetime() - first.last_turn_at.ToDatetime() == TTL
    assert first.created_at.ToDatetime() < first.last_turn_at.ToDatetime()


async def test_sessions_of_an_end_user(memory: Instance, service: Any) -> None:
    for n in range(4):
        await memory.remember(exchange(user("x"), session=f"s{n}"))
    await memory.fetch("UPDATE sessions SET end_user = 'ann' WHERE external_id > 's1'")
    page = await service.ListSessions(pb.ListSessionsRequest(user="ann", page_size=1))
    more = pb.ListSessionsRequest(user="ann", page_token=page.next_page_token)
    rest = await service.ListSessions(more)
    assert [(s.id, s.user) for s in (*page.sessions, *rest.sessions)] == [
        ("s3", "ann"),
        ("s2", "ann"),
    ]


async def test_turns_are_listed_page_by_page_with_their_messages(
    memory: Instance, service: Any
) -> None:
    await memory.remember(exchange(user("weather?"), said=assistant(None, "c1"), request_id="r1"))
    await memory.remember(exchange(tool("c1", "sun"), said="Sunny."))
    first = await service.ListTurns(pb.ListTurnsRequest(session_id="s", page_size=2))
    token = first.next_page_token
    second = await service.ListTurns(pb.ListTurnsRequest(session_id="s", page_token=token))
    turns = [*first.turns, *second.turns]
    assert [turn.index for turn in turns] == [0, 1, 2, 3]
    assert [turn.role for turn in turns] == [
        chat_pb2.ROLE_USER,
        chat_pb2.ROLE_ASSISTANT,
        chat_pb2.ROLE_TOOL,
        chat_pb2.ROLE_ASSISTANT,
    ]
    assert not turns[0].HasField("message")
    assert turns[1].message["tool_calls"][0]["id"] == "c1"
    assert turns[2].message["tool_call_id"] == "c1"
    assert (turns[1].provider, turns[1].model, turns[1].tokens) == ("openai", "gpt-x", 7)
    assert (turns[1].finish_reason, turns[1].request_id) == ("stop", "r1")
    assert second.next_page_token == ""


async def test_a_search_finds_by_words_and_by_meaning(memory: Instance, service: Any) -> None:
    for session in ("s", "t"):
        await memory.remember(exchange(user("My dog is Rex"), session=session, said="Nice"))
        for n in range(12):
            await memory.remember(exchange(user(f"number {n}"), session=session, said="ok"))
    await memory.embedding.catch_up()
    request = pb.SearchTurnsRequest(query="rex dog")
    found = (await service.SearchTurns(request)).matches
    assert [(m.session_id, m.turn.text) for m in found[:2]] == [
        ("s", "My dog is Rex"),
        ("t", "My dog is Rex"),
    ]
    scores = [match.score for match in found]
    assert scores == sorted(scores, reverse=True)
    request.session_id, request.limit = "t", 3
    within = (await service.SearchTurns(request)).matches
    assert len(within) == 3
    assert {match.session_id for match in within} == {"t"}
    # By meaning alone: no turn holds all of these words.
    request.query = "dog unheardof"
    assert (await service.SearchTurns(request)).matches[0].turn.text == "My dog is Rex"
    memory.embedder.down = True
    assert (await service.SearchTurns(request)).matches == []
    request.query = "dog"
    assert [m.turn.text for m in (await service.SearchTurns(request)).matches] == ["My dog is Rex"]


async def test_sessions_are_deleted(memory: Instance, service: Any) -> None:
    for n in range(3):
        await memory.remember(exchange(user("x"), session=f"s{n}"))
    await service.DeleteSession(pb.DeleteSessionRequest(session_id="s1"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.GetSession(pb.GetSessionRequest(session_id="s1"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert (await service.DeleteSessions(pb.DeleteSessionsRequest(all=True))).deleted == 2


async def test_a_reindex_streams_its_progress(memory: Instance, service: Any) -> None:
    for n in range(20):
        await memory.remember(exchange(user(f"{n}")))
    steps = [step.progress async for step in service.ReindexSessions(pb.ReindexSessionsRequest())]
    assert (steps[0].done, steps[-1].done, steps[-1].total) == (0, 40, 40)
    assert len(steps) > 2
    memory.embedder.space = None
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(service.ReindexSessions(pb.ReindexSessionsRequest())))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("method", "request_", "param"),
    [
        ("ListSessions", pb.ListSessionsRequest(page_size=-1), "page_size"),
        ("ListSessions", pb.ListSessionsRequest(page_size=1001), "page_size"),
        ("ListSessions", pb.ListSessionsRequest(page_token="x"), "page_token"),
        ("ListSessions", pb.ListSessionsRequest(page_token="WyJ0dXJucyIsMV0"), "page_token"),
        ("ListSessions", pb.ListSessionsRequest(user="u" * 257), "user"),
        ("ListTurns", pb.ListTurnsRequest(session_id="s", page_token="ä"), "page_token"),
        ("ListTurns", pb.ListTurnsRequest(session_id="s", page_size=-5), "page_size"),
        ("ListTurns", pb.ListTurnsRequest(session_id="a/b"), "session_id"),
        ("GetSession", pb.GetSessionRequest(session_id=""), "session_id"),
        ("GetSession", pb.GetSessionRequest(session_id="s" * 257), "session_id"),
        ("SearchTurns", pb.SearchTurnsRequest(query=" "), "query"),
        ("SearchTurns", pb.SearchTurnsRequest(query="q" * 8193), "query"),
        ("SearchTurns", pb.SearchTurnsRequest(query="q", limit=101), "limit"),
        ("SearchTurns", pb.SearchTurnsRequest(query="q", session_id="\n"), "session_id"),
        ("DeleteSession", pb.DeleteSessionRequest(session_id="\x7f"), "session_id"),
        ("DeleteSessions", pb.DeleteSessionsRequest(), "user"),
        ("DeleteSessions", pb.DeleteSessionsRequest(user="u", all=True), "all"),
    ],
)
async def test_a_bad_request_names_its_field(
    service: Any, method: str, request_: Any, param: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(service, method)(request_)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(refused.value).metadata["param"] == param


@pytest.mark.parametrize("words", ["a\0b", "'; DROP TABLE turns; --", '"', "-", "!!!", "the of"])
async def test_odd_queries_are_answered(memory: Instance, service: Any, words: str) -> None:
    await memory.remember(exchange(user("hello")))
    request = pb.SearchTurnsRequest(query=words)
    memory.embedder.down = True
    assert (await service.SearchTurns(request)).matches == []
