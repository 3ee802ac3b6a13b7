"""Alice tells her name once: over REST and gRPC, streamed and not, on any instance, for ever."""

from collections.abc import Iterator
from typing import Any

import anthropic
import grpc
import httpx2 as httpx
import openai
import pytest

from ailb.v1 import chat_pb2 as pb
from ailb.v1 import chat_service_pb2 as service
from ailb.v1 import chat_service_pb2_grpc
from tests.support.stack import Stack

TELL, ASK = "My name is Alice", "What is my name?"
KNOWN = 'I was told: "My name is Alice"'


def sdk(stack: Stack) -> openai.OpenAI:
    return openai.OpenAI(api_key="unused", base_url=f"{stack.rest}/v1", max_retries=0)


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def whole(stack: Stack, session: str, text: str) -> str:
    with sdk(stack) as client:
        answer = client.chat.completions.create(
            model="demo", messages=said(text), extra_body={"session_id": session}
        )
    return answer.choices[0].message.content or ""


def streamed(stack: Stack, session: str, text: str) -> str:
    with sdk(stack) as client:
        stream = client.chat.completions.create(
            model="demo", messages=said(text), stream=True, extra_body={"session_id": session}
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def by_header(stack: Stack, session: str, text: str) -> str:
    with sdk(stack) as client:
        answer = client.chat.completions.create(
            model="demo", messages=said(text), extra_headers={"X-Session-ID": session}
        )
    return answer.choices[0].message.content or ""


def typed(stack: Stack, session: str, text: str) -> str:
    message = pb.Message(role=pb.ROLE_USER, content=[pb.ContentPart(text=text)])
    request = service.CreateChatCompletionRequest(
        parameters=pb.ChatCompletionParameters(model="demo", messages=[message], session_id=session)
    )
    with grpc.insecure_channel(stack.grpc) as channel:
        answer = chat_service_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(request)
    return str(answer.completion.choices[0].message.content[0].text)


def messages(stack: Stack, session: str, text: str) -> str:
    with anthropic.Anthropic(api_key="unused", base_url=stack.rest, max_retries=0) as client:
        answer = client.messages.create(
            model="demo",
            max_tokens=200,
            messages=said(text),
            extra_headers={"X-Session-ID": session},
        )
    return answer.content[0].text if answer.content[0].type == "text" else ""


WAYS = [whole, streamed, by_header, typed, messages]


@pytest.fixture(scope="module")
def stacks(postgres_server: str) -> Iterator[tuple[Stack, Stack]]:
    """Two instances on one database."""
    with Stack(postgres_server) as one, Stack(postgres_server) as other:
        yield one, other


@pytest.mark.parametrize("tell", WAYS)
@pytest.mark.parametrize("ask", WAYS)
def test_what_was_told_is_known_at_once_on_another_instance(
    stacks: tuple[Stack, Stack], tell: Any, ask: Any
) -> None:
    session = f"alice {tell.__name__} {ask.__name__}"
    tell(stacks[0], session, TELL)
    assert KNOWN in ask(stacks[1], session, ASK)


def test_another_session_knows_nothing(stacks: tuple[Stack, Stack]) -> None:
    whole(stacks[0], "one", TELL)
    assert "I was told" not in whole(stacks[0], "two", ASK)


def test_it_is_known_after_a_restart(postgres_server: str) -> None:
    with Stack(postgres_server) as stack:
        streamed(stack, "restarted", TELL)
    with Stack(postgres_server) as stack:
        assert KNOWN in streamed(stack, "restarted", ASK)


def test_each_answer_is_known_to_the_next_request(stacks: tuple[Stack, Stack]) -> None:
    for turn in range(30):
        ask = streamed if turn % 2 else whole
        ask(stacks[turn % 2], "ping-pong", f"Turn {turn}")
        sent = stacks[turn % 2].upstream.last_fields()["messages"]
        before = [m["content"] for m in sent if m["role"] == "user"][:-1]
        assert before == [f"Turn {n}" for n in range(turn)][-len(before) :]
        assert len(before) == min(turn, len(before))
        assert turn == 0 or before[-1] == f"Turn {turn - 1}"


def test_a_client_that_sends_its_history_gets_nothing_twice(stacks: tuple[Stack, Stack]) -> None:
    stack, history = stacks[0], []
    for turn in range(4):
        history += said(f"I say {turn}")
        with sdk(stack) as client:
            answer = client.chat.completions.create(
                model="demo", messages=history, extra_body={"session_id": "history"}
            )
        assert stack.upstream.last_fields()["messages"] == history
        history.append({"role": "assistant", "content": answer.choices[0].message.content})
    turns = httpx.get(f"{stack.rest}/v1/sessions/history/turns").json()["turns"]
    assert [turn["text"] for turn in turns] == [message["content"] for message in history]


def test_the_field_reaches_no_provider(stacks: tuple[Stack, Stack]) -> None:
    whole(stacks[0], "hidden", TELL)
    assert b"session_id" not in stacks[0].upstream.last().body


def test_an_unfit_session_is_a_400(stacks: tuple[Stack, Stack]) -> None:
    with sdk(stacks[0]) as client, pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model="demo", messages=said("x"), extra_body={"session_id": "a/b"}
        )
    assert raised.value.param == "session_id"


def test_sessions_are_read_and_deleted_over_rest(stacks: tuple[Stack, Stack]) -> None:
    rest = stacks[0].rest
    whole(stacks[0], "to delete", TELL)
    session = httpx.get(f"{rest}/v1/sessions/to%20delete").json()["session"]
    assert (session["id"], session["turn_count"]) == ("to delete", 2)
    found = httpx.post(
        f"{rest}/v1/sessions:search", json={"query": "name Alice", "session_id": "to delete"}
    ).json()
    assert found["matches"][0]["turn"]["text"] == TELL
    assert httpx.delete(f"{rest}/v1/sessions/to%20delete").status_code == 200
    gone = httpx.get(f"{rest}/v1/sessions/to%20delete")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
    assert "I was told" not in whole(stacks[1], "to delete", ASK)


def test_memory_may_be_switched_off(postgres_server: str) -> None:
    with Stack(postgres_server, settings={"enable_memory": False}) as stack:
        whole(stack, "off", TELL)
        response = httpx.post(
            f"{stack.rest}/v1/chat/completions",
            json={"model": "demo", "messages": said(ASK), "session_id": "off"},
        )
    assert "I was told" not in response.text
    assert response.headers["x-ailb-ignored-params"] == "session_id"
