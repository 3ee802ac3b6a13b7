"""OpenAI's format, case by case: what goes through untouched, and the little that does not."""

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ailb_server.providers.openai_usage import usage_of
from ailb_server.providers.openai_wire import completion, sent_body
from tests.wire.joining import joined, said
from tests.wire.openai_cases import CASES, STREAMS, WHOLE, Case, told


def _cases(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.folder.name for case in cases])


@_cases(CASES)
def test_what_is_sent(case: Case) -> None:
    body, ignored = sent_body(case.request(), "gpt-x")
    assert body == case.text("upstream_request.json", "request.json")
    assert ignored == ()


@_cases(WHOLE)
def test_a_whole_answer(case: Case) -> None:
    body = case.text("upstream_response.json")
    chunk = completion(body)
    assert chunk.wire is body
    assert list(chunk.events) == [orjson.loads(body)]
    assert chunk.usage == usage_of(orjson.loads(body)["usage"])
    ChatCompletion.model_validate_json(chunk.wire, strict=True)


@_cases(STREAMS)
def test_a_streamed_answer(case: Case) -> None:
    answer = told([case.text("upstream_response.sse")], include_usage=case.request().include_usage)
    assert answer.wire == case.told()
    assert answer.fault == case.fault()
    for event in answer.events:
        ChatCompletionChunk.model_validate_json(orjson.dumps(event), strict=True)
    usages = [usage for e in answer.events if (usage := usage_of(e.get("usage")))]
    # One read is one chunk, and has the last.
    assert answer.usages == usages[-1:]


_PAIRS = [(whole, stream) for whole in WHOLE for stream in STREAMS
          if stream.folder.name == f"{whole.folder.name}-stream"]  # fmt: skip


@pytest.mark.parametrize(
    ("whole", "stream"), _PAIRS, ids=[whole.folder.name for whole, _ in _PAIRS]
)
def test_a_stream_says_what_its_whole_says(whole: Case, stream: Case) -> None:
    answer = told([stream.text("upstream_response.sse")], include_usage=True)
    chunk = completion(whole.text("upstream_response.json"))
    assert said(joined(answer.events)) == said(chunk.events[0])
    assert answer.usages[-1] == chunk.usage


def test_most_cases_are_both() -> None:
    assert len(_PAIRS) > 10
