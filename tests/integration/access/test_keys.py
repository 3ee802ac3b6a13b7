"""Keys and their audit log, on a real Postgres."""

from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ailb_server.access.secret import Digester
from ailb_server.app.access import PepperError, bootstrap, open_digester
from ailb_server.domain.api_key import KeyQuery, KeyTerms, NewKey
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.principal import KeyLimits, Role
from ailb_server.settings import Settings
from tests.integration.access.conftest import ME, PEPPER, Office
from tests.support.postgres import REPOSITORY, psql

TERMS = KeyTerms(
    "ci", ("gpt-*",), ("docs",), KeyLimits(60, 1000, 4, 1_500_000), 4e9, {"team": "infra"}
)


async def test_a_key_comes_back_as_it_was_made(office: Office) -> None:
    key_id, secret = await office.make(NewKey(TERMS, "acme", Role.MODULE))
    key = await office.administration.get(key_id)
    assert (key.terms, key.tenant, key.role, key.version) == (TERMS, "acme", Role.MODULE, 1)
    match = await office.keys.find(Digester(PEPPER).digest(secret))
    assert match is not None
    assert (match.key, match.until) == (key, 4e9)
    other, _ = await office.make(NewKey(KeyTerms("other"), "acme"))
    assert (await office.administration.get(other)).tenant_id == key.tenant_id


async def test_no_secret_and_no_digest_is_where_people_read(office: Office) -> None:
    key_id, secret = await office.make(NewKey(TERMS, "acme"))
    _, rotated = await office.administration.rotate(key_id, 60, ME)
    digests = [Digester(PEPPER).digest(s).hex() for s in (secret, rotated)]
    for place in ("audit_log", "key_overview", "audit_trail"):
        told = str(await office.rows(f"SELECT * FROM {place}"))  # noqa: S608
        assert all(hidden not in told for hidden in (secret, rotated, *digests))
    everything = str(await office.rows("SELECT * FROM api_keys"))
    assert secret not in everything
    assert rotated not in everything


async def test_each_change_is_told_with_before_and_after(office: Office) -> None:
    key_id, _ = await office.make(NewKey(KeyTerms("ci"), "acme"))
    keys = office.administration
    await keys.update(key_id, lambda terms: replace(terms, name="new"), ME)
    await keys.rotate(key_id, 0, ME)
    assert (await keys.revoke(key_id, ME)).revoked_at is not None
    again = await keys.revoke(key_id, ME)
    assert again.version == 4
    rows = await office.rows(
        "SELECT action, subject, actor, actor_key_id, host(peer::inet), request_id, instance,"
        " before->>'name', after->>'name' FROM audit_log ORDER BY id"
    )
    who = (f"key {key_id}", "me", 9, "192.0.2.7", "r-1", "test-1")
    assert rows == [
        ("key.created", *who, None, "ci"),
        ("key.updated", *who, "ci", "new"),
        ("key.rotated", *who, "new", "new"),
        ("key.revoked", *who, "new", "new"),
    ]


async def test_a_change_that_is_refused_changes_and_tells_nothing(office: Office) -> None:
    key_id, _ = await office.make(NewKey(KeyTerms("ci")))
    with pytest.raises(InvalidRequestError):
        await office.administration.update(key_id, lambda terms: replace(terms, name=""), ME)
    assert await office.rows("SELECT count(*) FROM audit_log") == [(1,)]
    await office.administration.revoke(key_id, ME)
    with pytest.raises(InvalidRequestError):
        await office.administration.rotate(key_id, 60, ME)


async def test_a_rotation_leaves_one_secret_before(office: Office) -> None:
    key_id, first = await office.make(NewKey(KeyTerms("ci")))
    digester = Digester(PEPPER)
    key, second = await office.administration.rotate(key_id, 60, ME)
    assert key.previous_prefix == first[:11]
    old, new = [await office.keys.find(digester.digest(s)) for s in (first, second)]
    assert old is not None
    assert new is not None
    assert (old.until, new.until) == (key.previous_expires_at, None)
    _, third = await office.administration.rotate(key_id, 60, ME)
    found = [await office.keys.find(digester.digest(s)) for s in (first, second, third)]
    assert [match is not None for match in found] == [False, True, True]
    await office.administration.rotate(key_id, 0, ME)
    assert await office.keys.find(digester.digest(third)) is None


async def test_keys_are_listed_in_pages_and_by_tenant(office: Office) -> None:
    ids = [(await office.make(NewKey(KeyTerms(f"k{n}"), f"t{n % 2}")))[0] for n in range(6)]
    await office.administration.revoke(ids[0], ME)
    listed = office.administration.list
    assert [key.id for key in await listed(KeyQuery())] == ids[1:]
    assert [key.id for key in await listed(KeyQuery(show_revoked=True))] == ids
    assert [key.id for key in await listed(KeyQuery(tenant="t1"))] == ids[1::2]
    assert await listed(KeyQuery(tenant="nobody")) == []
    assert [key.id for key in await listed(KeyQuery(after_id=ids[2], limit=2))] == ids[3:5]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "TRUNCATE {part}",
        "DELETE FROM {part}",
    ],
)
async def test_the_audit_log_only_grows(office: Office, statement: str) -> None:
    await office.make(NewKey(KeyTerms("ci")))
    ((part,),) = await office.rows("SELECT tableoid::regclass::text FROM audit_log")
    async with office.store.connection() as connection:
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await connection.execute(statement.format(part=part))
    # As months end, whole parts may go.
    async with office.store.connection() as connection:
        await connection.execute(f"DROP TABLE {part}")
    await office.make(NewKey(KeyTerms("again")))


async def test_each_month_has_its_part(office: Office) -> None:
    async with office.store.connection() as connection:
        for day in ("2031-12-31 23:59:59+00", "2032-01-01 00:00:00+00", "2032-01-05 00:00:00+00"):
            await connection.execute("SELECT audit_log_make_month($1::text::timestamptz)", day)
            await connection.execute(
                "INSERT INTO audit_log (at, actor, action)"
                " VALUES ($1::text::timestamptz, 'a', 'b')",
                day,
            )
    rows = await office.rows(
        "SELECT tableoid::regclass::text, count(*) FROM audit_log GROUP BY 1 ORDER BY 1"
    )
    assert rows == [("audit_log_203112", 1), ("audit_log_203201", 2)]


async def test_a_pepper_is_made_once_and_cannot_be_lost_unseen(office: Office) -> None:
    made = await open_digester(Settings(), office.store)
    assert (await open_digester(Settings(), office.store)).digest("x") == made.digest("x")
    given = Settings.model_validate({"key_pepper": "a-pepper-of-enough-characters"})
    other = await open_digester(given, office.store)
    assert other.digest("x") != made.digest("x")
    await office.make(NewKey(KeyTerms("ci")))
    assert (await open_digester(given, office.store)).digest("x") == other.digest("x")
    for wrong in ({}, {"key_pepper": "another-pepper-of-enough-characters"}):
        with pytest.raises(PepperError):
            await open_digester(Settings.model_validate(wrong), office.store)
    # A pepper that the setting has is not in the database.
    assert await office.rows("SELECT pepper FROM key_digest") == [(None,)]


async def test_the_first_key_needs_no_server(postgres_dsn: str, tmp_path: Path) -> None:
    settings = Settings.model_validate({"module_id": "m"})
    secret = await bootstrap(settings, postgres_dsn, REPOSITORY / "migrations", "root", "operator")
    assert secret.startswith("ailb_")
    told = psql(
        postgres_dsn, "-At", "-c", "SELECT name, role, state FROM key_overview", "-c",
        "SELECT action, actor FROM audit_trail",
    ).stdout  # fmt: skip
    assert told.splitlines() == ["root|admin|active", "key.created|operator"]


async def test_finding_a_key_uses_the_indexes(office: Office) -> None:
    async with office.store.connection() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO api_keys (tenant_id, name, role, prefix, digest)"
            " SELECT 1, 'k', 'user', 'p', sha256(n::text::bytea) FROM generate_series(1, 3000) n"
        )
        await connection.execute("ANALYZE api_keys")
        plan = await connection.fetch(
            "EXPLAIN SELECT * FROM api_keys WHERE digest = $1 OR previous_digest = $1", b"x" * 32
        )
    text = "\n".join(str(row["QUERY PLAN"]) for row in plan)
    assert "api_keys_digest_key" in text
    assert "api_keys_previous_digest_key" in text
    assert "Seq Scan" not in text
