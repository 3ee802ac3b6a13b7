"""Routes and shares of traffic, from and to rows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from ailb_server.domain.rollout import Promotion, Rollout
from ailb_server.domain.route import ModelRoute, RouteTerms, Version
from ailb_server.storage.connection import Row

ROLLOUT_COLUMNS = (
    "weights, stable, previous, promoting, promotion_rate, promotion_interval_s,"
    " promotion_started_at, weights_changed_at"
)


def route_of(row: Row) -> ModelRoute:
    """Raises ValueError, KeyError or TypeError for what is no route: SQL can write much."""
    versions = tuple(
        Version(str(one["name"]), tuple(map(str, one["models"])))
        for one in json.loads(row["versions"])
    )
    terms = RouteTerms(
        route_id=row["route_id"],
        model_pattern=row["model_pattern"],
        versions=versions,
        protocol=row["protocol"],
        path_pattern=row["path_pattern"],
        headers=tuple(sorted(_texts(row["headers"]).items())),
        priority=row["priority"],
        metadata=_texts(row["metadata"]),
    )
    return ModelRoute(terms, rollout_of(row, [version.name for version in versions]))


def route_values(route: ModelRoute) -> tuple[object, ...]:
    """In the order of the statement that writes it."""
    terms = route.terms
    versions = [{"name": v.name, "models": v.models} for v in terms.versions]
    return (
        terms.route_id,
        terms.protocol,
        terms.path_pattern,
        terms.model_pattern,
        json.dumps(dict(terms.headers)),
        terms.priority,
        json.dumps(dict(terms.metadata)),
        json.dumps(versions),
        *rollout_values(route.rollout),
    )


def rollout_of(row: Row, versions: list[str]) -> Rollout:
    """The shares of `versions`, in their order. Raises as `route_of`."""
    weights = json.loads(row["weights"])
    if set(weights) != set(versions):
        raise ValueError("`weights` is not of the versions")
    promotion = None
    if row["promoting"] is not None:
        promotion = Promotion(
            row["promoting"],
            row["promotion_rate"],
            row["promotion_interval_s"],
            row["promotion_started_at"].timestamp(),
        )
    return Rollout(
        tuple((name, int(weights[name])) for name in versions),
        row["stable"],
        row["previous"],
        promotion,
        row["weights_changed_at"].timestamp(),
    )


def rollout_values(rollout: Rollout) -> tuple[object, ...]:
    """Of ROLLOUT_COLUMNS."""
    promotion = rollout.promotion
    return (
        json.dumps(dict(rollout.weights)),
        rollout.stable,
        rollout.previous,
        promotion and promotion.version,
        promotion and promotion.rate,
        promotion and promotion.interval_s,
        promotion and _time(promotion.started_at),
        _time(rollout.changed_at),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _texts(text: str) -> Mapping[str, str]:
    return {key: str(value) for key, value in json.loads(text).items()}
