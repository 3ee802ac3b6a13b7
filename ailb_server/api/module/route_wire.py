"""Model routes as `marchproxy.Route`s, and back. docs/model-routes.md has the fields."""

from collections.abc import Mapping
from types import MappingProxyType

from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.route import PROTOCOLS, ModelRoute, RouteTerms
from ailb_server.domain.route_syntax import group_text, parse_group
from marchproxy import types_pb2 as pb

_NAMES: Mapping[int, str] = MappingProxyType(
    {
        number: name.removeprefix("PROTOCOL_").replace("UNSPECIFIED", "")
        for name, number in pb.Protocol.items()
    }
)
_NUMBERS: Mapping[str, pb.Protocol.ValueType] = MappingProxyType(
    {
        name.removeprefix("PROTOCOL_").replace("UNSPECIFIED", ""): number
        for name, number in pb.Protocol.items()
    }
)


def protocol_name(number: int) -> str:
    """As in `RouteTerms.protocol`; a number that nobody knows is itself."""
    return _NAMES.get(number, str(number))


def terms_of(route: pb.Route) -> RouteTerms:
    """Raises InvalidRequestError for what cannot be read, or would have no effect."""
    for param in ("source_port", "destination_port"):
        if getattr(route, param):
            raise InvalidRequestError(f"`{param}` has no meaning for AILB's routes.", param=param)
    protocol = protocol_name(route.protocol)
    if protocol not in PROTOCOLS:
        raise InvalidRequestError(
            f"`protocol` {protocol} is not served: only HTTP…, GRPC or none.", param="protocol"
        )
    try:
        versions, weights = parse_group(route.destination_pattern)
    except ValueError as error:
        raise InvalidRequestError(
            f"`destination_pattern` {error}.", param="destination_pattern"
        ) from error
    return RouteTerms(
        route_id=route.route_id,
        model_pattern=route.source_pattern,
        versions=versions,
        weights=weights,
        protocol=protocol,
        path_pattern=route.path_pattern,
        headers=tuple(sorted((name.lower(), value) for name, value in route.headers.items())),
        priority=route.priority,
        metadata=dict(route.metadata),
    )


def route_message(route: ModelRoute, now: float) -> pb.Route:
    """With the weights that are in force at `now`."""
    terms = route.terms
    return pb.Route(
        route_id=terms.route_id,
        protocol=_NUMBERS[terms.protocol],
        source_pattern=terms.model_pattern,
        destination_pattern=group_text(terms.versions, route.rollout.at(now)),
        headers=dict(terms.headers),
        path_pattern=terms.path_pattern,
        priority=terms.priority,
        metadata=dict(terms.metadata),
    )
