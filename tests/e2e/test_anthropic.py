"""An Anthropic upstream behind the whole path, asked by the official openai client."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from ailb_server.settings import ProviderSettings
from tests.support.anthropic_upstream import MODEL, AnthropicUpstream, Script, error_body
from tests.support.loop_thread import LoopThread
from tests.support.stack import Stack

HELLO: Any = [{"role": "user", "content": "Say hello!"}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[AnthropicUpstream]:
    loop = LoopThread()
    server = AnthropicUpstream(models=[{"id": MODEL, "max_tokens": 64_000}])
    loop.run(server.__aenter__())
    try:
        yield server
    finally:
        loop.run(server.__aexit__(None, None, None))
        loop.stop()


@pytest.fixture(scope="module")
def client(postgres_server: str, upstream: AnthropicUpstream) -> Iterator[openai.OpenAI]:
    settings = ProviderSettings.model_validate(
        {"name": "claude", "kind": "anthropic", "base_url": upstream.url, "api_key": "sk-ant-x"}
    )
    with Stack(postgres_server, upstreams=(), extra=(settings,)) as stack:
        yield openai.OpenAI(api_key="x", base_url=f"{stack.rest}/v1", max_retries=0)


def test_a_whole_answer(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, temperature=0.5
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello!"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (12, 3)
    assert raw.headers["x-ailb-provider"] == "claude"
    assert raw.headers["x-ailb-ignored-params"] == "temperature"


def test_a_streamed_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=HELLO, stream_options={"include_usage": True}
    ) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].message.content == "Hello!"
    assert answer.usage
    assert answer.usage.total_tokens == 15


def test_its_models_are_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == (MODEL, "claude")


def test_what_it_cannot_do_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=HELLO, n=2)
    assert refused.value.param == "n"


def test_its_refusal_reaches_the_caller(client: openai.OpenAI, upstream: AnthropicUpstream) -> None:
    body = error_body("invalid_request_error", "max_tokens: too large")
    upstream.script = Script([body], 400, {"content-type": "application/json"})
    try:
        with pytest.raises(openai.BadRequestError, match="max_tokens: too large") as refused:
            client.chat.completions.create(model=MODEL, messages=HELLO)
    finally:
        upstream.script = None
    assert refused.value.type == "invalid_request_error"
