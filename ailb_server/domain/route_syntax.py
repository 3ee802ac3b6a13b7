"""The target group of a route as text, and what its other members may be.

models     MODEL, or several in order: MODEL|MODEL
group      models, or versions: NAME=models,NAME=models
weights    percent, of all versions or of none: NAME:90=models,NAME:10=models
"""

import re
from collections.abc import Callable, Mapping

from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.rollout import ALL, Weights
from ailb_server.domain.route import (
    FALLBACK,
    INTERVAL,
    PROTOCOLS,
    STICKY,
    STRATEGY,
    RouteTerms,
    Sticky,
    Version,
)

MAX_ROUTES = 1000
MAX_VERSIONS = 8
MAX_MODELS = 16
MAX_PATTERN = 256
MAX_HEADERS = 8
MAX_NOTES = 32
MAX_NOTE_KEY = 64
MAX_NOTE = 512
MAX_PRIORITY = 1_000_000
MAX_INTERVAL_S = 86_400
# What an address of a version begins with where it is this instance's own.
MODULE = "module"
ONLY_VERSION = "default"

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_SECRETS = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})
_OWN = "ailb."


def parse_group(text: str) -> tuple[tuple[Version, ...], Weights | None]:
    """The versions and their weights, None without any. Raises ValueError."""
    if "=" not in text:
        if "," in text:
            raise ValueError("separates models by `|`; `,` is between versions, NAME=MODEL")
        return (Version(ONLY_VERSION, _models(text)),), None
    parts = [_part(part) for part in text.split(",")]
    versions = tuple(version for version, _ in parts)
    if len({version.name for version in versions}) != len(versions):
        raise ValueError("names a version twice")
    if len(versions) > MAX_VERSIONS:
        raise ValueError(f"has more than {MAX_VERSIONS} versions")
    return versions, _weights(parts)


def group_text(versions: tuple[Version, ...], weights: Weights) -> str:
    """What `parse_group` reads."""
    if len(versions) == 1 and versions[0].name == ONLY_VERSION:
        return "|".join(versions[0].models)
    given = dict(weights)
    return ",".join(f"{v.name}:{given[v.name]}={'|'.join(v.models)}" for v in versions)


def check_terms(terms: RouteTerms, strategies: Mapping[str, object]) -> None:
    """Raises InvalidRequestError for what no route can be; `strategies` are the known ones."""
    if not _ID.fullmatch(terms.route_id):
        raise _fault("route_id", "must be letters, digits, `.`, `_` and `-`, at most 128")
    if terms.route_id == MODULE:
        raise _fault("route_id", f"must not be `{MODULE}`: that names this instance's version")
    if terms.protocol not in PROTOCOLS:
        raise _fault("protocol", "must be HTTP, HTTPS, HTTP2, HTTP3, GRPC or none")
    _check_pattern("source_pattern", terms.model_pattern)
    if terms.path_pattern:
        _check_pattern("path_pattern", terms.path_pattern)
        if terms.path_pattern[0] not in "/*":
            raise _fault("path_pattern", "must begin with `/`")
    if abs(terms.priority) > MAX_PRIORITY:
        raise _fault("priority", f"must be within ±{MAX_PRIORITY}")
    _check_headers(terms)
    _check_notes(terms.metadata, strategies)


def _part(part: str) -> tuple[Version, int | None]:
    head, _, models = part.partition("=")
    name, colon, weight = head.strip().partition(":")
    if not _NAME.fullmatch(name):
        raise ValueError("has a version whose name is not letters, digits, `.`, `_`, `-` (max 64)")
    if colon and not re.fullmatch(r"[0-9]{1,3}", weight):
        raise ValueError(f"has a weight of `{name}` that is no percentage")
    return Version(name, _models(models)), int(weight) if colon else None


def _models(text: str) -> tuple[str, ...]:
    models = tuple(model.strip() for model in text.split("|"))
    if len(models) > MAX_MODELS:
        raise ValueError(f"has more than {MAX_MODELS} models in a version")
    if any(not 1 <= len(m) <= MAX_PATTERN or not m.isprintable() or "=" in m for m in models):
        raise ValueError("has a model without a name")
    return models


def _weights(parts: list[tuple[Version, int | None]]) -> Weights | None:
    given = [(version.name, weight) for version, weight in parts if weight is not None]
    if not given:
        return None
    if len(given) != len(parts) or sum(weight for _, weight in given) != ALL:
        raise ValueError(f"must give every version a weight or none, together {ALL}")
    return tuple(given)


def _check_pattern(param: str, pattern: str) -> None:
    if not 1 <= len(pattern) <= MAX_PATTERN or not pattern.isprintable() or "[" in pattern:
        what = f"must be 1 to {MAX_PATTERN} characters, of which only * and ? are wildcards"
        raise _fault(param, what)


def _check_headers(terms: RouteTerms) -> None:
    names = [name for name, _ in terms.headers]
    if len(names) > MAX_HEADERS:
        raise _fault("headers", f"must be at most {MAX_HEADERS}")
    if any(not _HEADER.fullmatch(name) or name in _SECRETS for name in names):
        raise _fault("headers", "must have lower-case names of headers that hold no secret")
    if any(len(v) > MAX_NOTE or not v.isprintable() for _, v in terms.headers):
        raise _fault("headers", f"must have printable values of at most {MAX_NOTE}")


def _check_notes(notes: Mapping[str, str], strategies: Mapping[str, object]) -> None:
    if len(notes) > MAX_NOTES or any(
        not 1 <= len(key) <= MAX_NOTE_KEY or len(note) > MAX_NOTE or "\0" in key + note
        for key, note in notes.items()
    ):
        what = f"must be at most {MAX_NOTES}, of {MAX_NOTE_KEY} and {MAX_NOTE} characters"
        raise _fault("metadata", what)
    options: dict[str, Callable[[str], bool]] = {
        STICKY: lambda told: told in set(Sticky),
        FALLBACK: lambda told: told in {"versions", "none"},
        STRATEGY: lambda told: told in strategies,
        INTERVAL: lambda told: (
            re.fullmatch(r"[0-9]{1,5}", told) is not None and 1 <= int(told) <= MAX_INTERVAL_S
        ),
    }
    for key, told in notes.items():
        if key.startswith(_OWN) and not (key in options and options[key](told)):
            raise _fault("metadata", f"has `{key}`, which is no option of routes or has no such")


def _fault(param: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"`{param}` {what}.", param=param)
