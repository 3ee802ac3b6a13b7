"""`marchproxy.Query` over routes: filters, order, pages."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from ailb_server.api.module.route_wire import protocol_name
from ailb_server.domain.errors import InvalidRequestError
from marchproxy import types_pb2 as pb

MAX_FILTERS = 16
MAX_PAGE = 1000
DEFAULT_PAGE = 100
_METADATA = "metadata."

_FIELDS: Mapping[str, Callable[[pb.Route], str | int]] = MappingProxyType(
    {
        "route_id": lambda route: route.route_id,
        "protocol": lambda route: protocol_name(route.protocol),
        "source_pattern": lambda route: route.source_pattern,
        "destination_pattern": lambda route: route.destination_pattern,
        "path_pattern": lambda route: route.path_pattern,
        "priority": lambda route: route.priority,
    }
)
_TEXT: Mapping[str, Callable[[str, str], bool]] = MappingProxyType(
    {
        "eq": lambda has, told: has == told,
        "ne": lambda has, told: has != told,
        "contains": lambda has, told: told in has,
        "prefix": lambda has, told: has.startswith(told),
        "suffix": lambda has, told: has.endswith(told),
    }
)
_NUMBER: Mapping[str, Callable[[int, int], bool]] = MappingProxyType(
    {
        "eq": lambda has, told: has == told,
        "ne": lambda has, told: has != told,
        "gt": lambda has, told: has > told,
        "ge": lambda has, told: has >= told,
        "lt": lambda has, told: has < told,
        "le": lambda has, told: has <= told,
    }
)
_SIGNS: Mapping[str, str] = MappingProxyType(
    {"": "eq", "=": "eq", "==": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
    | {"gte": "ge", "lte": "le"}
)


def found(routes: Sequence[pb.Route], query: pb.Query) -> tuple[Sequence[pb.Route], pb.Pagination]:
    """One page of those that all filters let through, ordered by `sort_by`, else by id.

    Raises InvalidRequestError for a field, operator, value or page that there cannot be.
    """
    if len(query.filters) > MAX_FILTERS:
        raise InvalidRequestError(f"`filters` must be at most {MAX_FILTERS}.", param="filters")
    left = list(routes)
    for one in query.filters:
        passes = _passes(one)
        left = [route for route in left if passes(route)]
    by = _FIELDS.get(query.sort_by or "route_id")
    if by is None:
        raise InvalidRequestError(
            f"`sort_by` must be one of {', '.join(_FIELDS)}.", param="sort_by"
        )
    left.sort(key=lambda route: route.route_id)
    left.sort(key=lambda route: str(by(route)) if query.sort_by != "priority" else "")
    if query.sort_by == "priority":
        left.sort(key=lambda route: route.priority)
    if query.sort_desc:
        left.reverse()
    return _page(left, query.pagination)


def _page(
    routes: Sequence[pb.Route], asked: pb.Pagination
) -> tuple[Sequence[pb.Route], pb.Pagination]:
    if asked.page < 0 or not 0 <= asked.page_size <= MAX_PAGE:
        raise InvalidRequestError(
            f"`pagination` must have a page from 1 and a page_size from 1 to {MAX_PAGE}.",
            param="pagination",
        )
    page, size = asked.page or 1, asked.page_size or DEFAULT_PAGE
    begin = (page - 1) * size
    told = pb.Pagination(
        page=page, page_size=size, total_items=len(routes), total_pages=-(-len(routes) // size)
    )
    return routes[begin : begin + size], told


def _passes(one: pb.Filter) -> Callable[[pb.Route], bool]:
    operator = _SIGNS.get(one.operator, one.operator)
    if one.field == "priority":
        return _number_passes(operator, one.value)
    if operator not in _TEXT:
        raise _fault(f"`operator` must be one of {', '.join(_TEXT)} for `{one.field[:64]}`.")
    compare, told = _TEXT[operator], one.value
    if one.field.startswith(_METADATA):
        name = one.field.removeprefix(_METADATA)
        return lambda route: compare(route.metadata.get(name, ""), told)
    if one.field not in _FIELDS:
        names = ", ".join((*_FIELDS, f"{_METADATA}KEY"))
        raise _fault(f"`field` must be one of {names}.")
    by = _FIELDS[one.field]
    return lambda route: compare(str(by(route)), told)


def _number_passes(operator: str, value: str) -> Callable[[pb.Route], bool]:
    if operator not in _NUMBER:
        raise _fault(f"`operator` must be one of {', '.join(_NUMBER)} for `priority`.")
    try:
        told = int(value)
    except ValueError:
        raise _fault("`value` must be a whole number for `priority`.") from None
    compare = _NUMBER[operator]
    return lambda route: compare(route.priority, told)


def _fault(what: str) -> InvalidRequestError:
    return InvalidRequestError(what, param="filters")
