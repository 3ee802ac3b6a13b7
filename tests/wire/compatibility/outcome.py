"""Runs a probe through a provider's own translator, and says what became of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import orjson

from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatRequest, Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.providers.anthropic_wire_models import ModelFacts
from ailb_server.providers.anthropic_wire_request import messages_request
from ailb_server.providers.ollama_request_wire import upstream_request
from ailb_server.providers.openai_wire import upstream_body
from tests.wire.compatibility.probe import Expected, Meant, Probe

NUM_CTX = 8192
PLAIN: Mapping[str, Json] = MappingProxyType(
    {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
)


class Outcome(Enum):
    """What became of a parameter; DROPPED is a defect."""

    PASSED = "passed"
    TRANSLATED = "translated"
    IGNORED = "ignored"
    REJECTED = "rejected"
    NOTHING_TO_DO = "nothing to do"
    OWN = "AILB's own"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Translation:
    """What the upstream gets, what the caller is told is ignored; or the parameter refused."""

    body: bytes = b""
    ignored: frozenset[str] = frozenset()
    refused: str | None = None

    @property
    def fields(self) -> JsonObject:
        """The upstream's request, parsed."""
        fields: JsonObject = orjson.loads(self.body)
        return fields


@dataclass(frozen=True)
class Verdict:
    """`ignored` are the names told because of the probe."""

    outcome: Outcome
    ignored: frozenset[str]
    sent: Translation


def _openai(request: ChatRequest, _: ModelFacts) -> Translation:
    return Translation(upstream_body(request, request.model), request.own_fields)


def _anthropic(request: ChatRequest, facts: ModelFacts) -> Translation:
    sent = messages_request(request, request.model, facts)
    return Translation(sent.body, frozenset(sent.ignored) | request.own_fields)


def _ollama(request: ChatRequest, _: ModelFacts) -> Translation:
    sent = upstream_request(request, request.model, NUM_CTX)
    return Translation(sent.body, frozenset(sent.ignored) | request.own_fields)


_TRANSLATORS: Mapping[str, Callable[[ChatRequest, ModelFacts], Translation]] = MappingProxyType(
    {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}
)
KINDS = tuple(_TRANSLATORS)


def request_with(probe: Probe) -> JsonObject:
    """The chat with the parameter."""
    return {**PLAIN, **probe.beside, **probe.fields}


def translate(kind: str, fields: Mapping[str, Json], facts: ModelFacts) -> Translation:
    """From the caller's bytes to the upstream's, as the gateway does it."""
    try:
        return _TRANSLATORS[kind](parse_chat_request(orjson.dumps(fields)), facts)
    except InvalidRequestError as error:
        return Translation(refused=error.facts.get("param", ""))


def judge(kind: str, probe: Probe) -> Verdict:
    """By machine: from the difference that the parameter makes to what is sent and told."""
    fields = request_with(probe)
    sent = translate(kind, fields, probe.facts)
    if sent.refused is not None:
        return Verdict(Outcome.REJECTED, frozenset(), sent)
    before = translate(kind, {**PLAIN, **probe.beside}, probe.facts)
    assert before.refused is None, f"{kind} refuses {before.refused} without the parameter"
    outcome = _outcome(kind, probe, before, sent)
    if outcome is Outcome.DROPPED and isinstance(expected(kind, probe), Meant):
        outcome = Outcome.NOTHING_TO_DO
    return Verdict(outcome, sent.ignored - before.ignored, sent)


def expected(kind: str, probe: Probe) -> Expected:
    """What this kind of provider shall do."""
    return {"openai": probe.openai, "anthropic": probe.anthropic, "ollama": probe.ollama}[kind]


def _outcome(kind: str, probe: Probe, before: Translation, sent: Translation) -> Outcome:
    own = parse_chat_request(orjson.dumps(request_with(probe))).own_fields
    if own.issuperset(probe.fields):
        leaks = own.intersection(sent.fields)
        return Outcome.DROPPED if leaks or sent.body != before.body else Outcome.OWN
    if _is_as_written(kind, probe, sent):
        return Outcome.PASSED
    if sent.body != before.body:
        return Outcome.TRANSLATED
    return Outcome.IGNORED if sent.ignored - before.ignored else Outcome.DROPPED


def _is_as_written(kind: str, probe: Probe, sent: Translation) -> bool:
    if kind == "openai":
        return sent.body == orjson.dumps(request_with(probe))
    return all(sent.fields.get(name, _ABSENT) == value for name, value in probe.fields.items())


_ABSENT = object()
