"""What each call of the client sends and brings back."""

import pytest
from google.protobuf import json_format

import ailb_client
from ailb.v1 import chat_pb2
from ailb_client import ChatCompletionParameters, ReasoningEffort, Struct, Tool
from tests.unit.client.double import MODELS, AilbDouble


async def test_a_text_is_answered(ailb: ailb_client.Client, double: AilbDouble) -> None:
    completion = await ailb.chat("Say hello", model="echo")
    assert ailb_client.text(completion) == "Say hello"
    assert completion.created == 2**40
    assert completion.usage == ailb_client.Usage(total_tokens=7)
    assert completion.choices[0].finish_reason is ailb_client.FinishReason.STOP
    (chat,) = double.chats
    assert [(m.role, m.content[0].text) for m in chat.messages] == [
        (chat_pb2.ROLE_USER, "Say hello")
    ]
    assert not chat.HasField("temperature")


async def test_a_conversation_is_sent_as_it_is(
    ailb: ailb_client.Client, double: AilbDouble
) -> None:
    image = "data:image/png;base64,AAAA"
    turns = [
        ailb_client.system("Be brief."),
        ailb_client.user("What is it?", images=[image]),
        ailb_client.assistant("A dot."),
        ailb_client.user("Sure?"),
    ]
    await ailb.chat(turns, model="echo")
    (chat,) = double.chats
    assert [m.role for m in chat.messages] == [
        chat_pb2.ROLE_SYSTEM,
        chat_pb2.ROLE_USER,
        chat_pb2.ROLE_ASSISTANT,
        chat_pb2.ROLE_USER,
    ]
    assert chat.messages[1].content[1].image_url.url == image


async def test_parameters_that_are_zero_are_sent(
    ailb: ailb_client.Client, double: AilbDouble
) -> None:
    await ailb.chat("Hi", model="echo", temperature=0, max_completion_tokens=0)
    (chat,) = double.chats
    assert chat.HasField("temperature")
    assert chat.HasField("max_completion_tokens")
    assert not chat.HasField("max_tokens")


async def test_tools_and_formats_are_sent(ailb: ailb_client.Client, double: AilbDouble) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    weather = ailb_client.FunctionDefinition(name="weather", parameters=Struct.from_dict(schema))
    json_mode = ailb_client.ResponseFormatMode.JSON_OBJECT
    await ailb.chat(
        "Hi",
        model="echo",
        tools=[Tool(function=weather)],
        response_format=ailb_client.ResponseFormat(mode=json_mode),
    )
    (chat,) = double.chats
    sent = json_format.MessageToDict(chat.tools[0].function.parameters)
    assert sent == schema
    assert chat.response_format.mode == chat_pb2.RESPONSE_FORMAT_MODE_JSON_OBJECT


async def test_every_other_parameter_goes_with_create(
    ailb: ailb_client.Client, double: AilbDouble
) -> None:
    parameters = ChatCompletionParameters(
        model="echo",
        messages=[ailb_client.user("Hi")],
        seed=-(2**63),
        logit_bias={"42": -100.0},
        reasoning_effort=ReasoningEffort.XHIGH,
        additional_parameters=Struct.from_dict({"session_id": "s", "n": None}),
    )
    answer = await ailb.create(parameters)
    assert ailb_client.text(answer.completion) == "Hi"
    (chat,) = double.chats
    assert chat.seed == -(2**63)
    assert dict(chat.logit_bias) == {"42": -100.0}
    assert chat.reasoning_effort == chat_pb2.REASONING_EFFORT_XHIGH
    assert dict(chat.additional_parameters) == {"session_id": "s", "n": None}


async def test_an_answer_tells_how_it_was_served(ailb: ailb_client.Client) -> None:
    parameters = ChatCompletionParameters(model="echo", messages=[ailb_client.user("Hi")])
    expected = ailb_client.Served("request-1", "double", "echo-2026", 0.42)
    assert (await ailb.create(parameters)).served == expected
    async with ailb.stream(parameters) as stream:
        assert await stream.served() == expected


async def test_large_messages_pass(ailb: ailb_client.Client) -> None:
    words = "x" * (8 * 1024 * 1024)
    assert ailb_client.text(await ailb.chat(words, model="echo")) == words


async def test_models(ailb: ailb_client.Client) -> None:
    assert [model.id for model in await ailb.models()] == list(MODELS)
    model = await ailb.model("vendor/other:tag")
    assert model == ailb_client.Model("vendor/other:tag", "model", 1, "d")


async def test_health(ailb: ailb_client.Client) -> None:
    health = await ailb.health()
    assert health.state is ailb_client.HealthState.DEGRADED
    assert [part.name for part in health.components] == ["store"]


async def test_the_key_goes_with_every_call(target: str, double: AilbDouble) -> None:
    async with ailb_client.connect(target, api_key="sk-ailb-1") as ailb:
        await ailb.models()
        await ailb.chat("Hi", model="echo")
        async for _ in ailb.chat_stream("Hi", model="echo"):
            pass
    assert [call["authorization"] for call in double.metadata] == ["Bearer sk-ailb-1"] * 3


async def test_without_a_key_none_is_sent(ailb: ailb_client.Client, double: AilbDouble) -> None:
    await ailb.models()
    assert "authorization" not in double.metadata[0]


@pytest.mark.parametrize("key", ["sk\n", "schlüssel", "a\x00b"])
async def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as raised:
        async with ailb_client.connect("localhost:1", api_key=key):
            pass
    assert key not in str(raised.value)


@pytest.mark.parametrize("target", ["http://localhost:8080", "https://ailb"])
async def test_a_url_is_no_target(target: str) -> None:
    with pytest.raises(ValueError, match="not a URL"):
        async with ailb_client.connect(target):
            pass


def test_text_is_of_one_choice() -> None:
    def piece(index: int, *words: str) -> ailb_client.ChoiceDelta:
        parts = [ailb_client.ContentPart(text=word) for word in words]
        return ailb_client.ChoiceDelta(index=index, delta=ailb_client.Message(content=parts))

    chunk = ailb_client.ChatCompletionChunk(choices=[piece(1, "b"), piece(0, "a", "", "c")])
    assert ailb_client.text(chunk) == "ac"
    assert ailb_client.text(chunk, 1) == "b"
    assert not ailb_client.text(chunk, 2)
    assert not ailb_client.text(ailb_client.ChatCompletion())
