"""Every RPC is served, and Envoy's routes are exactly the REST paths that the protos name."""

import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import pytest
import yaml
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from ailb_server.app import services as composition
from ailb_server.server import Register
from tests.shape.sources import REPOSITORY

ENVOY = yaml.safe_load((REPOSITORY / "envoy" / "envoy.yaml").read_text(encoding="utf-8"))


class Binding(NamedTuple):
    """A REST path of a method, as a caller may write it."""

    rpc: str
    verb: str
    path: str


class Recorder:
    """A server that only remembers."""

    def __init__(self) -> None:
        self.behaviors: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        for handler in handlers:
            for name, method in handler._method_handlers.items():
                kinds = (method.unary_unary, method.unary_stream, method.stream_stream)
                self.behaviors[name] = next(found for found in kinds if found is not None)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """They are the same."""


def services() -> Iterator[ServiceDescriptor]:
    """Every service that AILB serves. Of MarchProxy's, NLBService is the load balancer's own."""
    proto = REPOSITORY / "proto"
    ours = (proto / "ailb").rglob("*.proto")
    for path in sorted((*ours, proto / "marchproxy" / "module.proto")):
        dotted = path.relative_to(proto).with_suffix("").as_posix().replace("/", ".")
        found = importlib.import_module(f"{dotted}_pb2")
        yield from found.DESCRIPTOR.services_by_name.values()


def bindings(method: MethodDescriptor) -> Iterator[Binding]:
    options = method.GetOptions()
    if not options.HasExtension(HTTP):
        return
    rule = options.Extensions[HTTP]
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        path = re.sub(
            r"\{\w+(=\*\*)?\}", lambda m: "a/b:c" if m[1] else "a", getattr(binding, verb)
        )
        yield Binding(method.full_name, verb.upper(), path)


SERVICES = tuple(services())
HTTP: Any = descriptor_pool.Default().FindExtensionByName("google.api.http")
BINDINGS = [b for service in SERVICES for method in service.methods for b in bindings(method)]
MANAGER = ENVOY["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
    "typed_config"
]
(HOST,) = MANAGER["route_config"]["virtual_hosts"]


def test_every_rpc_is_implemented_and_registered() -> None:
    server = Recorder()
    for register in registers():
        register(cast("Any", server))
    wanted = {f"/{s.full_name}/{method.name}" for s in SERVICES for method in s.methods}
    assert server.behaviors.keys() == wanted
    # What is only inherited is the generated method, which answers UNIMPLEMENTED.
    generated = [name for name, b in server.behaviors.items() if not ours(b)]
    assert generated == []


def registers() -> Iterator[Register]:
    """Of every function of the composition that makes services, called with blanks."""
    for name, make in inspect.getmembers(composition, inspect.isfunction):
        if name.endswith("_services"):
            parameters = inspect.signature(make).parameters.values()
            yield from make(*(p.annotation.__new__(p.annotation) for p in parameters))


def ours(behavior: Any) -> bool:
    return str(behavior.__func__.__module__).startswith("ailb_server.")


def test_there_are_rest_paths() -> None:
    assert len(BINDINGS) >= 5


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda b: f"{b.verb} {b.path}")
def test_envoy_forwards_each_path_with_its_verb_only(binding: Binding) -> None:
    verbs = {b.verb for b in BINDINGS if b.path == binding.path}
    for verb in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        route = next(r for r in HOST["routes"] if fits(r["match"], verb, binding.path))
        if verb in verbs:
            assert route["route"]["cluster"] == "ailb"
        else:
            assert route["direct_response"]["status"] == 405


def fits(match: dict[str, Any], verb: str, path: str) -> bool:
    """Whether a route is for this request, of a caller that does not speak gRPC."""
    headers = {h["name"]: h["string_match"] for h in match.get("headers", ())}
    if "content-type" in headers or headers.get(":method", {"exact": verb}) != {"exact": verb}:
        return False
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"], path) is not None
    return path.startswith(str(match["prefix"]))


def test_envoy_forwards_nothing_else() -> None:
    for route in HOST["routes"]:
        if "route" not in route:
            continue
        (verb,) = [h["string_match"]["exact"] for h in route["match"]["headers"]]
        for path in route["match"]["safe_regex"]["regex"].split("|"):
            known = [b for b in BINDINGS if b.verb == verb and re.fullmatch(path, b.path)]
            assert known, f"no proto has {verb} {path}"


def test_envoy_transcodes_every_service_that_has_a_path() -> None:
    filters = {f["name"]: f["typed_config"] for f in MANAGER["http_filters"]}
    transcoder = filters["envoy.filters.http.grpc_json_transcoder"]
    with_paths = {s.full_name for s in SERVICES if any(map(any_binding, s.methods))}
    assert set(transcoder["services"]) == with_paths


def any_binding(method: MethodDescriptor) -> bool:
    return any(True for _ in bindings(method))
