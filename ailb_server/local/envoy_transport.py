"""What Envoy's configuration says of TLS and of browsers, beside `envoy.yaml`.

Certificates come as secrets from files beside it, because Envoy reads only such anew: once a file
is *moved* into the directory of what they name
(https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret#key-rotation).
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

import yaml

_Node: TypeAlias = Any

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_CORS = "envoy.filters.http.cors"
_CORS_TYPES = "type.googleapis.com/envoy.extensions.filters.http.cors.v3."
# `*` stands for all but authorization, where there are no credentials in the sense of browsers, and
# AILB has none: no cookies. The names are for browsers that do not know `*`.
_ASKED_HEADERS = (
    "authorization, content-type, accept, x-api-key, anthropic-version, anthropic-beta,"
    " anthropic-dangerous-direct-browser-access, openai-organization, openai-project,"
    " idempotency-key, x-request-id, x-session-id, x-ailb-routing-strategy, x-ailb-cache, *"
)
_TOLD_HEADERS = (
    "x-request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-limit-tokens,"
    " x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests,"
    " x-ratelimit-reset-tokens, x-ailb-provider, x-ailb-model, x-ailb-overhead-ms,"
    " x-ailb-ignored-params, x-ailb-degraded, x-ailb-sources, x-ailb-cache, *"
)
_METHODS = "GET, POST, PATCH, DELETE"
_MAX_AGE_S = "600"


@dataclass(frozen=True, slots=True)
class PemPair:
    """Paths of a certificate and its key, as Envoy sees them."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Transport:
    """Paths are as Envoy sees them.

    `listener`: the REST port speaks TLS, and asks for certificates that `listener_ca` signed.
    `server_ca`: the gRPC servers do, and have a certificate that it signed, for one of
    `server_names`; they are shown `client`. `origins`: whose pages may call.
    """

    listener: PemPair | None = None
    listener_ca: str | None = None
    server_ca: str | None = None
    server_names: Sequence[str] = ()
    client: PemPair | None = None
    origins: Sequence[str] = ()

    def secrets(self) -> Mapping[str, str]:
        """Files to write beside `envoy.yaml`, by name."""
        return {f"{name}.yaml": _file(name, secret) for name, secret in self._secrets()}

    def _secrets(self) -> Iterator[tuple[str, _Node]]:
        for name, pair in (("tls_rest", self.listener), ("tls_client", self.client)):
            if pair is not None:
                yield name, _certificate(pair)
        if self.listener_ca is not None:
            yield "tls_rest_callers", _trusted(self.listener_ca, ())
        if self.server_ca is not None:
            yield "tls_server", _trusted(self.server_ca, self.server_names)

    def apply(self, config: _Node, directory: str) -> None:
        """Puts it into the configuration; `directory` is where Envoy finds the secrets."""
        resources = config["static_resources"]
        if self.listener is not None or self.server_ca is not None:
            # Without a name, Envoy takes no secrets.
            config["node"] = {"id": "ailb", "cluster": "ailb"}
        (chain,) = resources["listeners"][0]["filter_chains"]
        if self.listener is not None:
            chain["transport_socket"] = self._downstream(directory)
        if self.server_ca is not None:
            resources["clusters"][0]["transport_socket"] = self._upstream(directory)
        if self.origins:
            _allow(chain["filters"][0]["typed_config"], self.origins)

    def _downstream(self, directory: str) -> _Node:
        common: _Node = {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [_named("tls_rest", directory)],
        }
        if self.listener_ca is not None:
            common["validation_context_sds_secret_config"] = _named("tls_rest_callers", directory)
        asked = {"require_client_certificate": True} if self.listener_ca is not None else {}
        return _socket("DownstreamTlsContext", {"common_tls_context": common, **asked})

    def _upstream(self, directory: str) -> _Node:
        common: _Node = {
            "alpn_protocols": ["h2"],
            "validation_context_sds_secret_config": _named("tls_server", directory),
        }
        if self.client is not None:
            common["tls_certificate_sds_secret_configs"] = [_named("tls_client", directory)]
        names = [name for name in self.server_names if not _is_ip(name) and "*" not in name]
        sni = {"sni": names[0]} if names else {}
        return _socket("UpstreamTlsContext", {"common_tls_context": common, **sni})


def _socket(kind: str, context: _Node) -> _Node:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{_TLS}{kind}", **context},
    }


def _named(name: str, directory: str) -> _Node:
    path = f"{directory.rstrip('/')}/{name}.yaml"
    return {
        "name": name,
        "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"},
    }


def _file(name: str, secret: _Node) -> str:
    resource = {"@type": f"{_TLS}Secret", "name": name, **secret}
    text: str = yaml.safe_dump({"resources": [resource]}, sort_keys=False)
    return text


def _certificate(pair: PemPair) -> _Node:
    return {
        "tls_certificate": {
            "certificate_chain": {"filename": pair.certificate},
            "private_key": {"filename": pair.key},
            "watched_directory": {"path": _directory(pair.certificate)},
        }
    }


def _trusted(ca: str, names: Sequence[str]) -> _Node:
    context: _Node = {
        "trusted_ca": {"filename": ca},
        "watched_directory": {"path": _directory(ca)},
    }
    if names:
        context["match_typed_subject_alt_names"] = [
            {"san_type": "IP_ADDRESS" if _is_ip(name) else "DNS", "matcher": {"exact": name}}
            for name in names
        ]
    return {"validation_context": context}


def _directory(path: str) -> str:
    return str(PurePath(path).parent)


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _preflight(origin: str) -> _Node:
    """The filter that answers preflights looks only at those with a route to a cluster; the call
    never goes there. What is empty the filter would let pass."""
    listed = {"safe_regex": {"regex": ".+"}} if origin == "*" else {"exact": origin}
    headers = [
        {"name": ":method", "string_match": {"exact": "OPTIONS"}},
        {"name": "origin", "string_match": listed},
        {
            "name": "access-control-request-method",
            "string_match": {"safe_regex": {"regex": "[A-Za-z]+"}},
        },
    ]
    return {"match": {"prefix": "/", "headers": headers}, "route": {"cluster": "ailb"}}


def _allow(manager: _Node, origins: Sequence[str]) -> None:
    (host,) = manager["route_config"]["virtual_hosts"]
    host.setdefault("typed_per_filter_config", {})[_CORS] = {
        "@type": f"{_CORS_TYPES}CorsPolicy",
        # Envoy takes an exact `*` for every origin.
        "allow_origin_string_match": [{"exact": origin} for origin in origins],
        "allow_methods": _METHODS,
        "allow_headers": _ASKED_HEADERS,
        "expose_headers": _TOLD_HEADERS,
        "max_age": _MAX_AGE_S,
        "forward_not_matching_preflights": False,
    }
    host["routes"][:0] = [_preflight(origin) for origin in origins]
    # What a cache keeps for one origin is not for another.
    host.setdefault("response_headers_to_add", []).append(
        {"header": {"key": "vary", "value": "origin"}}
    )
    manager["http_filters"].insert(
        0, {"name": _CORS, "typed_config": {"@type": f"{_CORS_TYPES}Cors"}}
    )
