"""`AuditService` and `ailb audit`, over gRPC: who sees what, and how it reads."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from typing_extensions import override

from ailb.v1 import audit_service_pb2 as pb
from ailb.v1.audit_service_pb2_grpc import AuditServiceStub
from ailb_server.api.audit_service import AuditService
from ailb_server.app.services import audit_services
from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.server import Register
from ailb_server.storage.pool import Store
from tests.integration.audit.conftest import Archive
from tests.support.asked_service import AskedService
from tests.support.postgres import sql

NOW = datetime.now(UTC).replace(microsecond=654_321)
ROOT = Actor("root", 1, "192.0.2.1", "r-root")
WHO = {"admin": replace(ANYONE, key_id=1, name="root"), "alice": Principal(1, "default", 7, "a")}


class Running(AskedService):
    command = "audit"

    @override
    def services(self, store: Store) -> Sequence[Register]:
        self.archive = Archive(store)
        return audit_services(AuditService(self.archive.queries))

    def add(self, event: AuditEvent) -> None:
        self.loop.run(self.archive.log.append(event))

    def page(self, key: str = "admin", **asked: Any) -> Any:
        request = pb.ListAuditEventsRequest(**asked)
        metadata = (("authorization", f"Bearer {key}"),)
        stub: Any = AuditServiceStub(self.channel)
        return stub.ListAuditEvents(request, metadata=metadata, timeout=10)

    def subjects(self, **asked: Any) -> list[str]:
        return [event.subject for event in self.page(**asked).events]


def ago(hours: float) -> float:
    return (NOW - timedelta(hours=hours)).timestamp()


@pytest.fixture
def running(migrated_dsn: str) -> Iterator[Running]:
    sql(migrated_dsn, "INSERT INTO tenants (name) VALUES ('acme')")
    with ExitStack() as stack:
        server = Running(migrated_dsn, WHO, stack)
        created = AuditEvent("key.created", ROOT, 1, "key 7", after={"name": "alice"}, at=ago(50))
        server.add(created)
        server.add(
            AuditEvent(
                "key.updated",
                ROOT,
                1,
                "key 7",
                before={"name": "alice", "requests_per_minute": None},
                after={"name": "alice", "requests_per_minute": 60},
                at=ago(2),
            )
        )
        server.add(
            AuditEvent(
                "auth.failed",
                Actor("nobody", None, "192.0.2.9", "r-9"),
                subject="ailb_abc",
                after={"problem": "unknown"},
                times=4321,
                outcome="refused",
                at=ago(1),
            )
        )
        server.add(AuditEvent("key_x", Actor("=cmd()", None), 2, "other", outcome="failed"))
        yield server


def test_an_event_says_what_who_when_and_what_it_changed(running: Running) -> None:
    (event,) = running.page(action="key.updated").events
    assert (event.action, event.subject, event.outcome) == ("key.updated", "key 7", "ok")
    assert (event.tenant, event.actor, event.actor_key_id) == ("default", "root", 1)
    assert (event.peer, event.request_id, event.instance) == ("192.0.2.1", "r-root", "test-1")
    assert event.at.ToDatetime(UTC) == NOW - timedelta(hours=2)
    assert dict(event.before)["requests_per_minute"] is None
    assert dict(event.after)["requests_per_minute"] == 60
    (refused,) = running.page(outcome="refused").events
    assert (refused.times, refused.HasField("actor_key_id"), refused.tenant) == (4321, False, "")
    assert not refused.HasField("before")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["other", "ailb_abc", "key 7", "key 7"]),
        ({"action": "key.*"}, ["key 7", "key 7"]),
        ({"action": "key_*"}, ["other"]),
        ({"action": "key.created"}, ["key 7"]),
        ({"actor": "root"}, ["key 7", "key 7"]),
        ({"actor_key_id": 1, "action": "key.created"}, ["key 7"]),
        ({"outcome": "failed"}, ["other"]),
        ({"subject": "ailb_abc"}, ["ailb_abc"]),
        ({"tenant": "acme"}, ["other"]),
        ({"tenant": "nobody"}, []),
        ({"request_id": "r-9"}, ["ailb_abc"]),
        ({"actor": "nobody' OR true --"}, []),
    ],
    ids=str,
)
def test_each_filter_narrows(running: Running, asked: dict[str, Any], found: list[str]) -> None:
    assert running.subjects(**asked) == found


def test_times_narrow_and_pages_join(running: Running) -> None:
    assert running.subjects(start_time=NOW - timedelta(hours=3), end_time=NOW) == [
        "ailb_abc",
        "key 7",
    ]
    found, token = [], ""
    for _ in range(10):
        page = running.page(page_size=1, page_token=token)
        found += [event.id for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert len(found) == len(set(found)) == 4
    # Of rows of one moment none is skipped.
    for number in range(5):
        running.add(AuditEvent("same", ROOT, subject=str(number), at=NOW.timestamp()))
    first = running.page(action="same", page_size=2)
    rest = running.subjects(action="same", page_token=first.next_page_token)
    assert [event.subject for event in first.events] + rest == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"outcome": "bad"}, "outcome"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "AAAA"}, "page_token"),
        ({"page_token": "WyJhdWRpdCIsOTAwMDAwMDAwMDAwMDAwMDAwLDFd"}, "page_token"),
        ({"actor_key_id": 2**31}, "actor_key_id"),
        ({"start_time": NOW, "end_time": NOW - timedelta(1)}, "end_time"),
    ],
)
def test_what_cannot_be_asked_is_said(running: Running, asked: dict[str, Any], param: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        running.page(**asked)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"`{param}`" in error.details()


def test_only_admins_read_it(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        running.page(key="alice")
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


def test_the_command_prints_a_table_for_people(running: Running) -> None:
    done = running.told()
    assert done.exit_code == 0, done.output
    titles, first, refused, updated, created = done.output.splitlines()
    assert titles.split() == [
        "TIME",
        "(UTC)",
        "ACTION",
        "SUBJECT",
        "OUTCOME",
        "BY",
        "FROM",
        "TIMES",
        "WHAT",
    ]
    assert "failed" in first
    assert "4,321" in refused
    assert refused.endswith("problem=unknown")
    assert "root (key 1)" in updated
    assert updated.endswith("requests_per_minute: none -> 60")
    assert created.endswith("name=alice")
    assert running.told("--since", "24h", "--action", "key.*").output.count("\n") == 2
    assert running.told("--since", "24h", "--actor", "stranger").output == "No events.\n"
    assert "outcome" in running.told("--where", "color=red").output


def test_the_command_writes_json_and_csv(running: Running) -> None:
    lines = [json.loads(line) for line in running.told("--json").output.splitlines()]
    assert [line["subject"] for line in lines] == ["other", "ailb_abc", "key 7", "key 7"]
    assert lines[2]["after"] == {"name": "alice", "requests_per_minute": 60}
    rows = list(csv.DictReader(io.StringIO(running.told("--csv").output, newline="")))
    assert [row["actor"] for row in rows] == ["'=cmd()", "nobody", "root", "root"]
    assert json.loads(rows[3]["after"]) == {"name": "alice"}
    assert rows[1]["times"] == "4321"


def test_named_queries_use_their_indexes(running: Running, migrated_dsn: str) -> None:
    fill = (
        "INSERT INTO audit_log (at, actor, action, request_id) SELECT now(), 'nobody',"
        " 'auth.failed', md5(n::text) FROM generate_series(1, 20000) n; ANALYZE audit_log"
    )
    sql(migrated_dsn, fill)
    for where, index in (
        ("request_id = 'r-root'", "request_id_at_idx"),
        ("action LIKE 'key.%'", "action_at_idx"),
    ):
        plan = sql(migrated_dsn, f"EXPLAIN SELECT * FROM audit_trail WHERE {where} LIMIT 20")  # noqa: S608
        assert index in plan
