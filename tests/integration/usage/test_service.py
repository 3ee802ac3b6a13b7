"""`UsageService` and `ailb usage`, over gRPC: who sees what."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

from ailb.v1 import usage_service_pb2 as pb
from ailb.v1.usage_service_pb2_grpc import UsageServiceStub
from ailb_server.api.usage_service import UsageService
from ailb_server.app.services import usage_services
from ailb_server.domain.principal import ANYONE, Principal, Role
from ailb_server.domain.usage import UsageEntry
from ailb_server.server import Register
from ailb_server.storage.pool import Store
from tests.integration.usage.conftest import Books
from tests.support.asked_service import AskedService
from tests.support.postgres import sql
from tests.support.usage import entry

NOW = datetime.now(UTC)
WHO = {
    "admin": replace(ANYONE, key_id=1, name="root"),
    "alice": Principal(2, "acme", 7, "alice", Role.USER),
    "bob": Principal(2, "acme", 8, "bob", Role.USER),
    "eve": Principal(3, "evil", 9, "eve", Role.USER),
}


class Running(AskedService):
    command = "usage"

    @override
    def services(self, store: Store) -> Sequence[Register]:
        self.books = Books(store)
        return usage_services(UsageService(self.books.queries))

    def add(self, *entries: UsageEntry) -> None:
        self.loop.run(self.books.add(*entries))

    def ask(self, method: str, request: Any, key: str = "admin") -> Any:
        metadata = (("authorization", f"Bearer {key}"),)
        return getattr(UsageServiceStub(self.channel), method)(
            request, metadata=metadata, timeout=10
        )


@pytest.fixture
def running(migrated_dsn: str) -> Iterator[Running]:
    sql(migrated_dsn, "INSERT INTO tenants (name) VALUES ('acme'), ('evil')")
    for number, name in ((7, "alice"), (8, "bob")):
        sql(
            migrated_dsn,
            "INSERT INTO api_keys (id, tenant_id, name, role, prefix, digest) VALUES"  # noqa: S608
            f" ({number}, 2, '{name}', 'user', 'ailb_x', decode(repeat('0{number}', 32), 'hex'))",
        )
    with ExitStack() as stack:
        found = Running(migrated_dsn, WHO, stack)
        found.add(
            entry(NOW, tenant_id=2, key_id=7, cost_micro_dollars=1_000_001),
            entry(NOW, tenant_id=2, key_id=7, cost_micro_dollars=1, model_sent="=cmd()"),
            entry(NOW, tenant_id=2, key_id=8, cost_micro_dollars=20, outcome="upstream_timeout"),
            entry(NOW, tenant_id=3, key_id=9, cost_micro_dollars=300, session_id='s, "1"'),
            entry(NOW, tenant_id=1, key_id=None, cost_micro_dollars=4000),
            entry(NOW, tenant_id=None, key_id=None, cost_micro_dollars=50_000),
        )
        yield found


ALL_COST = 1_000_001 + 1 + 20 + 300 + 4000 + 50_000
OWN: list[tuple[str, bool, int]] = [
    ("alice", False, 1_000_002),
    ("bob", False, 20),
    ("alice", True, 1_000_022),
    ("bob", True, 1_000_022),
    ("eve", False, 300),
    ("eve", True, 300),
    ("admin", True, 4000),
]


def test_one_request_is_found_by_its_id_and_by_its_owner_only(running: Running) -> None:
    running.add(entry(NOW, tenant_id=2, key_id=7, cost_micro_dollars=5, request_id="req-1"))
    total = running.ask("ListUsage", pb.ListUsageRequest(request_id="req-1")).total
    assert (total.requests, total.cost_micro_dollars) == (1, 5)
    assert running.ask("ListUsage", pb.ListUsageRequest(request_id="req-2")).total.requests == 0
    for key, requests in (("alice", 1), ("bob", 0), ("eve", 0)):
        own = running.ask("ListOwnUsage", pb.ListOwnUsageRequest(request_id="req-1"), key)
        assert own.total.requests == requests


@pytest.mark.parametrize(("key", "whole", "cost"), OWN)
def test_a_caller_sees_its_own_only(running: Running, key: str, whole: bool, cost: int) -> None:  # noqa: FBT001
    request = pb.ListOwnUsageRequest(whole_tenant=whole, group_by=["tenant", "key"])
    answer = running.ask("ListOwnUsage", request, key)
    assert answer.total.cost_micro_dollars == cost
    assert sum(one.cost_micro_dollars for one in answer.sums) == cost
    assert {one.tenant for one in answer.sums} == {WHO[key].tenant}


def test_what_is_admins_is_refused_to_others(running: Running) -> None:
    for method, request in (
        ("ListUsage", pb.ListUsageRequest()),
        ("ExportUsage", pb.ExportUsageRequest()),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            list(running.ask(method, request, "alice") or ())
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


def test_an_admin_sees_all(running: Running) -> None:
    answer = running.ask("ListUsage", pb.ListUsageRequest(group_by=["tenant", "key"]))
    assert answer.total.cost_micro_dollars == ALL_COST
    assert answer.total.cost_usd == ALL_COST / 1e6
    assert answer.total.requests == 6
    assert answer.total.failed_requests == 1
    told = {
        (one.tenant, one.key_id if one.HasField("key_id") else None, one.key_name)
        for one in answer.sums
    }
    assert told == {
        ("acme", 7, "alice"),
        ("acme", 8, "bob"),
        ("evil", 9, ""),
        ("default", None, ""),
        ("", None, ""),
    }
    assert [one.cost_micro_dollars for one in answer.sums] == sorted(
        (one.cost_micro_dollars for one in answer.sums), reverse=True
    )


def test_pages_are_walked_by_their_tokens(running: Running) -> None:
    found, token = [], ""
    while True:
        request = pb.ListUsageRequest(group_by=["key"], page_size=2, page_token=token)
        page = running.ask("ListUsage", request)
        found += [one.cost_micro_dollars for one in page.sums]
        assert page.total.cost_micro_dollars == ALL_COST
        token = page.next_page_token
        if not token:
            break
    assert found == [1_000_002, 54_000, 300, 20]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"group_by": ["colour"]}, "group_by"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"key_id": 2**32 - 1}, "key_id"),
        ({"start_time": Timestamp(seconds=20), "end_time": Timestamp(seconds=10)}, "end_time"),
        ({"start_time": Timestamp(seconds=2**62)}, "start_time"),
    ],
)
def test_what_is_wrong_is_named(running: Running, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        running.ask("ListUsage", pb.ListUsageRequest(**fields))
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"`{param}`" in error.details()


def test_an_export_is_a_file_of_all_rows(running: Running) -> None:
    end = Timestamp(seconds=int(NOW.timestamp()) + 1)
    pieces = list(running.ask("ExportUsage", pb.ExportUsageRequest(end_time=end)))
    assert {piece.body.content_type for piece in pieces} == {"text/csv; charset=utf-8"}
    text = b"".join(piece.body.data for piece in pieces).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sum(int(row["cost_micro_dollars"]) for row in rows) == ALL_COST
    assert {row["tenant"] for row in rows} == {"acme", "evil", "default", ""}
    assert {row["session_id"] for row in rows} == {"", 's, "1"'}
    assert {row["model_sent"] for row in rows} == {"gpt-x", "'=cmd()"}, "no formula"
    assert {row["streamed"] for row in rows} == {"false"}
    assert len({row["id"] for row in rows}) == 6


def test_an_export_of_nothing_has_the_columns(running: Running) -> None:
    (piece,) = running.ask("ExportUsage", pb.ExportUsageRequest(tenant="nobody"))
    assert piece.body.data.startswith(b"at,id,tenant,key_id,")
    assert piece.body.data.count(b"\r\n") == 1


def test_the_table(running: Running) -> None:
    told = running.told("24h", "--by", "key")
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert lines[0].split() == ["KEY", "REQUESTS", "FAILED", "PROMPT", "ANSWER", "COST"]
    assert lines[1].split() == ["7", "alice", "2", "0", "20", "10", "$1.0000", "█" * 24]
    assert lines[-1].split() == ["total", "6", "1", "60", "30", "$1.0543"]
    today = running.told(f"{NOW:%Y-%m-%d}").output.splitlines()
    assert today[1].startswith(f"{NOW:%Y-%m-%d}")
    assert running.told("2020-01").output == "No requests.\n"


def test_the_table_of_a_user(running: Running) -> None:
    refused = running.told(key="alice")
    assert (refused.exit_code, refused.output) == (
        1,
        "ailb: A key with the role user may not call this method.\n",
    )
    told = running.told("--where", "own=tenant", "--by", "outcome", "24h", key="alice")
    assert [line.split()[0] for line in told.output.splitlines()] == [
        "OUTCOME",
        "ok",
        "upstream_timeout",
        "total",
    ]


def test_json_and_csv(running: Running) -> None:
    told = running.told("24h", "--json", "--by", "tenant", "--where", "tenant=acme")
    sums = [json.loads(line) for line in told.output.splitlines()]
    assert [list(one) for one in sums] == [["sum"], ["total"]]
    assert sums[1]["total"]["cost_micro_dollars"] == 1_000_022
    assert sums[0]["sum"]["tenant"] == "acme"
    text = running.told("24h", "--csv", "--where", "key=9").stdout
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["tenant"], row["cost_micro_dollars"]) == ("evil", "300")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--csv", "--json"),
        ("--csv", "--where", "own=key"),
        ("yesterday",),
        ("2026-11-21..2026-11-01",),
        ("2026-13",),
        ("--where", "colour=red"),
        ("--where", "own=key", "--where", "tenant=acme"),
    ],
)
def test_what_makes_no_sense_ends_with_2(running: Running, arguments: tuple[str, ...]) -> None:
    assert running.told(*arguments).exit_code == 2
