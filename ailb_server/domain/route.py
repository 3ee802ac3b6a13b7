"""Model routes: which requests go to which targets, whatever model they ask for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeAlias

from ailb_server.domain.audit import AuditEvent
from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.principal import Principal
from ailb_server.domain.rollout import DEFAULT_INTERVAL_S, Rollout, Weights

# Options of a route are members of its metadata under this prefix.
STICKY = "ailb.sticky"
FALLBACK = "ailb.fallback"
STRATEGY = "ailb.strategy"
INTERVAL = "ailb.promotion_interval_s"

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class RouteTableUnsoundError(Exception):
    """What is stored is no routing table: somebody has changed it by SQL."""


class Face(StrEnum):
    """How a request came."""

    REST = "rest"
    GRPC = "grpc"


class Sticky(StrEnum):
    """What keeps requests on one version: each falls back on those before it."""

    NONE = "none"
    SESSION = "session"
    USER = "user"
    KEY = "key"


# The names of `marchproxy.Protocol` that a route may have, and whose requests it takes then.
PROTOCOLS: Mapping[str, Face | None] = MappingProxyType(
    {
        "": None,
        "HTTP": Face.REST,
        "HTTPS": Face.REST,
        "HTTP2": Face.REST,
        "HTTP3": Face.REST,
        "GRPC": Face.GRPC,
    }
)

# Of requests by their operation: what they are over REST in OpenAI's format, and over gRPC.
_PATHS: Mapping[Operation, tuple[str, str]] = MappingProxyType(
    {
        Operation.CHAT: ("/v1/chat/completions", "/ailb.v1.ChatService/CreateChatCompletion"),
        Operation.COMPLETION: (
            "/v1/completions",
            "/ailb.openai.v1.OpenAIService/CreateCompletion",
        ),
        Operation.EMBEDDING: ("/v1/embeddings", "/ailb.v1.EmbeddingService/CreateEmbeddings"),
    }
)
_MESSAGES = "/v1/messages"
_STREAMED = "/ailb.v1.ChatService/StreamChatCompletion"
PATHS: Mapping[str, Face] = MappingProxyType(
    {
        **{rest: Face.REST for rest, _ in _PATHS.values()},
        **{grpc: Face.GRPC for _, grpc in _PATHS.values()},
        _MESSAGES: Face.REST,
        _STREAMED: Face.GRPC,
    }
)


class Asker(Protocol):
    """What a call says beside its request. Without a `face` it is AILB's own, which no route takes:
    what embeds for memory must stay the same model."""

    @property
    def face(self) -> Face | None:
        """How it came."""
        ...

    @property
    def who(self) -> Principal:
        """Who calls."""
        ...

    @property
    def session_id(self) -> str | None:
        """The session named beside the body."""
        ...

    @property
    def metadata(self) -> Metadata:
        """Headers, by lower-case names."""
        ...


@dataclass(frozen=True, slots=True)
class Version:
    """A part of a route's target group: `models` are names as callers write them, in order."""

    name: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteTerms:
    """A route as it is asked for. `weights` None: as they are, or all to the first version.

    `protocol` is a key of PROTOCOLS; `path_pattern` (empty: every path) and `model_pattern` have
    `*` and `?` as wildcards; `headers`, by lower-case names, must all be there as they are.
    """

    route_id: str
    model_pattern: str
    versions: tuple[Version, ...]
    weights: Weights | None = None
    protocol: str = ""
    path_pattern: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def face(self) -> Face | None:
        """Whose requests it takes; None: all."""
        return PROTOCOLS[self.protocol]

    @property
    def sticky(self) -> Sticky:
        """What keeps requests on one version."""
        return Sticky(self.metadata.get(STICKY, Sticky.KEY))

    @property
    def falls_back(self) -> bool:
        """Whether another version serves what the request's own cannot."""
        return self.metadata.get(FALLBACK, "versions") == "versions"

    @property
    def strategy(self) -> str | None:
        """By name; None: that of the one alias that a version is, else the instance's."""
        return self.metadata.get(STRATEGY)

    @property
    def interval_s(self) -> int:
        """Of promotions in steps."""
        return int(self.metadata.get(INTERVAL, DEFAULT_INTERVAL_S))

    @property
    def is_pattern(self) -> bool:
        """Whether it takes more than one model's name."""
        return "*" in self.model_pattern or "?" in self.model_pattern

    def conditions(self) -> tuple[object, ...]:
        """What it is taken by; two routes with the same one are never both taken."""
        named = (self.model_pattern, self.face, self.path_pattern)
        return (*named, tuple(sorted(self.headers)), self.priority)


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A route in force. The terms' `weights` are None: the rollout has them."""

    terms: RouteTerms
    rollout: Rollout

    @property
    def route_id(self) -> str:
        """Its name."""
        return self.terms.route_id


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes as Postgres has them, by id, and the weight of this instance's version, None if it
    was never set. `now` is the time there when they were read."""

    version: int = 0
    routes: Sequence[ModelRoute] = ()
    instance: Rollout | None = None
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class RouteEdit:
    """What is to be instead of a table, and what the audit log is told of it."""

    routes: Sequence[ModelRoute]
    instance: Rollout | None
    event: AuditEvent


RouteChange: TypeAlias = Callable[[RouteTable], RouteEdit]


def path_of(request: ChatRequest, face: Face) -> str:
    """The path of a request: over gRPC its typed method."""
    rest, grpc = _PATHS[request.operation]
    if face is Face.REST:
        return _MESSAGES if request.wire == "anthropic" else rest
    return _STREAMED if request.stream and request.operation is Operation.CHAT else grpc


def sticky_key(request: ChatRequest, asker: Asker, sticky: Sticky) -> str:
    """What the request's version hangs on; empty: chance."""
    if sticky is Sticky.NONE:
        return ""
    who = asker.who
    told = request.fields.get("session_id") if "session_id" in request.own_fields else None
    session = told if isinstance(told, str) else asker.session_id
    if session:
        return f"s\0{who.tenant_id}\0{session}"
    user = request.fields.get("user")
    if sticky is not Sticky.SESSION and isinstance(user, str) and user:
        return f"u\0{who.tenant_id}\0{who.key_id}\0{user}"
    if sticky is Sticky.KEY and who.key_id is not None:
        return f"k\0{who.key_id}"
    return ""
