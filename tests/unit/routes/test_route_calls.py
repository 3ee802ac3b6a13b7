"""GetRoutes, UpdateRoutes, DeleteRoute and CanHandle, as MarchProxy calls them."""

import pytest

from ailb_server.domain.errors import AilbError, InvalidRequestError, NotFoundError
from ailb_server.domain.route_syntax import MAX_ROUTES
from ailb_server.domain.target import Target
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2
from tests.unit.routes.administering import ME, Office, message
from tests.unit.routes.routing import ask

CANARY = "blue:90=openai/gpt-4o,green:10=local/llama"


async def test_a_route_is_in_force_read_back_and_audited() -> None:
    office = Office()
    told = message(
        group="openai/gpt-4o|local/llama",
        protocol=types_pb2.PROTOCOL_HTTP,
        path_pattern="/v1/chat/*",
        headers={"X-Tier": "gold"},
        priority=3,
        metadata={"team": "a", "ailb.sticky": "session"},
    )
    assert await office.update(told) == 1
    (found,) = (await office.routes.get_routes(pb.GetRoutesRequest())).routes
    told.headers.clear()
    told.headers["x-tier"] = "gold"
    assert found == told
    (event,) = office.store.events
    assert (event.action, event.subject, event.actor) == ("route.updated", "route r", ME)
    assert event.before == {}
    assert event.after is not None
    assert set(event.after) == {"r"}


async def test_what_is_there_already_changes_nothing() -> None:
    office = Office()
    await office.update(message("a"), message("b", "m2"))
    assert await office.update(message("a"), message("b", "m2")) == 0
    assert len(office.store.events) == 1
    assert await office.update(message("b", "m2"), replace_all=True) == 1
    assert await office.groups() == {"b": "openai/gpt-4o"}
    assert await office.update(replace_all=True) == 1
    assert office.router.catalogue.routes is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"route_id": ""}, "route_id"),
        ({"route_id": "a/b"}, "route_id"),
        ({"route_id": "module"}, "module"),
        ({"source_pattern": ""}, "source_pattern"),
        ({"source_pattern": "[ab]"}, "wildcards"),
        ({"source_pattern": "x" * 257}, "256"),
        ({"destination_pattern": ""}, "destination_pattern"),
        ({"destination_pattern": "openai/none"}, "openai/none"),
        ({"destination_pattern": "gpt-4o,llama"}, "|"),
        ({"destination_pattern": "a=gpt-4o,a=llama"}, "twice"),
        ({"destination_pattern": "a:50=gpt-4o,b=llama"}, "together 100"),
        ({"destination_pattern": "a:50=gpt-4o,b:49=llama"}, "together 100"),
        ({"destination_pattern": "a:x=gpt-4o,b:1=llama"}, "percentage"),
        ({"destination_pattern": "a b=gpt-4o"}, "name"),
        ({"destination_pattern": ",".join(f"v{n}=llama" for n in range(9))}, "8 versions"),
        ({"destination_pattern": "|".join(["llama"] * 17)}, "16 models"),
        ({"path_pattern": "v1/chat"}, "path_pattern"),
        ({"protocol": types_pb2.PROTOCOL_MYSQL}, "MYSQL"),
        ({"protocol": 77}, "77"),
        ({"priority": 2_000_000}, "priority"),
        ({"source_port": 80}, "source_port"),
        ({"destination_port": 80}, "destination_port"),
        ({"headers": {"authorization": "x"}}, "secret"),
        ({"headers": {"a b": "x"}}, "headers"),
        ({"metadata": {"ailb.sticky": "cookie"}}, "ailb.sticky"),
        ({"metadata": {"ailb.strategy": "best"}}, "ailb.strategy"),
        ({"metadata": {"ailb.promotion_interval_s": "0"}}, "ailb.promotion_interval_s"),
        ({"metadata": {"ailb.colour": "blue"}}, "ailb.colour"),
        ({"metadata": {f"k{n}": "" for n in range(33)}}, "metadata"),
    ],
)
async def test_a_bad_route_changes_nothing(fields: dict[str, object], said: str) -> None:
    office = Office()
    await office.update(message("kept", group=CANARY))
    plain = {"route_id": "bad", "source_pattern": "m", "destination_pattern": "gpt-4o"}
    bad = types_pb2.Route(**{**plain, **fields})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError) as refused:
        await office.update(message("good", "m3"), bad, replace_all=True)
    assert said in str(refused.value)
    assert said in refused.value.facts["routes[1]"]
    assert await office.groups() == {"kept": CANARY}


async def test_ids_conditions_and_number_are_bounded() -> None:
    office = Office()
    await office.update(message("a", "m*"))
    for bad in (
        [message("b"), message("b", "m2")],
        [message("b", "m*")],
        [],
        [message(f"r{n}", f"m{n}") for n in range(MAX_ROUTES)],
        [message(f"r{n}", f"m{n}") for n in range(MAX_ROUTES + 1)],
    ):
        with pytest.raises(InvalidRequestError):
            await office.update(*bad)
    assert set(await office.groups()) == {"a"}
    assert await office.update(message("b", "m*", priority=1)) == 1


async def test_a_failure_is_told_in_the_audit_log() -> None:
    office = Office()
    with pytest.raises(NotFoundError):
        await office.routes.delete_route(pb.DeleteRouteRequest(route_id="none"))
    (event,) = office.audit.events
    assert (event.action, event.subject, event.outcome) == ("route.deleted", "route none", "failed")
    await office.update(message("a"))
    assert (await office.routes.delete_route(pb.DeleteRouteRequest(route_id="a"))).success
    assert office.store.events[-1].action == "route.deleted"
    with pytest.raises(AilbError):
        ask(office.router)


async def test_shares_outlive_an_update_that_does_not_speak_of_them() -> None:
    office = Office()
    await office.update(message(group="blue=openai/gpt-4o,green=local/llama"))
    assert (await office.groups())["r"] == "blue:100=openai/gpt-4o,green:0=local/llama"
    set_to = pb.SetTrafficWeightRequest(version="r/green", weight=30)
    await office.weights.set_traffic_weight(set_to)
    await office.update(message(group="blue=openai/gpt-4o-mini,green=local/llama", priority=1))
    assert (await office.groups())["r"] == "blue:70=openai/gpt-4o-mini,green:30=local/llama"
    await office.update(message(group="green=llama,blue=gpt-4o,red=best"))
    assert (await office.groups())["r"] == "green:30=llama,blue:70=gpt-4o,red:0=best"
    await office.update(message(group="green:50=llama,blue:50=gpt-4o"))
    assert (await office.groups())["r"] == "green:50=llama,blue:50=gpt-4o"


async def test_what_get_routes_tells_may_be_sent_back_during_a_promotion() -> None:
    office = Office()
    await office.update(message(group=CANARY))
    asked = pb.PromoteVersionRequest(version="green", promotion_rate=20)
    await office.weights.promote_version(asked)
    (found,) = (await office.routes.get_routes(pb.GetRoutesRequest())).routes
    assert found.destination_pattern == "blue:70=openai/gpt-4o,green:30=local/llama"
    await office.update(found)
    office.clock.now += 60
    assert (await office.groups())["r"] == "blue:50=openai/gpt-4o,green:50=local/llama"


def _filter(field: str, operator: str, value: str) -> types_pb2.Filter:
    return types_pb2.Filter(field=field, operator=operator, value=value)


async def _queried(office: Office, query: types_pb2.Query) -> list[str]:
    found = await office.routes.get_routes(pb.GetRoutesRequest(query=query))
    return [route.route_id for route in found.routes]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([("route_id", "", "b")], "b"),
        ([("source_pattern", "prefix", "m")], "abc"),
        ([("destination_pattern", "contains", "llama")], "c"),
        ([("priority", ">=", "2")], "bc"),
        ([("priority", "lt", "2"), ("route_id", "!=", "x")], "a"),
        ([("protocol", "eq", "GRPC")], "b"),
        ([("metadata.team", "eq", "x")], "a"),
        ([("path_pattern", "ne", "")], "a"),
    ],
)
async def test_routes_are_filtered(filters: list[tuple[str, str, str]], ids: str) -> None:
    office = await _three()
    query = types_pb2.Query(filters=[_filter(*one) for one in filters])
    assert await _queried(office, query) == list(ids)


async def test_routes_are_ordered_and_paged() -> None:
    office = await _three()
    assert await _queried(office, types_pb2.Query(sort_by="priority", sort_desc=True)) == [
        "c",
        "b",
        "a",
    ]
    query = types_pb2.Query(sort_desc=True, pagination=types_pb2.Pagination(page=2, page_size=2))
    found = await office.routes.get_routes(pb.GetRoutesRequest(query=query))
    assert [route.route_id for route in found.routes] == ["a"]
    told = types_pb2.Pagination(page=2, page_size=2, total_items=3, total_pages=2)
    assert (found.pagination, found.total_routes) == (told, 3)


@pytest.mark.parametrize(
    "query",
    [
        types_pb2.Query(filters=[_filter("colour", "eq", "x")]),
        types_pb2.Query(filters=[_filter("route_id", "like", "x")]),
        types_pb2.Query(filters=[_filter("priority", "contains", "1")]),
        types_pb2.Query(filters=[_filter("priority", "eq", "high")]),
        types_pb2.Query(filters=[_filter("route_id", "eq", "x")] * 17),
        types_pb2.Query(sort_by="colour"),
        types_pb2.Query(pagination=types_pb2.Pagination(page=-1)),
        types_pb2.Query(pagination=types_pb2.Pagination(page_size=1001)),
    ],
)
async def test_a_bad_query_is_refused(query: types_pb2.Query) -> None:
    with pytest.raises(InvalidRequestError):
        await _queried(await _three(), query)


async def _three() -> Office:
    office = Office()
    await office.update(
        message("a", "m1", priority=1, path_pattern="/v1/*", metadata={"team": "x"}),
        message("b", "m2", priority=2, protocol=types_pb2.PROTOCOL_GRPC),
        message("c", "m3", "local/llama", priority=3),
    )
    return office


async def _handles(office: Office, route: types_pb2.Route, **context: str) -> pb.CanHandleResponse:
    return await office.routes.can_handle(pb.CanHandleRequest(route=route, context=context))


async def test_can_handle_tells_what_would_be_served() -> None:
    office = Office()
    await office.update(message("r", "smart", CANARY, priority=4, path_pattern="/v1/chat/*"))
    yes = await _handles(office, types_pb2.Route(source_pattern="smart"))
    assert (yes.can_handle, yes.priority, yes.metadata["route_id"]) == (True, 4, "r")
    assert yes.metadata["targets_up"] == "2"
    by_model = await _handles(office, types_pb2.Route(), model="llama", path="/v1/embeddings")
    assert (by_model.can_handle, by_model.priority) == (True, 0)
    assert (await _handles(office, types_pb2.Route(source_pattern="gpt-*"))).can_handle
    new = message("new", "any*", "local/llama", priority=9)
    assert ((await _handles(office, new)).can_handle, (await _handles(office, new)).priority) == (
        True,
        9,
    )
    assert set(await office.groups()) == {"r"}, "asking makes nothing"


async def test_can_handle_tells_why_not() -> None:
    office = Office()
    await office.update(message("r", "smart", "local/llama"))
    smart = types_pb2.Route(source_pattern="smart")
    for route, context in (
        (types_pb2.Route(source_pattern="nothing"), {}),
        (types_pb2.Route(source_pattern="smart", protocol=types_pb2.PROTOCOL_REDIS), {}),
        (types_pb2.Route(source_pattern="smart", protocol=99), {}),  # type: ignore[arg-type]
        (smart, {"path": "/v1/images"}),
        (message("new", "x", "nobody/has"), {}),
        (message("new", "x", "gpt-4o", source_port=1), {}),
    ):
        verdict = await _handles(office, route, **context)
        assert not verdict.can_handle
        assert verdict.reason
    state = office.router.ledger.state(Target("local", "llama"))
    state.cool_until = state.ready_at = 2000.0
    assert "up" in (await _handles(office, smart)).reason
    office.ends = True
    assert "ends" in (await _handles(office, smart)).reason
