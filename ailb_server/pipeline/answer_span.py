"""What an attempt's span is told of its answer, by OpenTelemetry's conventions for GenAI."""

from collections.abc import Mapping

from ailb_server.pipeline.record import ChatRecord
from ailb_server.routing.dispatcher import Answer
from ailb_server.telemetry.tracing import Value

_MAX_WORD = 64
_MICRO = 1_000_000


def answered(record: ChatRecord, answer: Answer) -> Mapping[str, Value]:
    """Tokens, times, model, and why it ended; nothing of what was said."""
    usage, cost = record.usage, record.cost_micro_dollars
    told: dict[str, Value] = {}
    if usage is not None:
        told["gen_ai.usage.input_tokens"] = usage.prompt
        told["gen_ai.usage.output_tokens"] = usage.completion
        told["gen_ai.usage.cache_read.input_tokens"] = usage.cached
        told["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write
        told["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
    if record.stream:
        told["gen_ai.response.time_to_first_chunk"] = answer.waited_s
    if record.model_answered:
        told["gen_ai.response.model"] = record.model_answered[:256]
    if record.finish_reason:
        told["gen_ai.response.finish_reasons"] = [record.finish_reason[:_MAX_WORD]]
    if cost is not None:
        told["ailb.cost.dollars"] = cost / _MICRO
    return told
