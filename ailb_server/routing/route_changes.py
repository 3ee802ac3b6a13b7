"""What becomes of a table of routes: whole and sound, or an error."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ailb_server.domain.errors import AilbError, InvalidRequestError, NotFoundError
from ailb_server.domain.rollout import ALL, Rollout, begun, first_has_all
from ailb_server.domain.route import ModelRoute, RouteTable, RouteTableUnsoundError, RouteTerms
from ailb_server.domain.route_syntax import MAX_ROUTES, check_terms, group_text
from ailb_server.routing.strategies import STRATEGIES
from ailb_server.routing.table import RoutingTable

_MAX_TOLD = 10


def updated(
    table: RouteTable, asked: Sequence[RouteTerms], names: RoutingTable, *, replace_all: bool
) -> tuple[ModelRoute, ...]:
    """The routes with those asked for in place of those of the same id, or of all. The shares of
    versions go on where nothing is said of them.

    Raises InvalidRequestError; its facts tell the fault of each route by `routes[index]`.
    """
    if not asked and not replace_all:
        raise InvalidRequestError("`routes` is empty: nothing would change.", param="routes")
    if len(asked) > MAX_ROUTES:
        raise InvalidRequestError(f"There may be {MAX_ROUTES} routes.", param="routes")
    before = {route.route_id: route for route in table.routes}
    made = {t.route_id: _made(t, before.get(t.route_id), table.now) for t in asked}
    kept = {} if replace_all else before
    after = tuple(sorted((kept | made).values(), key=lambda route: route.route_id))
    _raise(_faults(asked, before, names) or _clashes(asked, after))
    if len(after) > MAX_ROUTES:
        raise InvalidRequestError(f"There may be {MAX_ROUTES} routes.", param="routes")
    return after


def without(table: RouteTable, route_id: str) -> tuple[ModelRoute, ...]:
    """The routes without one. Raises NotFoundError."""
    left = tuple(route for route in table.routes if route.route_id != route_id)
    if len(left) == len(table.routes):
        raise NotFoundError(f"There is no route `{route_id[:128]}`.", param="route_id")
    return left


def with_rollout(table: RouteTable, route: ModelRoute, rollout: Rollout) -> tuple[ModelRoute, ...]:
    """The routes, with other shares within one."""
    changed = replace(route, rollout=rollout)
    return tuple(changed if one is route else one for one in table.routes)


def require_sound(table: RouteTable) -> None:
    """Raises RouteTableUnsoundError for a table that this code would not have made."""
    if len(table.routes) > MAX_ROUTES:
        raise RouteTableUnsoundError(f"there are more than {MAX_ROUTES} routes")
    for route in table.routes:
        try:
            check_terms(route.terms, STRATEGIES)
        except AilbError as error:
            raise RouteTableUnsoundError(f"the route {route.route_id}: {error}") from error
        _require_sound(route.rollout, route.route_id)
    if table.instance is not None:
        _require_sound(table.instance, "of this instance")


def described(route: ModelRoute, now: float) -> Mapping[str, object]:
    """For the audit log."""
    terms = route.terms
    return {
        "protocol": terms.protocol,
        "path_pattern": terms.path_pattern,
        "model_pattern": terms.model_pattern,
        "group": group_text(terms.versions, route.rollout.at(now)),
        "headers": dict(terms.headers),
        "priority": terms.priority,
        "metadata": dict(terms.metadata),
    }


def _made(terms: RouteTerms, known: ModelRoute | None, now: float) -> ModelRoute:
    names = [version.name for version in terms.versions]
    asked, plain = terms.weights, replace(terms, weights=None)
    if known is None:
        return ModelRoute(plain, begun(asked or first_has_all(names), now))
    rollout = known.rollout
    weights = asked or rollout.carried(names, now)
    if dict(weights) == dict(rollout.at(now)):
        # As it is: a promotion that is under way goes on.
        rollout = replace(rollout, weights=_in_order(rollout, names))
    else:
        rollout = rollout.shared_as(weights, now)
    return ModelRoute(plain, rollout)


def _in_order(rollout: Rollout, names: Sequence[str]) -> tuple[tuple[str, int], ...]:
    weights = dict(rollout.weights)
    return tuple((name, weights[name]) for name in names)


def _faults(
    asked: Sequence[RouteTerms], before: Mapping[str, ModelRoute], names: RoutingTable
) -> dict[str, str]:
    found: dict[str, str] = {}
    ids = [terms.route_id for terms in asked]
    for index, terms in enumerate(asked):
        known = before.get(terms.route_id)
        try:
            check_terms(terms, STRATEGIES)
            if known is None or known.terms.versions != terms.versions:
                _check_models(terms, names)
        except InvalidRequestError as error:
            found[f"routes[{index}]"] = f"{terms.route_id[:128] or '(without an id)'}: {error}"
        if terms.route_id in ids[:index]:
            found[f"routes[{index}]"] = f"{terms.route_id[:128]}: is there twice."
    return found


def _check_models(terms: RouteTerms, names: RoutingTable) -> None:
    models = (model for version in terms.versions for model in version.models)
    unknown = [model for model in dict.fromkeys(models) if not names.knows(model)]
    if unknown:
        raise InvalidRequestError(
            f"`destination_pattern` names what no provider serves: {', '.join(unknown[:3])}."
        )


def _clashes(asked: Iterable[RouteTerms], after: Sequence[ModelRoute]) -> dict[str, str]:
    taken: dict[object, list[str]] = {}
    for route in after:
        taken.setdefault(route.terms.conditions(), []).append(route.route_id)
    return {
        f"routes[{index}]": f"{terms.route_id}: has the same conditions and priority as {other}."
        for index, terms in enumerate(asked)
        for other in taken[terms.conditions()]
        if other != terms.route_id
    }


def _raise(faults: Mapping[str, str]) -> None:
    if not faults:
        return
    told = list(faults.items())[:_MAX_TOLD]
    more = f" (and {len(faults) - len(told)} more)" if len(faults) > len(told) else ""
    error = InvalidRequestError(
        f"No route was changed. {' '.join(text for _, text in told)}{more}", param=told[0][0]
    )
    error.facts = {**error.facts, **dict(told)}
    raise error


def _require_sound(rollout: Rollout, name: str) -> None:
    weights = [weight for _, weight in rollout.weights]
    if sum(weights) != ALL or min(weights) < 0:
        raise RouteTableUnsoundError(f"the weights {name}: they are not {ALL} together")
    promotion = rollout.promotion
    if promotion is not None and promotion.version not in dict(rollout.weights):
        raise RouteTableUnsoundError(f"the weights {name}: {promotion.version} is promoted")
