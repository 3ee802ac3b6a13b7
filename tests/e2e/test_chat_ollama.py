"""An Ollama behind the whole path: discovered, asked, streamed, refused, by the official SDK."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from pydantic import AnyHttpUrl

from ailb_server.settings import ProviderSettings
from tests.support.loop_thread import LoopThread
from tests.support.ollama_upstream import Line, OllamaUpstream, Script, last_line, line
from tests.support.stack import Stack

_MODEL = "llama3.2:3b"
_HELLO: Any = [{"role": "user", "content": "Say hello!"}]
_TOOL: Any = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
_CALLS: Line = {
    "tool_calls": [{"function": {"index": 0, "name": "now", "arguments": {"zone": "UTC"}}}]
}


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaUpstream]:
    loop, upstream = LoopThread(), OllamaUpstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())
    loop.stop()


@pytest.fixture(scope="module")
def stack(postgres_server: str, ollama: OllamaUpstream) -> Iterator[Stack]:
    """One provider `ollama` with a context of its own; no other."""
    url = AnyHttpUrl(ollama.url)
    provider = ProviderSettings(name="ollama", kind="ollama", base_url=url, num_ctx=4096)
    with Stack(postgres_server, upstreams=(), extra=(provider,)) as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="unused", base_url=f"{stack.rest}/v1", max_retries=0
    ) as opened:
        yield opened


async def test_its_models_are_discovered(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == [_MODEL]


async def test_an_answer(client: openai.AsyncOpenAI, ollama: OllamaUpstream) -> None:
    ollama.script = Script([line("Hel"), line("lo"), last_line()])
    raw = await client.chat.completions.with_raw_response.create(
        model=_MODEL, messages=_HELLO, temperature=0, user="ann"
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert raw.headers["x-ailb-ignored-params"] == "user"
    assert ollama.received[-1].body["options"] == {"num_ctx": 4096, "temperature": 0}


async def test_a_stream_with_a_tool_call(
    client: openai.AsyncOpenAI, ollama: OllamaUpstream
) -> None:
    ollama.script = Script([line("Let me see."), line(**_CALLS), last_line()])
    async with client.chat.completions.stream(
        model=_MODEL, messages=_HELLO, tools=[_TOOL], stream_options={"include_usage": True}
    ) as stream:
        answer = await stream.get_final_completion()
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.id.startswith("call_")
    assert (call.function.name, call.function.arguments) == ("now", '{"zone":"UTC"}')
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9


async def test_what_it_cannot_do_is_a_400(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(
            model=_MODEL, messages=_HELLO, tools=[_TOOL], tool_choice="required"
        )
    assert refused.value.param == "tool_choice"


async def test_a_model_that_it_lost_is_a_404(
    client: openai.AsyncOpenAI, ollama: OllamaUpstream
) -> None:
    ollama.script = Script(body=b'{"error":"model not found"}', status=404)
    with pytest.raises(openai.NotFoundError) as refused:
        await client.chat.completions.create(model=_MODEL, messages=_HELLO)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_a_stream_that_breaks_ends_with_an_error(
    client: openai.AsyncOpenAI, ollama: OllamaUpstream
) -> None:
    ollama.script = Script([line("a")], fault="stall_late")
    with pytest.raises(openai.APIError) as broken:
        async for _ in await client.chat.completions.create(
            model=_MODEL, messages=_HELLO, stream=True
        ):
            pass
    assert broken.value.code == "upstream_timeout"


async def test_embeddings(client: openai.AsyncOpenAI, ollama: OllamaUpstream) -> None:
    # By default the SDK asks for base64, and decodes it.
    raw = await client.embeddings.with_raw_response.create(
        model=_MODEL, input=["a", "b"], dimensions=2, user="ann"
    )
    answer = raw.parse()
    assert [(item.index, item.embedding) for item in answer.data] == [
        (0, [0.5, -0.25]),
        (1, [0.5, -0.25]),
    ]
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (_MODEL, 6, 6)
    assert raw.headers["x-ailb-ignored-params"] == "user"
    sent = ollama.received[-1]
    assert sent.path == "/api/embed"
    assert sent.body == {
        "model": _MODEL,
        "input": ["a", "b"],
        "truncate": False,
        "dimensions": 2,
    }
    floats = await client.embeddings.create(model=_MODEL, input="a", encoding_format="float")
    assert floats.data[0].embedding == [0.5, -0.25]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.embeddings.create(model=_MODEL, input=[1, 2])
    assert refused.value.param == "input"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (Script(body=b'{"error":"the input length exceeds the context length"}', status=400), 400),
        (Script(body=b'{"error":"model not found"}', status=404), 404),
        (Script(body=b'{"embeddings":[]}'), 503),
    ],
)
async def test_embeddings_that_fail(
    client: openai.AsyncOpenAI, ollama: OllamaUpstream, script: Script, status: int
) -> None:
    ollama.embed = script
    with pytest.raises(openai.APIStatusError) as failed:
        await client.embeddings.create(model=_MODEL, input="a")
    assert failed.value.status_code == status
