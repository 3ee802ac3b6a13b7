"""Memory and knowledge around a chat: what reaches the provider, the caller and the memory."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from typing_extensions import override

from ailb_server.domain.chat import OWN_FIELDS, ChatChunk, ChatRequest, Operation, TokenUsage
from ailb_server.domain.context import Exchange, KnowledgeQuery, Recalled, Retrieved, Source
from ailb_server.domain.errors import (
    AilbError,
    CollectionNotFoundError,
    InvalidRequestError,
    UpstreamUnavailableError,
)
from ailb_server.domain.principal import Principal
from ailb_server.pipeline.chat import ChatAnswer
from ailb_server.pipeline.context import ContextStage
from ailb_server.pipeline.wishes import CallWishes
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.chats import pipeline_over

SOURCE = Source(1, "manuals", "a.md", "A", "/a.md", 0.8, 0, 1, "It is said")
ALICE = Principal(7, "alice")
DONE = ChatChunk((), b"data: [DONE]\n\n")


def last(text: str = "") -> ChatChunk:
    event = {
        "id": "c",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}],
    }
    return ChatChunk((event,), b"data: " + orjson.dumps(event) + b"\n\n", TokenUsage(3, 2))


@dataclass
class Memory:
    """Recalls what it is told to, and keeps what it is given."""

    recalled: Recalled = field(default_factory=Recalled)
    asked: list[tuple[Principal, str]] = field(default_factory=list)
    kept: list[Exchange] = field(default_factory=list)

    async def recall(self, who: Principal, session_id: str, request: ChatRequest) -> Recalled:
        self.asked.append((who, session_id))
        return self.recalled

    async def remember(self, exchange: Exchange) -> None:
        self.kept.append(exchange)


@dataclass
class Knowledge:
    """Finds what it is told to."""

    found: Retrieved | AilbError = field(default_factory=Retrieved)
    asked: list[KnowledgeQuery] = field(default_factory=list)

    async def retrieve(self, who: Principal, query: KnowledgeQuery) -> Retrieved:
        self.asked.append(query)
        if isinstance(self.found, AilbError):
            raise self.found
        return self.found


class Provider(FakeProvider):
    """Keeps the requests."""

    seen: ChatRequest

    @override
    def open(self, request: ChatRequest, model: str) -> Any:
        self.seen = request
        return super().open(request, model)


class Run:
    """A pipeline with a context stage over one provider."""

    def __init__(self, *says: Any, memory: Any = None, knowledge: Any = None) -> None:
        self.provider = Provider(says=says or (chunk("He"), last("llo"), DONE))
        pipeline = pipeline_over(Observer(), self.provider)
        self.pipeline = replace(pipeline, context=ContextStage(memory, knowledge))
        self.answer: ChatAnswer

    async def read(self, request: ChatRequest, **wishes: Any) -> list[ChatChunk]:
        wished = CallWishes(who=ALICE, request_id="r-1", **wishes)
        async with self.pipeline.open(request, wished) as self.answer:
            return [chunk async for chunk in self.answer.chunks]


def asking(*, stream: bool = True, **own: Any) -> ChatRequest:
    request = chat(stream=stream, **own)
    return replace(request, own_fields=OWN_FIELDS.intersection(own))


async def test_a_chat_that_asks_for_nothing_gets_nothing() -> None:
    memory, knowledge = Memory(), Knowledge()
    run, request = Run(memory=memory, knowledge=knowledge), asking()
    await run.read(request)
    assert run.provider.seen is request
    assert (memory.asked, memory.kept, knowledge.asked) == ([], [], [])


@pytest.mark.parametrize("by_header", [False, True])
async def test_a_session_is_recalled_and_remembered(by_header: bool) -> None:  # noqa: FBT001
    turns = ({"role": "user", "content": "I am Alice."}, {"role": "assistant", "content": "Hi."})
    memory = Memory(Recalled(turns, "similar"))
    run = Run(memory=memory)
    request = asking() if by_header else asking(session_id="s")
    await run.read(request, **({"session_id": "s"} if by_header else {}))
    assert memory.asked == [(ALICE, "s")]
    sent = run.provider.seen.fields["messages"]
    assert sent == [{"role": "system", "content": "similar"}, *turns, *request.fields["messages"]]
    (kept,) = memory.kept
    assert (kept.who, kept.session_id, kept.request_id) == (ALICE, "s", "r-1")
    assert kept.request is request
    assert kept.said.message == {"role": "assistant", "content": "Hello"}
    assert (kept.said.finish_reason, kept.said.completion_tokens) == ("stop", 2)
    assert run.answer.ignored == frozenset()


async def test_the_field_wins_over_the_header() -> None:
    memory = Memory()
    await Run(memory=memory).read(asking(session_id="field"), session_id="header")
    assert memory.asked == [(ALICE, "field")]


async def test_it_is_remembered_before_the_end_is_told() -> None:
    memory = Memory()
    run = Run(memory=memory)
    async with run.pipeline.open(asking(session_id="s"), CallWishes()) as answer:
        kept_at = [(said is DONE, len(memory.kept)) async for said in answer.chunks]
    assert kept_at == [(False, 0), (False, 0), (True, 1)]


async def test_a_whole_answer_is_remembered_before_it_is_told() -> None:
    memory = Memory()
    event = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    run = Run(ChatChunk((event,), orjson.dumps(event)), memory=memory)
    async with run.pipeline.open(asking(stream=False, session_id="s"), CallWishes()) as answer:
        await anext(answer.chunks)
        assert len(memory.kept) == 1


async def test_a_caller_who_leaves_is_remembered_as_far_as_it_came() -> None:
    memory = Memory()
    run = Run(chunk("Hel"), None, memory=memory)
    task = asyncio.create_task(run.read(asking(session_id="s")))
    await run.provider.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (kept,) = memory.kept
    assert (kept.said.message["content"], kept.said.finish_reason) == ("Hel", "cancelled")


async def test_an_answer_that_breaks_off_is_not_remembered() -> None:
    memory = Memory()
    run = Run(chunk("Hel"), UpstreamUnavailableError("cut"), memory=memory)
    with pytest.raises(UpstreamUnavailableError):
        await run.read(asking(session_id="s"))
    assert memory.kept == []


async def test_tool_calls_are_remembered() -> None:
    def call(**function: str) -> ChatChunk:
        delta = {"tool_calls": [{"index": 0, **({"id": "c1"} if "name" in function else {}),
                                 "function": function}]}  # fmt: skip
        return ChatChunk(({"choices": [{"index": 0, "delta": delta}]},), b"x")

    memory = Memory()
    await Run(call(name="f", arguments=""), call(arguments='{"a"'), call(arguments=":1}"), last(),
              memory=memory).read(asking(session_id="s"))  # fmt: skip
    assert memory.kept[0].said.message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


async def test_odd_answers_are_remembered_as_far_as_they_make_sense() -> None:
    memory = Memory()
    odd: Any = {"choices": [{"index": [0], "delta": {"content": "no"}}, 7, {"delta": "x"}]}
    await Run(ChatChunk((odd,), b"x"), last("yes"), memory=memory).read(asking(session_id="s"))
    assert memory.kept[0].said.message["content"] == "yes"


@pytest.mark.parametrize("session_id", ["", "a/b", "x" * 257, "a\nb"])
async def test_an_unfit_session_is_refused(session_id: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        await Run(memory=Memory()).read(asking(session_id=session_id))
    assert raised.value.facts["param"] == "session_id"


async def test_without_memory_a_session_is_ignored_and_said_so() -> None:
    run = Run()
    await run.read(asking(session_id="s"))
    assert run.answer.ignored == {"session_id"}


async def test_a_degraded_memory_is_told_and_the_chat_goes_on() -> None:
    run = Run(memory=Memory(Recalled(degraded=True)))
    assert len(await run.read(asking(session_id="s"))) == 3
    assert run.answer.degraded == ("memory",)


async def test_knowledge_is_put_before_the_model_and_its_sources_into_the_last_chunk() -> None:
    knowledge = Knowledge(Retrieved("[1] It is said.", (SOURCE,)))
    run = Run(knowledge=knowledge)
    request = asking(
        rag_collection="manuals", rag_top_k=5, rag_filter={"l": "en"}, rag_min_score=0.2
    )
    said = await run.read(request)
    assert knowledge.asked == [KnowledgeQuery("manuals", "hi", 5, {"l": "en"}, 0.2)]
    assert run.provider.seen.fields["messages"][0]["content"] == "[1] It is said."
    assert [b'"ailb"' in chunk.wire for chunk in said] == [False, True, False]
    event = orjson.loads(said[1].wire.removeprefix(b"data: "))
    assert event == said[1].events[0]
    assert event["ailb"]["sources"][0]["document_id"] == "a.md"
    assert run.answer.sources == (SOURCE,)


async def test_sources_of_a_whole_answer() -> None:
    event = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    run = Run(
        ChatChunk((event,), orjson.dumps(event)), knowledge=Knowledge(Retrieved("x", (SOURCE,)))
    )
    (said,) = await run.read(asking(stream=False, rag_collection="manuals"))
    assert orjson.loads(said.wire)["ailb"]["sources"][0]["number"] == 1
    assert orjson.loads(said.wire)["choices"] == event["choices"]


@pytest.mark.parametrize(
    ("own", "param"),
    [
        ({"rag_top_k": 3}, "rag_collection"),
        ({"rag_collection": ""}, "rag_collection"),
        ({"rag_collection": "c", "rag_top_k": 0}, "rag_top_k"),
        ({"rag_collection": "c", "rag_top_k": 51}, "rag_top_k"),
        ({"rag_collection": "c", "rag_min_score": 1.5}, "rag_min_score"),
    ],
)
async def test_bad_knowledge_fields(own: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        await Run(knowledge=Knowledge()).read(asking(**own))
    assert raised.value.facts["param"] == param


async def test_without_knowledge_its_fields_are_refused_and_told_how_to_enable_it() -> None:
    with pytest.raises(InvalidRequestError, match="ENABLE_RAG=true"):
        await Run().read(asking(rag_collection="c"))


async def test_null_is_as_good_as_absent() -> None:
    run = Run(memory=Memory())
    await run.read(asking(rag_collection=None, session_id=None))
    assert run.answer.degraded == ()


async def test_an_unknown_collection_reaches_no_provider() -> None:
    run = Run(knowledge=Knowledge(CollectionNotFoundError("no", param="rag_collection")))
    with pytest.raises(CollectionNotFoundError):
        await run.read(asking(rag_collection="c"))
    assert run.provider.log == []


async def test_other_operations_ignore_context_and_say_so() -> None:
    memory = Memory()
    run = Run(memory=memory, knowledge=Knowledge())
    request = replace(asking(session_id="s", rag_collection="c"), operation=Operation.EMBEDDING)
    with pytest.raises(AilbError):
        await run.read(request)
    assert memory.asked == []
