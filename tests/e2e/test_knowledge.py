"""Documents in, answers with their sources out: over REST and gRPC, streamed and not."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx2 as httpx
import openai
import pytest

from ailb.v1 import chat_pb2 as pb
from ailb.v1 import chat_service_pb2 as service
from ailb.v1 import chat_service_pb2_grpc
from tests.support.stack import Stack, eventually

LAMP = "# Lamps\n\nThe red lamp means low pressure.\n\nThe green lamp means that all is well."
TEA = "Tea is brewed at ninety degrees for three minutes."
QUESTION = "What does the red lamp mean?"
ASK: Any = [{"role": "user", "content": QUESTION}]
TOLD = 'I was told: "The red lamp means low pressure."'


@pytest.fixture(scope="module")
def stack(postgres_server: str) -> Iterator[Stack]:
    """With a collection `manuals` of two documents."""
    with Stack(postgres_server) as running:
        rest = httpx.Client(base_url=running.rest)
        rest.delete("/v1/collections/manuals")
        assert rest.post("/v1/collections", json={"name": "manuals"}).status_code == 200
        documents = [
            {"id": "lamps.md", "text": LAMP, "content_type": "text/markdown",
             "metadata": {"lang": "en", "part": 1}, "source": "/manuals/lamps.md"},
            {"id": "tea", "text": TEA, "title": "Tea", "metadata": {"lang": "en", "part": 2}},
        ]  # fmt: skip
        response = rest.post("/v1/collections/manuals/documents", json={"documents": documents})
        job = response.json()["job"]

        def finished() -> bool:
            state = rest.get(f"/v1/imports/{job['id']}").json()["job"]
            return bool(state["state"] == "IMPORT_STATE_FINISHED" and state["imported"] == 2)

        eventually(finished)
        yield running


def ask(stack: Stack, **more: Any) -> httpx.Response:
    body = {"model": "demo", "messages": ASK, "rag_collection": "manuals", **more}
    return httpx.post(f"{stack.rest}/v1/chat/completions", json=body)


def test_an_answer_draws_on_the_documents_and_names_them(stack: Stack) -> None:
    response = ask(stack)
    answer = response.json()
    assert TOLD in answer["choices"][0]["message"]["content"]
    source = answer["ailb"]["sources"][0]
    assert (source["number"], source["document_id"]) == (1, "lamps.md")
    assert (source["title"], source["source"]) == ("Lamps", "/manuals/lamps.md")
    assert response.headers["x-ailb-sources"].startswith("1=lamps.md")
    assert "x-ailb-degraded" not in response.headers
    sent = stack.upstream.last_fields()
    assert not any(name.startswith("rag_") for name in sent)
    assert [m["role"] for m in sent["messages"]] == ["system", "user"]


def test_the_sdk_streams_it_and_finds_the_sources_in_the_last_chunk(stack: Stack) -> None:
    with openai.OpenAI(api_key="x", base_url=f"{stack.rest}/v1", max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model="demo", messages=ASK, stream=True, extra_body={"rag_collection": "manuals"}
            )
        )
    assert TOLD in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    told = [chunk for chunk in chunks if "ailb" in (chunk.model_extra or {})]
    assert told == [chunk for chunk in chunks if chunk.choices[0].finish_reason]
    assert told[0].model_extra["ailb"]["sources"][0]["document_id"] == "lamps.md"  # type: ignore[index]


def test_typed_answers_have_typed_sources(stack: Stack) -> None:
    message = pb.Message(role=pb.ROLE_USER, content=[pb.ContentPart(text=QUESTION)])
    parameters = pb.ChatCompletionParameters(
        model="demo", messages=[message], rag_collection="manuals", rag_top_k=1
    )
    with grpc.insecure_channel(stack.grpc) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        answer = stub.CreateChatCompletion(
            service.CreateChatCompletionRequest(parameters=parameters)
        )
        chunks = [
            response.chunk
            for response in stub.StreamChatCompletion(
                service.StreamChatCompletionRequest(parameters=parameters)
            )
        ]
    assert [source.document_id for source in answer.completion.sources] == ["lamps.md"]
    assert [list(chunk.sources) for chunk in chunks if chunk.sources] == [
        list(answer.completion.sources)
    ]


def test_a_filter_leaves_out_other_documents(stack: Stack) -> None:
    answer = ask(stack, rag_filter={"part": 2}, rag_top_k=50).json()
    assert {s["document_id"] for s in answer.get("ailb", {}).get("sources", [])} <= {"tea"}


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"rag_collection": "nowhere"}, "rag_collection", "collection_not_found"),
        ({"rag_top_k": 0}, "rag_top_k", None),
        ({"rag_top_k": 51}, "rag_top_k", None),
        ({"rag_top_k": "3"}, "rag_top_k", None),
        ({"rag_min_score": 2}, "rag_min_score", None),
        ({"rag_collection": None, "rag_top_k": 3}, "rag_collection", None),
    ],
)
def test_bad_requests(stack: Stack, more: dict[str, Any], param: str, code: str | None) -> None:
    response = ask(stack, **more)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


def test_knowledge_may_be_switched_off(postgres_server: str) -> None:
    with Stack(postgres_server, settings={"enable_rag": False}) as stack:
        response = ask(stack)
    assert response.status_code == 400
    assert "ENABLE_RAG=true" in response.json()["error"]["message"]


def test_memory_and_knowledge_go_together(stack: Stack) -> None:
    for text in ("My name is Alice", QUESTION):
        body = {"model": "demo", "messages": [{"role": "user", "content": text}],
                "session_id": "both", "rag_collection": "manuals"}  # fmt: skip
        response = httpx.post(f"{stack.rest}/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
    sent = stack.upstream.last_fields()["messages"]
    assert sent[0]["role"] == "system"
    assert "My name is Alice" in [m["content"] for m in sent if m["role"] == "user"]
    turns = httpx.get(f"{stack.rest}/v1/sessions/both/turns").json()["turns"]
    assert [turn["text"] for turn in turns if turn["role"] == "ROLE_USER"] == [
        "My name is Alice",
        QUESTION,
    ]
