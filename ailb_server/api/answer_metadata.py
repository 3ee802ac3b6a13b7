"""What every chat answer tells beside its body, on both faces."""

from collections.abc import Iterable

from ailb_server.api.edge import REQUEST_ID_KEY, Call
from ailb_server.domain.chat import ChatRequest
from ailb_server.pipeline.chat import ChatAnswer

# As many and as long as a response header bears.
MAX_IGNORED = 32
_MAX_NAME = 64


def answer_metadata(
    call: Call, request: ChatRequest, answer: ChatAnswer, untold: Iterable[str] = ()
) -> tuple[tuple[str, str], ...]:
    """`x-request-id`, `x-ailb-provider`, `x-ailb-model` (as the provider names it),
    `x-ailb-overhead-ms` (what AILB added before the first byte), `x-ailb-ignored-params`; `untold`
    are those that the face itself left out."""
    metadata = [
        (REQUEST_ID_KEY, call.request_id),
        ("x-ailb-provider", _printable(answer.target.provider)),
        ("x-ailb-model", _printable(answer.target.model)),
        ("x-ailb-overhead-ms", f"{answer.overhead_s * 1000:.2f}"),
    ]
    ignored = sorted({*map(_name, answer.ignored), *map(_name, untold)})[:MAX_IGNORED]
    told = sorted(request.own_fields.union(ignored))
    if told:
        metadata.append(("x-ailb-ignored-params", ",".join(told)))
    return tuple(metadata)


def _name(param: str) -> str:
    """A caller chooses the names of unknown parameters; the header is a list."""
    return _printable(param)[:_MAX_NAME].replace(",", "_")


def _printable(value: str) -> str:
    # A provider's listing may name a model in any characters, gRPC's metadata may not.
    return value.encode("unicode_escape").decode()
