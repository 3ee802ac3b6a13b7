"""Model routes over two instances: changed through one, taken by the callers of the other."""

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import httpx2 as httpx
import pytest

from ailb.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from ailb_server.api.module.routes import RouteCalls
from ailb_server.api.module.weights import WeightCalls
from ailb_server.domain.audit import Actor
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack, eventually

ADMIN = "an-administrators-own-secret"
VERSIONS = "blue=blue/demo,green=green/demo"
TELL: Any = [{"role": "user", "content": "hello"}]
UPSTREAMS = ("blue", "green")


class Pair:
    """Two instances; what MarchProxy asks goes to the first, callers ask the second."""

    def __init__(self, first: Stack, second: Stack) -> None:
        self.first, self.second = first, second
        assert first.gateway.model_routes
        assert second.gateway.model_routes
        by = Actor("nlb")
        opened = first.gateway.model_routes
        live, administration = opened.routes.live, opened.routes.administration
        self.routes = RouteCalls(live, administration, opened.routes.serving, lambda: by)
        self.weights = WeightCalls(live, administration, "ailb-1", lambda: by)
        self.followed = second.gateway.model_routes.routes.live

    def update(self, *routes: types_pb2.Route, replace_all: bool = True) -> None:
        asked = pb.UpdateRoutesRequest(routes=routes, replace_all=replace_all)
        assert self.first.loop.run(self.routes.update_routes(asked)).success
        self._followed()

    def weight(self, version: str, weight: int) -> None:
        asked = pb.SetTrafficWeightRequest(version=version, weight=weight)
        assert self.first.loop.run(self.weights.set_traffic_weight(asked)).success
        self._followed()

    def roll_back(self) -> str:
        answer = self.first.loop.run(self.weights.rollback(pb.RollbackRequest()))
        self._followed()
        return answer.current_version

    def ask(self, model: str = "smart", key: str = ADMIN, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", **body.pop("headers", {})}
        return httpx.post(
            f"{self.second.rest}/v1/chat/completions",
            json={"model": model, "messages": TELL, **body},
            headers=headers,
        )

    def provider(self, model: str = "smart", **more: Any) -> str:
        answer = self.ask(model, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["x-ailb-provider"])

    def providers(self, sessions: int) -> Sequence[str]:
        return [self.provider(session_id=f"s{n}") for n in range(sessions)]

    def key(self, **terms: Any) -> str:
        made = httpx.post(
            f"{self.second.rest}/admin/v1/keys",
            json={"name": "k", **terms},
            headers={"authorization": f"Bearer {ADMIN}"},
        )
        return str(made.json()["secret"])

    def models(self, key: str = ADMIN) -> set[str]:
        headers = {"authorization": f"Bearer {key}"}
        listed = httpx.get(f"{self.second.rest}/v1/models", headers=headers).json()
        return {model["id"] for model in listed["data"]}

    def _followed(self) -> None:
        version = self.routes.live.table.version
        eventually(lambda: self.followed.table.version >= version, patience_s=1.0)


def route(model: str = "smart", group: str = "green/demo", **more: Any) -> types_pb2.Route:
    fields = {"route_id": "r", "source_pattern": model, "destination_pattern": group, **more}
    return types_pb2.Route(**fields)


@pytest.fixture(scope="module")
def pair(postgres_server: str) -> Iterator[Pair]:
    sql(postgres_server, "CREATE DATABASE routed OWNER ailb", role="postgres")
    dsn = database_dsn(postgres_server, "routed")
    settings = {
        "require_api_key": True,
        "admin_api_key": ADMIN,
        "routing_strategy": "failover",
        "enable_memory": False,
    }
    other = {**settings, "module_id": "ailb-2"}
    with (
        Stack(dsn, upstreams=UPSTREAMS, settings=settings) as first,
        Stack(dsn, upstreams=UPSTREAMS, settings=other) as second,
    ):
        yield Pair(first, second)
    sql(postgres_server, "DROP DATABASE routed WITH (FORCE)", role="postgres")


def test_a_route_set_at_one_instance_is_taken_at_the_other(pair: Pair) -> None:
    assert pair.ask().status_code == 404
    pair.update(route())
    assert pair.provider() == "green"
    assert "smart" in pair.models()
    pair.update(route("demo", "green/demo"))
    assert pair.provider("demo") == "green", "it comes before the model of that name"
    assert pair.ask("smart").status_code == 404
    assert "smart" not in pair.models()
    pair.update()
    assert pair.provider("demo") == "blue"


def test_sessions_stay_where_they_are_and_a_rollback_takes_all_back(pair: Pair) -> None:
    pair.update(route(group=VERSIONS))
    assert set(pair.providers(20)) == {"blue"}
    pair.weight("r/green", 50)
    shared = pair.providers(40)
    assert pair.providers(40) == shared
    assert 8 <= shared.count("green") <= 32
    pair.weight("r/green", 80)
    more = pair.providers(40)
    assert all(now == "green" for was, now in zip(shared, more, strict=True) if was == "green")
    assert more.count("green") > shared.count("green")
    assert pair.roll_back() == "r/blue"
    assert set(pair.providers(20)) == {"blue"}


def test_conditions_of_headers_and_faces(pair: Pair) -> None:
    tiers = {"x-tier": "gold"}
    pair.update(route("demo", "green/demo", headers=tiers, protocol=types_pb2.PROTOCOL_HTTP))
    assert pair.provider("demo", headers=tiers) == "green"
    assert pair.provider("demo") == "blue"
    assert _over_grpc(pair, tiers) == "blue", "it is for REST"
    pair.update(route("demo", "green/demo", protocol=types_pb2.PROTOCOL_GRPC))
    assert (_over_grpc(pair, {}), pair.provider("demo")) == ("green", "blue")


def test_a_key_gets_no_more_by_a_route(pair: Pair) -> None:
    pair.update(route(group="green/demo-slow"), route("demo", "green/demo-slow", route_id="d"))
    one, other = pair.key(allowed_models=["demo"]), pair.key(allowed_models=["smart"])
    assert pair.ask("smart", one).status_code == 403
    assert pair.models(one) == {"demo"}
    assert pair.provider("demo", key=one) == "blue", "its own targets, as before"
    assert pair.ask("demo", other).status_code == 403
    assert pair.provider("smart", key=other) == "green"


def _over_grpc(pair: Pair, headers: dict[str, str]) -> str:
    with grpc.insecure_channel(pair.second.grpc) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        said = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="hi")])
        parameters = chat_pb2.ChatCompletionParameters(model="demo", messages=[said])
        asked = chat_service_pb2.CreateChatCompletionRequest(parameters=parameters)
        metadata = (("authorization", f"Bearer {ADMIN}"), *headers.items())
        _, call = stub.CreateChatCompletion.with_call(asked, metadata=metadata)
        return str(dict(call.initial_metadata())["x-ailb-provider"])
