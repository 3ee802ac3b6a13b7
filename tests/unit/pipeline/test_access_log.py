"""One line for each call, which says who, what and how long, and nothing of what was said."""

import logging
from typing import Any

import pytest

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.principal import Principal
from ailb_server.domain.target import Target
from ailb_server.pipeline.access_log import AccessLog, CallEnd
from ailb_server.pipeline.record import ChatRecord
from ailb_server.routing.decisions import Decision, Tried
from ailb_server.telemetry import logs

WHO = Principal(tenant="acme", key_id=7, name="robot")
TARGET, OTHER = Target("openai", "gpt-4o-2024"), Target("azure", "gpt-4o")
METHOD = "/ailb.openai.v1.OpenAIService/CreateChatCompletion"


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=logs.ACCESS)


def _end(status: int = 200, outcome: str = "ok") -> CallEnd:
    return CallEnd(METHOD, status, outcome, 1.2345, WHO)


def _fields(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    (record,) = caplog.records
    fields: dict[str, Any] = record.__dict__["fields"]
    return fields


def _record() -> ChatRecord:
    return ChatRecord(
        "gpt-4o",
        stream=True,
        target=TARGET,
        usage=TokenUsage(10, 20),
        cost_micro_dollars=60,
        first_token_s=0.25,
        finish_reason="stop",
    )


def test_a_chats_line(caplog: pytest.LogCaptureFixture) -> None:
    log, record = AccessLog(1), _record()
    log.chat_started(record)
    record.decision = Decision(0, "gpt-4o", "load_balanced", (OTHER, TARGET))
    record.decision.tried += [
        Tried(OTHER, "upstream_timeout", 0.1),
        Tried(TARGET, "answered", 0.15),
    ]
    log.called(_end())
    assert _fields(caplog) == {
        "method": "OpenAIService/CreateChatCompletion",
        "status": 200,
        "outcome": "ok",
        "latency_ms": 1234.5,
        "tenant": "acme",
        "key": "robot",
        "key_id": 7,
        "operation": "chat",
        "stream": True,
        "model": "gpt-4o",
        "provider": "openai",
        "model_sent": "gpt-4o-2024",
        "ttft_ms": 250,
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "cost_dollars": 0.00006,
        "finish_reason": "stop",
        "strategy": "load_balanced",
        "attempts": 2,
        "tried": ["azure/gpt-4o: upstream_timeout", "openai/gpt-4o-2024: answered"],
    }


def test_errors_are_told_however_few_others_are(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(0)
    log.called(_end())
    assert not caplog.records
    log.called(_end(429, "rate_limit_exceeded"))
    assert _fields(caplog)["outcome"] == "rate_limit_exceeded"


def test_the_sample_is_a_share(caplog: pytest.LogCaptureFixture) -> None:
    draws = iter((0.1, 0.3, 0.2, 0.9))
    log = AccessLog(0.25, lambda: next(draws))
    for _ in range(4):
        log.called(_end())
    assert len(caplog.records) == 2


def test_what_a_caller_wrote_is_clipped_and_told_only_if_somebody_serves_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = AccessLog(1)
    record = ChatRecord("m" * 10_000, stream=False)
    log.chat_started(record)
    log.called(_end(404, "model_not_found"))
    assert _fields(caplog)["model"] is None
    caplog.clear()
    record.target = Target("p", "m")
    log.called(_end(500, "internal_error"))
    assert len(_fields(caplog)["model"]) == 128
