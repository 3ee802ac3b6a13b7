"""Routes of several instances on one database."""

import asyncio
import json
from dataclasses import replace

import pytest

from ailb_server.domain.errors import InvalidRequestError, StorageUnavailableError
from ailb_server.domain.rollout import weight_of
from tests.integration.routes.conftest import ME, VERSION, instance, terms, until
from tests.unit.routes.routing import ask, sessions

IN_FORCE_S = 1.0
CANARY = "blue:90=openai/gpt-4o,green:10=local/llama"


async def test_a_change_is_in_force_everywhere_within_a_second(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one, instance(migrated_dsn, "ailb-2") as other:
        assert await one.update(terms(group="local/llama")) == 1
        assert ask(one.router) == ["local/llama"], "here at once"
        assert await until(lambda: other.ids() == ["r"]) < IN_FORCE_S
        assert ask(other.router) == ["local/llama"]
        await other.administration.delete("r", ME)
        assert await until(lambda: one.ids() == []) < IN_FORCE_S
        assert one.router.catalogue.routes is None


async def test_what_is_stored_is_what_was_asked_for(migrated_dsn: str) -> None:
    asked = replace(
        terms("r.1", "gpt-*", CANARY, priority=-3),
        protocol="HTTP",
        path_pattern="/v1/*",
        headers=(("x-tier", "gold"),),
        metadata={"team": "ä", "ailb.sticky": "user"},
    )
    async with instance(migrated_dsn) as one:
        await one.update(asked, terms("b", "other"))
        before = one.live.table
        assert await one.update(asked, terms("b", "other")) == 0, "the same again"
    async with instance(migrated_dsn) as again:
        assert again.live.table.routes == before.routes
        assert again.live.table.version == before.version
        (_, found) = again.live.table.routes
        assert found.terms == replace(asked, weights=None)
        rows = await again.rows(
            "SELECT action, subject, actor, after->'r.1'->>'group' FROM audit_log"
        )
        assert rows == [("route.updated", "routes", "nlb", CANARY)]


async def test_shares_are_the_same_on_every_instance(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one, instance(migrated_dsn, "ailb-2") as other:
        await one.update(terms(group="blue=openai/gpt-4o,green=local/llama"))
        await one.administration.set_weight("green", 30, ME)
        promoted = await other.administration.promote("r/green", 20, ME)
        assert weight_of(promoted.rollout.at(other.live.now()), "green") == 50
        number = other.live.table.version
        await until(lambda: one.live.table.version == number)
        assert abs(one.live.now() - other.live.now()) < 1
        for later_s, share in ((0, 50), (60, 70), (600, 100)):
            told = []
            for found in (one, other):
                at = found.live.now() + later_s
                (known,) = found.live.table.routes
                told.append(weight_of(known.rollout.at(at), "green"))
                found.router.route_time = lambda at=at: at  # type: ignore[misc]
            assert told == [share, share]
            assert sessions(one.router, 50) == sessions(other.router, 50)


async def test_an_instances_weight_is_its_own_and_outlives_it(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one, instance(migrated_dsn, "ailb-2") as other:
        await one.administration.set_weight(VERSION, 15, ME)
        number = one.live.table.version
        await until(lambda: other.live.table.version == number)
        assert (one.live.current(), other.live.current()) == (15, 100)
    async with instance(migrated_dsn) as again:
        assert again.live.current() == 15
        await again.administration.roll_back("", ME)
        assert again.live.current() == 100
        rows = await again.rows("SELECT action, subject, before, after FROM audit_log ORDER BY id")
    assert [row[:2] for row in rows] == [
        ("weight.set", f"version module/{VERSION}"),
        ("version.rolled_back", f"version module/{VERSION}"),
    ]
    assert json.loads(str(rows[0][3])) == {"weights": {VERSION: 15, "others": 85}}


async def test_what_was_announced_while_nobody_listened_is_read(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one, instance(migrated_dsn, "ailb-2") as other:
        await one.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'ailb listener' AND datname = current_database()"
        )
        await one.update(terms())
        await until(lambda: other.ids() == ["r"])


async def test_a_deaf_instance_reads_every_now_and_then(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one, instance(migrated_dsn, deaf=True, every_s=0.1) as two:
        await one.update(terms())
        await until(lambda: two.ids() == ["r"])


async def test_a_change_by_psql_is_heard_and_an_unsound_one_refused(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        await one.update(terms(group=CANARY))
        await one.rows("UPDATE model_routes SET priority = 7")
        await until(lambda: one.live.table.routes[0].terms.priority == 7)
        assert not one.live.problem
        await one.rows("""UPDATE model_routes SET weights = '{"blue": 1, "green": 2}'""")
        await until(lambda: "together" in one.live.problem)
        assert dict(one.live.table.routes[0].rollout.weights) == {"blue": 90, "green": 10}
        async with instance(migrated_dsn, "ailb-2") as late:
            assert late.live.problem
            assert late.ids() == [], "it had none before"
        await one.update(terms(group=CANARY), replace_all=True)
        assert not one.live.problem


@pytest.mark.parametrize(
    "unsound",
    ["""versions = '[{"name": "x"}]'""", """weights = '{}'""", """headers = '{"Cookie": "x"}'"""],
)
async def test_rows_that_are_no_routes_are_told(migrated_dsn: str, unsound: str) -> None:
    async with instance(migrated_dsn) as one:
        await one.update(terms())
        await one.rows(f"UPDATE model_routes SET {unsound}")  # noqa: S608
        await until(lambda: "the route r" in one.live.problem)
        assert one.ids() == ["r"]


async def test_a_bad_update_leaves_everything(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        await one.update(terms())
        before = one.live.table
        with pytest.raises(InvalidRequestError):
            await one.update(terms("good", "m"), terms("bad", "n", "nobody/has"), replace_all=True)
        assert one.live.table.routes == before.routes
        assert await one.rows("SELECT route_id FROM model_routes") == [("r",)]
        assert await one.rows("SELECT count(*) FROM audit_log") == [(1,)]


async def test_changes_at_once_come_one_after_the_other(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one, instance(migrated_dsn, "ailb-2") as other:
        await one.update(terms(group=CANARY))
        changes = [
            found.update(terms(f"{name}{n}", f"{name}{n}"))
            for n in range(5)
            for name, found in (("a", one), ("b", other))
        ]
        await asyncio.gather(*changes, one.administration.set_weight("r/green", 50, ME))
        rows = await one.rows("SELECT version FROM model_routes_state")
        number = int(str(rows[0][0]))
        for found in (one, other):
            await until(lambda found=found: found.live.table.version == number)  # type: ignore[misc]
            assert len(found.ids()) == 11
            (route,) = [r for r in found.live.table.routes if r.route_id == "r"]
            assert weight_of(route.rollout.weights, "green") == 50


async def test_without_the_store_what_was_read_goes_on(migrated_dsn: str) -> None:
    async with instance(migrated_dsn) as one:
        await one.update(terms(group="local/llama"))
        await one.store.close()
        one.live.heard("")
        with pytest.raises(StorageUnavailableError):
            await one.update(terms("more", "m"))
        assert ask(one.router) == ["local/llama"]
