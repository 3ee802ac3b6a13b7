"""What a chat's record adds to the metrics."""

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Target
from ailb_server.pipeline.metering import Metering
from ailb_server.pipeline.record import ChatRecord
from ailb_server.telemetry.metrics import Metrics

_TARGET = Target("p", "m")
_LABELS = {"provider": "p", "model": "m"}


def _metered(record: ChatRecord) -> Metrics:
    metrics = Metrics("ailb-1", "0")
    metering = Metering(metrics)
    metering.chat_started(record)
    assert metrics.registry.get_sample_value("ailb_active_chats") == 1
    metering.chat_finished(record)
    assert metrics.registry.get_sample_value("ailb_active_chats") == 0
    return metrics


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {**_LABELS, **labels})


def test_an_answer_counts_tokens_cost_and_times() -> None:
    usage = TokenUsage(prompt=10, completion=5, cached=4)
    metrics = _metered(
        ChatRecord(
            "m",
            stream=True,
            target=_TARGET,
            usage=usage,
            cost_micro_dollars=60,
            overhead_s=0.001,
            first_token_s=0.2,
        )
    )
    assert _value(metrics, "ailb_requests_total", outcome="ok") == 1
    assert _value(metrics, "ailb_tokens_total", kind="prompt") == 10
    assert _value(metrics, "ailb_tokens_total", kind="cached") == 4
    assert _value(metrics, "ailb_tokens_total", kind="reasoning") is None
    assert _value(metrics, "ailb_cost_micro_dollars_total") == 60
    assert _value(metrics, "ailb_time_to_first_token_seconds_count") == 1
    assert _value(metrics, "ailb_request_seconds_count") == 1
    assert metrics.registry.get_sample_value("ailb_overhead_seconds_count") == 1


def test_an_answer_at_once_has_no_time_to_first_token() -> None:
    metrics = _metered(ChatRecord("m", stream=False, target=_TARGET, first_token_s=0.2))
    assert _value(metrics, "ailb_time_to_first_token_seconds_count") is None


def test_a_model_without_a_price_costs_nothing() -> None:
    metrics = _metered(ChatRecord("m", stream=False, target=_TARGET, usage=TokenUsage(prompt=1)))
    assert _value(metrics, "ailb_cost_micro_dollars_total") is None


def test_a_chat_that_reached_no_target_is_counted_too() -> None:
    metrics = _metered(ChatRecord("nope", stream=False, outcome="model_not_found"))
    value = metrics.registry.get_sample_value(
        "ailb_requests_total", {"provider": "none", "model": "none", "outcome": "model_not_found"}
    )
    assert value == 1
