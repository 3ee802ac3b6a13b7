"""Routers as the server builds them, of targets in use, and a provider that answers at once.

Nothing here opens a socket or waits.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import orjson

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, TokenUsage
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.domain.principal import Principal
from ailb_server.domain.rollout import begun
from ailb_server.domain.route import Face, Metadata, ModelRoute, RouteTerms, Version
from ailb_server.domain.target import Capabilities, Price, Target
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Router

MODEL = "m"

_ABLE = Capabilities(vision=True, tools=True, json_schema=True, context=128_000)
_USAGE = TokenUsage(prompt=20, completion=50)
_EVENT = {"id": "c", "choices": [{"index": 0, "message": {"content": "A short answer."}}]}
_CHUNK = ChatChunk((_EVENT,), orjson.dumps(_EVENT), _USAGE)


@dataclass(frozen=True, slots=True)
class InstantProvider:
    """Answers every chat with the same one chunk, without waiting."""

    name: str

    @asynccontextmanager
    async def open(self, request: ChatRequest, model: str) -> AsyncIterator[ProviderAnswer]:
        """As `ChatProvider.open`; neither argument matters."""
        async with aclosing(_one_chunk()) as chunks:
            yield ProviderAnswer(chunks)

    async def list_models(self) -> Sequence[str] | None:
        """None: its models are declared."""
        return None


async def _one_chunk() -> AsyncGenerator[ChatChunk, None]:
    yield _CHUNK


@dataclass(frozen=True, slots=True)
class Routing:
    """A router of MODEL's targets, and what opens its plans. `first` is its first provider."""

    router: Router
    dispatcher: Dispatcher
    first: InstantProvider


def routing(targets: int, *, declared: bool) -> Routing:
    """One provider for each target, with weights 1 to 5 and a price of its own.

    Every target has answered before, so that its latency and its usual length are known.
    With `declared` each is declared to be able to do everything.
    """
    ledger = Ledger()
    providers = {f"p{index}": InstantProvider(f"p{index}") for index in range(targets)}
    declarations = [
        Declaration(
            name,
            name,
            provider,
            (MODEL,),
            weight=1 + index % 5,
            prices={MODEL: Price(150_000 + 1000 * index, 600_000 + 1000 * index)},
            capabilities={MODEL: _ABLE} if declared else None,
        )
        for index, (name, provider) in enumerate(providers.items())
    ]
    router = Router(Catalogue(declarations, ledger), ledger)
    _use_once(router)
    return Routing(router, Dispatcher(Roster(providers), ledger, _unseen), providers["p0"])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks over REST, in a session."""

    face: Face = Face.REST
    who: Principal = field(default_factory=Principal)
    session_id: str | None = "a-session"
    metadata: Metadata = ()


def with_routes(built: Routing, count: int) -> Routing:
    """The same, MODEL going by the last of so many routes, half of them patterns, to two versions
    of all its targets."""
    halves = tuple(Version(name, (MODEL,)) for name in ("blue", "green"))
    rollout = begun((("blue", 90), ("green", 10)), 0.0)
    patterns = [f"other-{n}" if n % 2 else f"other-{n}-*" for n in range(count - 1)]
    routes = [
        ModelRoute(RouteTerms(f"r{n}", pattern, halves), rollout)
        for n, pattern in enumerate((*patterns, "?"))
    ]
    built.router.catalogue.set_routes(routes)
    return built


def plain_chat() -> ChatRequest:
    """A question that any target can answer."""
    return _request([{"role": "user", "content": "What is a load balancer for?"}])


def demanding_chat() -> ChatRequest:
    """A question that needs vision, tools and a JSON schema."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/picture.png"}}
    return _request(
        [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}],
        tools=[{"type": "function", "function": {"name": "look_up", "parameters": {}}}],
        response_format={"type": "json_schema", "json_schema": {"name": "thing", "schema": {}}},
    )


def _request(messages: Sequence[Json], **fields: Json) -> ChatRequest:
    body = {"model": MODEL, "messages": messages, "max_tokens": 500, **fields}
    return ChatRequest(
        MODEL, stream=False, include_usage=False, body=orjson.dumps(body), fields=body
    )


def _use_once(router: Router) -> None:
    plan = router.plan(plain_chat())
    for seat in plan.order:
        with router.ledger.attempt(seat, plan.facts) as attempt:
            attempt.answered()
        attempt.used(_USAGE)


def _unseen(_target: Target, _seconds: float, _failure: str | None) -> None:
    """Metrics have a cost of their own, which is not routing's."""
