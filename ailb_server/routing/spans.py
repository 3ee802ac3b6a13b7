"""The spans of attempts, by OpenTelemetry's conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (semantic conventions 1.41).
"""

from collections.abc import Mapping
from types import MappingProxyType

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.target import Target
from ailb_server.telemetry import tracing
from ailb_server.telemetry.tracing import Span, Value

OPERATIONS: Mapping[Operation, str] = MappingProxyType(
    {
        Operation.CHAT: "chat",
        Operation.COMPLETION: "text_completion",
        Operation.EMBEDDING: "embeddings",
    }
)
# Parameters that are numbers, by the request's field.
_NUMBERS = (
    ("max_tokens", "gen_ai.request.max_tokens"),
    ("max_completion_tokens", "gen_ai.request.max_tokens"),
    ("temperature", "gen_ai.request.temperature"),
    ("top_p", "gen_ai.request.top_p"),
    ("frequency_penalty", "gen_ai.request.frequency_penalty"),
    ("presence_penalty", "gen_ai.request.presence_penalty"),
    ("seed", "gen_ai.request.seed"),
)


def begin_attempt(request: ChatRequest, target: Target) -> Span | None:
    """The span of one request to a provider, from the question to the answer's end, which its
    holder ends; None without a trace."""
    parent = tracing.current.get()
    if parent is None:
        return None
    span = parent.child(f"{OPERATIONS[request.operation]} {target.model}", "client")
    span.tell(_asked(request, target))
    return span


def _asked(request: ChatRequest, target: Target) -> Mapping[str, Value]:
    told: dict[str, Value] = {
        "gen_ai.operation.name": OPERATIONS[request.operation],
        "gen_ai.provider.name": target.provider,
        "gen_ai.request.model": target.model,
    }
    if request.stream:
        told["gen_ai.request.stream"] = True
    for field, name in _NUMBERS:
        value = request.fields.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool):
            told[name] = value
    return told
