"""Who is let in, and what is told of who is not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.api import annotations_pb2

from ailb_server.access.refusals import Refusal
from ailb_server.access.secret import is_secret
from ailb_server.access.signatures import Signed
from ailb_server.api.authorisation import TABLE, Access, access_to
from ailb_server.api.call import current_call
from ailb_server.api.edge import Edge
from ailb_server.api.gate import Gate
from ailb_server.api.signed_calls import PATHS, signed_call
from ailb_server.domain.errors import InvalidApiKeyError, StorageUnavailableError
from ailb_server.domain.principal import ANYONE, Principal, Role
from tests.shape.test_services import SERVICES
from tests.unit.doubles import FakeContext

# The extension `google.api.http`, which the package's stubs leave out.
HTTP: Any = vars(annotations_pb2)["http"]

CHAT = "/ailb.v1.ChatService/CreateChatCompletion"
HEALTH = "/ailb.v1.HealthService/GetHealth"
STATS = "/ailb.v1.StatsService/GetRoutingStats"
METRICS = "/ailb.v1.MetricsService/GetMetrics"
GOOD = "ailb_good"
ADMIN = "ailb_admin"
SLOW = "ailb_slow"
REST = ("x-envoy-original-path", "/v1/chat/completions")
MESSAGES = ("x-envoy-original-path", "/v1/messages")
USER = Principal(7, "acme", 3, "ci")


@dataclass
class FakeKeys:
    """Knows GOOD and ADMIN at once, SLOW after a wait."""

    failure: Exception | None = None
    authenticated: list[str] = field(default_factory=list)

    def known(self, secret: str) -> Principal | None:
        return {GOOD: USER, ADMIN: Principal(name="root", role=Role.ADMIN)}.get(secret)

    def is_ours(self, secret: str) -> bool:
        return secret.startswith("ailb_")

    async def authenticate(self, secret: str) -> Principal:
        self.authenticated.append(secret)
        if self.failure is not None:
            raise self.failure
        if secret == SLOW:
            return USER
        who = self.known(secret)
        if who is None:
            raise InvalidApiKeyError("not known here", problem="unknown")
        return who


@dataclass
class FakeSignatures:
    """Takes every signature, and keeps what it was of."""

    signed: list[Signed] = field(default_factory=list)

    async def authenticate(self, header: str, signed: Signed) -> Principal:
        self.signed.append(signed)
        return USER


@dataclass
class Door:
    """An edge with a gate."""

    required: bool = True
    open_metrics: bool = False
    keys: FakeKeys = field(default_factory=FakeKeys)
    refusals: list[Refusal] = field(default_factory=list)
    signatures: FakeSignatures = field(default_factory=FakeSignatures)

    async def call(
        self, *metadata: tuple[str, str], method: str = CHAT, context: FakeContext | None = None
    ) -> Principal:
        async def behavior(request: object, context: object) -> Principal:
            return current_call.get().principal

        async def find(_: object) -> Any:
            return grpc.unary_unary_rpc_method_handler(behavior)

        gate = Gate(
            self.keys,
            self.refusals.append,
            required=self.required,
            open_metrics=self.open_metrics,
            signatures=self.signatures,
        )
        details: Any = type("Details", (), {"method": method})
        handler: Any = await Edge(1, gate).intercept_service(find, details)
        found: Principal = await handler.unary_unary(
            b"request", context or FakeContext(list(metadata))
        )
        return found

    async def refused(self, *metadata: tuple[str, str], method: str = CHAT) -> FakeContext:
        context = FakeContext(list(metadata))
        with pytest.raises(grpc.aio.AbortError):
            await self.call(method=method, context=context)
        return context


def bearer(secret: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {secret}")


@pytest.mark.parametrize(
    "metadata",
    [
        [bearer(GOOD)],
        [("authorization", f"bearer  {GOOD} ")],
        [("x-api-key", GOOD)],
        [("authorization", "Basic abc"), ("x-api-key", GOOD)],
        [bearer(GOOD), ("x-api-key", "another service's")],
        [bearer(SLOW)],
    ],
)
async def test_a_key_comes_in_any_of_its_places(metadata: Sequence[tuple[str, str]]) -> None:
    assert await Door().call(*metadata) == USER


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ([], "missing"),
        ([("authorization", "Bearer ")], "missing"),
        ([("authorization", "Basic YWJj")], "missing"),
        ([("x-api-key", " ")], "missing"),
        ([bearer("sk-other")], "unknown"),
    ],
)
async def test_no_good_key_is_a_401(metadata: list[tuple[str, str]], problem: str) -> None:
    door = Door()
    context = await door.refused(REST, *metadata)
    assert context.code is grpc.StatusCode.UNAUTHENTICATED
    assert context.error_info.reason == "INVALID_API_KEY"
    assert context.trailing["x-http-status"] == "401"
    assert json.loads(context.trailing["x-ailb-error"])["error"]["code"] == "invalid_api_key"
    (refusal,) = door.refusals
    assert (refusal.problem, refusal.method) == (problem, CHAT)
    assert "sk-other" not in repr((context, refusal)).replace("'Bearer sk-other'", "")


async def test_messages_callers_are_told_as_anthropic_tells() -> None:
    context = await Door().refused(MESSAGES, ("x-api-key", "sk-ant-other"))
    envelope = json.loads(context.trailing["x-ailb-error"])
    assert (envelope["type"], envelope["error"]["type"]) == ("error", "authentication_error")


async def test_a_role_that_may_not_is_a_403() -> None:
    door = Door()
    context = await door.refused(REST, bearer(GOOD), method=STATS)
    assert context.code is grpc.StatusCode.PERMISSION_DENIED
    assert context.trailing["x-http-status"] == "403"
    (refusal,) = door.refusals
    assert (refusal.problem, refusal.key_id, refusal.actor) == ("role", 3, "ci")
    assert (await door.call(bearer(ADMIN), method=STATS)).name == "root"


async def test_a_store_that_is_away_is_no_401() -> None:
    door = Door(keys=FakeKeys(StorageUnavailableError("away", retry_after_s=1)))
    context = await door.refused(REST, bearer("ailb_other"))
    assert context.code is grpc.StatusCode.UNAVAILABLE
    assert context.trailing["x-http-status"] == "503"
    assert context.trailing["retry-after"] == "1"
    assert door.refusals == []
    assert await door.call(bearer(GOOD)) == USER


async def test_health_asks_nobody_and_metrics_by_setting() -> None:
    door = Door(keys=FakeKeys(StorageUnavailableError("away")))
    assert (await door.call(method=HEALTH)).role is Role.USER
    await Door().refused(method=METRICS)
    await Door().refused(bearer(GOOD), method=METRICS)
    await Door(open_metrics=True).call(method=METRICS)


async def test_an_open_server_takes_anybody_and_believes_keys() -> None:
    door = Door(required=False)
    assert await door.call() is ANYONE
    assert await door.call(bearer("not asked for")) is ANYONE
    assert await door.call(bearer(GOOD)) == USER
    assert await door.call(method=STATS) is ANYONE
    context = await door.refused(bearer("ailb_revoked"))
    assert context.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("required", [True, False])
async def test_a_method_without_a_row_is_for_nobody(*, required: bool) -> None:
    context = await Door(required=required).refused(bearer(ADMIN), method="/new.Service/Method")
    assert context.code is grpc.StatusCode.PERMISSION_DENIED
    assert access_to("/new.Service/Method") is Access.NOBODY
    assert Access.NOBODY not in TABLE.values()


@pytest.mark.parametrize(
    ("caller", "metadata", "peer"),
    [
        ("ipv4:192.0.2.7:5000", [], "192.0.2.7"),
        ("ipv6:%5B::1%5D:5000", [], "::1"),
        ("unix:", [], "unix:"),
        ("ipv4:10.0.0.1:5", [REST, ("x-forwarded-for", "6.6.6.6, 192.0.2.9")], "192.0.2.9"),
        ("ipv4:10.0.0.1:5", [("x-forwarded-for", "6.6.6.6")], "10.0.0.1"),
    ],
)
async def test_the_peer_is_who_envoy_saw(
    caller: str, metadata: list[tuple[str, str]], peer: str
) -> None:
    door = Door()
    context = FakeContext(metadata, caller=caller)
    with pytest.raises(grpc.aio.AbortError):
        await door.call(context=context)
    assert door.refusals[0].peer == peer


SIGNATURE = ("authorization", "AILB-HMAC-SHA256 Key=1, …")


@pytest.mark.parametrize("required", [True, False])
async def test_a_signature_is_checked_on_an_open_server_too(*, required: bool) -> None:
    door = Door(required=required)
    assert await door.call(SIGNATURE) == USER
    assert door.signatures.signed == [Signed(CHAT, b"request")]
    assert door.keys.authenticated == []


async def test_a_signature_gives_no_more_than_its_role() -> None:
    door = Door()
    context = await door.refused(SIGNATURE, method=STATS)
    assert context.code is grpc.StatusCode.PERMISSION_DENIED
    assert [refusal.prefix for refusal in door.refusals] == [""]


async def test_by_rest_a_typed_method_cannot_be_signed() -> None:
    door = Door()
    context = await door.refused(SIGNATURE, REST)
    assert context.code is grpc.StatusCode.UNAUTHENTICATED
    assert [refusal.problem for refusal in door.refusals] == ["signature"]
    assert door.signatures.signed == []


def test_what_is_streamed_in_cannot_be_signed() -> None:
    context: Any = FakeContext()
    with pytest.raises(InvalidApiKeyError, match="stream"):
        signed_call(context, CHAT, object(), rest=False)


def test_the_signed_rest_paths_are_those_that_carry_bodies_as_they_are() -> None:
    """By the protos: every method whose REST body is an HttpBody, and its path."""
    found = {}
    for service in SERVICES:
        for method in service.methods:
            rule = method.GetOptions().Extensions[HTTP]
            body = method.input_type.fields_by_name.get(rule.body) if rule.body else None
            message = None if body is None else body.message_type
            if message is not None and message.full_name == "google.api.HttpBody":
                found[f"/{service.full_name}/{method.name}"] = rule.post
    assert {name: path for name, (path, _) in PATHS.items()} == found


def test_the_doubles_secrets_are_not_made_as_ours_are() -> None:
    assert not is_secret(GOOD)
