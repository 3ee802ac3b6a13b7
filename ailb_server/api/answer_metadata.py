"""What every chat answer tells beside its body, on both faces."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from ailb_server.api.call import REQUEST_ID_KEY, Call
from ailb_server.domain.chat import OWN_FIELDS
from ailb_server.domain.context import Source
from ailb_server.pipeline.chat import ChatAnswer

_MAX_SOURCES = 1024
# As many and as long as a response header bears.
MAX_IGNORED = 32
_MAX_NAME = 64


def answer_metadata(
    call: Call, answer: ChatAnswer, untold: Iterable[str] = ()
) -> tuple[tuple[str, str], ...]:
    """`x-request-id`, `x-ailb-provider`, `x-ailb-model` (as the provider names it),
    `x-ailb-overhead-ms` (what AILB added before the first byte), `x-ailb-ignored-params` (`untold`
    are those that the face itself left out), `x-ailb-degraded`, `x-ailb-sources`, `x-ailb-cache`
    (where it was asked for), `idempotent-replayed`; `x-ratelimit-*` where the caller has such
    limits."""
    metadata = [
        (REQUEST_ID_KEY, call.request_id),
        ("x-ailb-provider", _printable(answer.target.provider)),
        ("x-ailb-model", _printable(answer.target.model)),
        ("x-ailb-overhead-ms", f"{answer.overhead_s * 1000:.2f}"),
    ]
    ignored = sorted({*map(_name, answer.ignored), *map(_name, untold)})[:MAX_IGNORED]
    if told := sorted({*ignored, *answer.ignored & OWN_FIELDS}):
        metadata.append(("x-ailb-ignored-params", ",".join(told)))
    if answer.degraded:
        metadata.append(("x-ailb-degraded", ",".join(answer.degraded)))
    if answer.sources:
        metadata.append(("x-ailb-sources", _compact(answer.sources)))
    if answer.cache:
        metadata.append(("x-ailb-cache", answer.cache))
    if answer.replayed:
        metadata.append(("idempotent-replayed", "true"))
    metadata.extend(answer.limits)
    return tuple(metadata)


def _compact(sources: Sequence[Source]) -> str:
    """`1=manual.md, 2=faq%2Cold.md`: the numbers and documents' ids, percent-encoded; as many as
    go into 1 KiB."""
    told = ""
    for source in sources:
        one = f"{source.number}={quote(source.document_id, safe='/:@ ')}"
        if len(told) + len(one) > _MAX_SOURCES:
            return f"{told}, ..."
        told = f"{told}, {one}" if told else one
    return told


def _name(param: str) -> str:
    """A caller chooses the names of unknown parameters; the header is a list."""
    return _printable(param)[:_MAX_NAME].replace(",", "_")


def _printable(value: str) -> str:
    # A provider's listing may name a model in any characters, gRPC's metadata may not.
    return value.encode("unicode_escape").decode()
