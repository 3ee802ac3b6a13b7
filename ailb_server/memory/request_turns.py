"""A request's messages as turns: what it repeats, and what it says now."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from ailb_server.domain.chat import ChatRequest, JsonObject
from ailb_server.domain.context import Exchange
from ailb_server.domain.turn import NewExchange, NewTurn, Role, estimated_tokens
from ailb_server.memory.message_text import beside_text, clean, kept, text_of

# So many of a request's messages are stored, the newest; further ones it has to bring itself.
MAX_TURNS_OF_REQUEST = 200
# So many are looked at, the newest, to leave out what the request holds already.
MAX_COMPARED = 1000
_MAX_USER = 256
_MAX_WORD = 256
_SPARE_BYTES = 512
_ROLES = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    # What tool results were called before there were tools: kept, but not recalled as messages.
    "function": Role.TOOL,
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A request's messages without the instructions, oldest first.

    `history` comes before what the caller says now; `now` is the trailing run of users' messages
    and tools' results.
    """

    history: Sequence[JsonObject]
    now: Sequence[JsonObject]

    def question(self) -> str:
        """The last user's message, as text; empty if there is none."""
        for message in (*reversed(self.now), *reversed(self.history)):
            if message.get("role") == "user":
                return text_of(message)
        return ""

    def awaited_results(self) -> frozenset[str]:
        """Ids of the calls whose results the request begins with."""
        ids = set()
        for message in (*self.history, *self.now):
            if message.get("role") != "tool":
                break
            ids.add(str(message.get("tool_call_id")))
        return frozenset(ids)


def sent_by(request: ChatRequest) -> Sent:
    """At most the newest MAX_COMPARED messages; what is no message of a known role is left out."""
    messages = request.fields.get("messages")
    told = [
        message
        for message in (messages if isinstance(messages, list) else [])[-MAX_COMPARED:]
        if isinstance(message, dict) and message.get("role") in _ROLES
    ]
    begin = len(told)
    while begin and told[begin - 1]["role"] != "assistant":
        begin -= 1
    return Sent(told[:begin], told[begin:])


def fingerprint_of(message: JsonObject) -> int:
    """64 bits of role, words and tool ids: equal for a message that a client sends again.

    Space around the words does not count, because clients strip it.
    """
    role = _ROLES[message["role"]]
    parts = [role.word, text_of(message).strip()]
    extra = beside_text(message) or {}
    parts.append(str(extra.get("tool_call_id", "")))
    parts.extend(str(call["id"]) for call in extra.get("tool_calls", ()))
    digest = blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def exchange_turns(exchange: Exchange) -> NewExchange:
    """What of the exchange may be stored, bounded in count and bytes."""
    sent = sent_by(exchange.request)
    now = [_turn(message) for message in sent.now[-MAX_TURNS_OF_REQUEST:]]
    room = MAX_TURNS_OF_REQUEST - len(now)
    history = [_turn(message) for message in sent.history[-room:]] if room else []
    fresh = (*now, _answer(exchange))
    user = exchange.request.fields.get("user")
    return NewExchange(
        tenant_id=exchange.who.tenant_id,
        session_id=exchange.session_id,
        end_user=clean(user)[:_MAX_USER] if isinstance(user, str) else "",
        request_id=clean(exchange.request_id)[:_MAX_WORD],
        key=_key(exchange.request_id, now),
        history=history,
        fresh=fresh,
        size=sum(len(t.text) + _SPARE_BYTES for t in (*history, *fresh)),
    )


def _turn(message: JsonObject) -> NewTurn:
    text = kept(text_of(message))
    return NewTurn(
        role=_ROLES[message["role"]],
        text=text,
        message=beside_text(message),
        fingerprint=fingerprint_of(message),
        tokens=estimated_tokens(text),
    )


def _answer(exchange: Exchange) -> NewTurn:
    said = exchange.said
    message = {**said.message, "role": "assistant"}
    turn = _turn(message)
    tokens = said.completion_tokens
    return NewTurn(
        role=Role.ASSISTANT,
        text=turn.text,
        message=turn.message,
        fingerprint=turn.fingerprint,
        tokens=turn.tokens if tokens is None else max(0, min(tokens, 2**31 - 1)),
        model=clean(said.model)[:_MAX_WORD],
        provider=clean(said.provider)[:_MAX_WORD],
        finish_reason=clean(said.finish_reason)[:_MAX_WORD],
    )


def _key(request_id: str, now: Sequence[NewTurn]) -> UUID:
    """Of the request id and of what was asked: some callers give every request of a trace the same
    id, and none of those must be taken for another's retry."""
    parts = [request_id, *(str(turn.fingerprint) for turn in now)]
    text = "\0".join(parts).encode(errors="surrogatepass")
    return UUID(bytes=blake2b(text, digest_size=16).digest())
