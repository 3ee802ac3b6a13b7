"""SetTrafficWeight, GetActiveVersion, PromoteVersion and Rollback, as MarchProxy calls them."""

import pytest

from ailb_server.domain.errors import AilbError, InvalidRequestError, NotFoundError
from marchproxy import module_pb2 as pb
from tests.unit.routes.administering import VERSION, Office, message
from tests.unit.routes.routing import sessions

GROUP = "blue=openai/gpt-4o,green=local/llama"


async def _office(*more: tuple[str, str, str]) -> Office:
    office = Office()
    await office.update(message(group=GROUP), *(message(*one) for one in more))
    return office


async def _set(office: Office, version: str, weight: int) -> pb.SetTrafficWeightResponse:
    asked = pb.SetTrafficWeightRequest(version=version, weight=weight)
    return await office.weights.set_traffic_weight(asked)


async def _promote(office: Office, version: str, rate: int = 0) -> pb.PromoteVersionResponse:
    asked = pb.PromoteVersionRequest(version=version, immediate=not rate, promotion_rate=rate)
    return await office.weights.promote_version(asked)


async def _roll_back(office: Office, target: str = "") -> pb.RollbackResponse:
    return await office.weights.rollback(pb.RollbackRequest(target_version=target))


async def _green(office: Office) -> int:
    return (await office.active()).version_weights["r/green"]


@pytest.mark.parametrize("version", ["r/green", "green"])
async def test_a_weight_within_a_route_moves_requests(version: str) -> None:
    office = await _office()
    answer = await _set(office, version, 40)
    config = answer.current_config
    assert (config.blue_version, config.blue_weight) == ("r/blue", 60)
    assert (config.green_version, config.green_weight) == ("r/green", 40)
    assert (config.active_version, config.canary_enabled, config.canary_percent) == (
        "r/blue",
        True,
        40,
    )
    assert 30 < sessions(office.router, 100).count("local/llama") < 50
    (event,) = office.store.events[1:]
    assert (event.action, event.subject) == ("weight.set", "version r/green")
    assert event.before == {"weights": {"blue": 100, "green": 0}}
    assert event.after == {"weights": {"blue": 60, "green": 40}}


@pytest.mark.parametrize("version", [VERSION, f"module/{VERSION}"])
async def test_this_instances_weight_is_told_and_kept(version: str) -> None:
    office = await _office()
    assert office.live.current() == 100
    answer = await _set(office, version, 25)
    assert office.live.current() == 25
    config = answer.current_config
    assert (config.blue_version, config.blue_weight) == (f"module/{VERSION}", 25)
    assert (config.green_version, config.green_weight) == ("", 75)
    told = await office.active()
    assert told.active_version == VERSION
    assert told.version_weights == {VERSION: 25, "r/blue": 100, "r/green": 0}
    assert await office.groups() == {"r": "blue:100=openai/gpt-4o,green:0=local/llama"}


async def test_a_name_that_may_be_several_is_refused() -> None:
    office = await _office(("s", "m2", GROUP), ("t", "m3", f"{VERSION}=gpt-4o,x=llama"))
    for name in ("green", VERSION):
        with pytest.raises(InvalidRequestError, match="several versions"):
            await _set(office, name, 10)
    await _set(office, "s/green", 10)
    await _set(office, f"t/{VERSION}", 10)
    await _set(office, f"module/{VERSION}", 10)
    told = (await office.active()).version_weights
    assert (told["s/green"], told["r/green"], told[f"t/{VERSION}"], told[VERSION]) == (
        10,
        0,
        10,
        10,
    )


@pytest.mark.parametrize(
    ("version", "weight", "kind"),
    [
        ("", 10, InvalidRequestError),
        ("r/red", 10, NotFoundError),
        ("nobody/green", 10, NotFoundError),
        ("0.2.0", 10, NotFoundError),
        ("others", 10, NotFoundError),
        ("r/green", 101, InvalidRequestError),
        ("r/green", -1, InvalidRequestError),
        ("one/default", 50, InvalidRequestError),
    ],
)
async def test_a_bad_weight_changes_nothing(
    version: str, weight: int, kind: type[AilbError]
) -> None:
    office = await _office(("one", "m2", "gpt-4o"))
    before = await office.active()
    with pytest.raises(kind):
        await _set(office, version, weight)
    assert (await office.active()).version_weights == before.version_weights


async def test_another_instances_weight_is_not_ours_to_set() -> None:
    office = await _office()
    for instance, allowed in (("ailb-1", True), ("ailb-2", False)):
        asked = pb.SetTrafficWeightRequest(instance_id=instance, version=VERSION, weight=5)
        if allowed:
            assert (await office.weights.set_traffic_weight(asked)).success
        else:
            with pytest.raises(NotFoundError):
                await office.weights.set_traffic_weight(asked)
            with pytest.raises(NotFoundError):
                await office.weights.get_active_version(
                    pb.GetActiveVersionRequest(instance_id=instance)
                )
    asked = pb.SetTrafficWeightRequest(instance_id="ailb-2", version="r/green", weight=5)
    assert (await office.weights.set_traffic_weight(asked)).success, "routes are of all instances"


async def test_a_promotion_in_steps_is_seen_under_way_and_comes_to_its_end() -> None:
    office = await _office()
    answer = await _promote(office, "green", 40)
    assert (answer.promoted_version, answer.message) == (
        "r/green",
        "r/green has 40 percent, and 40 more every 60 s.",
    )
    config = (await office.active()).config
    assert (config.active_version, config.canary_enabled, config.canary_percent) == (
        "r/blue",
        True,
        40,
    )
    assert config.deployment_started.ToSeconds() == 1000
    seen = []
    for _ in range(3):
        seen.append((await _green(office), sessions(office.router, 200).count("local/llama")))
        office.clock.now += 60
    weights, counts = zip(*seen, strict=True)
    assert weights == (40, 80, 100)
    assert list(counts) == sorted(counts)
    assert counts[-1] == 200
    assert (await office.active()).config.active_version == "r/green"


async def test_the_interval_is_the_routes() -> None:
    office = Office()
    await office.update(message(group=GROUP, metadata={"ailb.promotion_interval_s": "5"}))
    await _promote(office, "green", 50)
    office.clock.now += 5
    assert await _green(office) == 100


async def test_an_immediate_promotion_and_back() -> None:
    office = await _office()
    answer = await _promote(office, "green")
    assert answer.message == "r/green has 100 percent."
    assert set(sessions(office.router, 50)) == {"local/llama"}
    rolled = await _roll_back(office)
    assert (rolled.previous_version, rolled.current_version) == ("r/green", "r/blue")
    assert set(sessions(office.router, 50)) == {"openai/gpt-4o"}
    actions = [event.action for event in office.store.events]
    assert actions == ["route.updated", "version.promoted", "version.rolled_back"]


async def test_a_rollback_out_of_a_promotion_that_is_under_way() -> None:
    office = await _office()
    await _promote(office, "green", 60)
    assert await _green(office) == 60
    rolled = await _roll_back(office)
    assert (rolled.previous_version, rolled.current_version) == ("r/green", "r/blue")
    office.clock.now += 1000
    assert await _green(office) == 0


async def test_a_rollback_to_a_named_version_or_route() -> None:
    office = await _office(("s", "m2", GROUP))
    assert (await _roll_back(office, "r/green")).current_version == "r/green"
    await _set(office, "s/green", 10)
    with pytest.raises(InvalidRequestError, match="r/blue, s/blue"):
        await _roll_back(office)
    assert (await _roll_back(office, "s/")).current_version == "s/blue"
    with pytest.raises(NotFoundError):
        await _roll_back(office, "s/")
    with pytest.raises(NotFoundError):
        await _roll_back(office, "s/red")


async def test_this_instances_version_is_promoted_and_rolled_back() -> None:
    office = Office()
    with pytest.raises(NotFoundError, match="nothing to roll back"):
        await _roll_back(office)
    await _set(office, VERSION, 0)
    await _promote(office, VERSION, 50)
    assert office.live.current() == 50
    office.clock.now += 60
    assert office.live.current() == 100
    rolled = await _roll_back(office)
    assert (rolled.current_version, office.live.current()) == ("module/others", 0)
    assert (await _roll_back(office, "module/")).current_version == f"module/{VERSION}"
    assert office.live.current() == 100
    await _set(office, VERSION, 10)
    await _roll_back(office)
    assert office.live.current() == 100


@pytest.mark.parametrize("rate", [-1, 0, 101])
async def test_a_promotion_needs_a_rate_or_to_be_immediate(rate: int) -> None:
    office = await _office()
    asked = pb.PromoteVersionRequest(version="green", promotion_rate=rate)
    with pytest.raises(InvalidRequestError):
        await office.weights.promote_version(asked)
    assert await _green(office) == 0
    (event,) = office.audit.events
    assert (event.action, event.outcome) == ("version.promoted", "failed")
