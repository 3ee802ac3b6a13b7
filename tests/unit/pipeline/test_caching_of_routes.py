"""The response cache before model routes: an answer is given again only where it would have come
from the same model."""

import random
from dataclasses import replace

from ailb_server.domain.errors import UpstreamTimeoutError
from ailb_server.domain.principal import Principal
from ailb_server.domain.repeats import CacheWish
from ailb_server.domain.route import STICKY, Face, Metadata, ModelRoute
from ailb_server.pipeline.caching import CacheRules, CacheStage
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.wishes import CallWishes
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Router, RouterDefaults
from ailb_server.storage.answer_cache import InMemoryAnswerCache
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.test_caching import Seen
from tests.unit.pipeline.test_context import DONE, last
from tests.unit.routes.routing import route

SHARED = "blue:50=blue/m,green:50=green/m"


class Routed:
    """A cache over the providers `blue` and `green`, each with a model `m`."""

    def __init__(self, *routes: ModelRoute) -> None:
        says = (chunk("He"), last("llo"), DONE)
        self.blue, self.green = (FakeProvider(name, says=says) for name in ("blue", "green"))
        providers = (self.blue, self.green)
        ledger = Ledger()
        catalogue = Catalogue([Declaration(p.name, p.name, p, ("m",)) for p in providers], ledger)
        catalogue.set_routes(routes)
        chance = random.Random(7)  # noqa: S311
        self.router = Router(catalogue, ledger, RouterDefaults("failover"), chance)
        dispatcher = Dispatcher(Roster({p.name: p for p in providers}), ledger, lambda *_: None)
        cache = InMemoryAnswerCache(10, 100_000)
        stage = CacheStage(cache, self.router.destinations, Seen(), CacheRules())
        self.pipeline = replace(ChatPipeline(self.router, dispatcher, Observer()), cache=stage)

    def home(self, key: Principal) -> str:
        """Where the key's version of `smart` goes."""
        request = replace(chat(stream=True), model="smart")
        [found] = self.router.destinations(request, CallWishes(who=key, face=Face.REST))
        return found

    async def ask(
        self, model: str, who: Principal | None = None, metadata: Metadata = ()
    ) -> tuple[str, str]:
        """What the cache did, and who has answered."""
        wishes = CallWishes(
            who=who or Principal(), cache=CacheWish(), face=Face.REST, metadata=metadata
        )
        request = replace(chat(stream=True, temperature=0), model=model)
        async with self.pipeline.open(request, wishes) as answer:
            _ = [one async for one in answer.chunks]
        return answer.cache, answer.target.provider


async def test_a_header_that_leads_to_another_model_misses() -> None:
    run = Routed(route(model="m", group="green/m", headers=(("x-canary", "1"),)))
    canary = (("x-canary", "1"),)
    assert await run.ask("m", metadata=canary) == ("miss", "green")
    assert await run.ask("m") == ("miss", "blue")
    assert await run.ask("m", metadata=canary) == ("hit", "green")
    assert await run.ask("m") == ("hit", "blue")


async def test_a_key_gets_no_answer_of_a_model_that_it_may_not_use() -> None:
    run = Routed(route(model="blue/m", group="green/m"))
    free, bound = Principal(key_id=1), Principal(key_id=2, allowed_models=("blue/*",))
    assert await run.ask("blue/m", free) == ("miss", "green")
    assert await run.ask("blue/m", bound) == ("miss", "blue")
    assert await run.ask("blue/m", bound) == ("hit", "blue")


async def test_versions_of_a_route_are_apart_and_a_name_of_routes_alone_is_cached() -> None:
    run = Routed(route(model="smart", group=SHARED))
    keys = [Principal(key_id=number) for number in range(1, 9)]
    first = [await run.ask("smart", key) for key in keys]
    again = [await run.ask("smart", key) for key in keys]
    assert {provider for _, provider in first} == {"blue", "green"}
    assert [told for told, _ in first].count("miss") == 2
    assert again == [("hit", provider) for _, provider in first]


async def test_what_another_version_gave_in_its_place_is_not_kept_as_its_own() -> None:
    run = Routed(route(model="smart", group=SHARED))
    keys = [Principal(key_id=number) for number in range(1, 9)]
    at_home = [run.home(key) for key in keys]
    astray = keys[at_home.index("blue/m")]
    run.blue.refusal = UpstreamTimeoutError("late")
    assert await run.ask("smart", astray) == ("miss", "green")
    run.blue.refusal = None
    assert (await run.ask("smart", astray))[0] == "miss"


async def test_without_a_key_chance_decides_and_no_answer_is_told_as_the_others() -> None:
    run = Routed(route(model="smart", group=SHARED, metadata={STICKY: "none"}))
    told = [await run.ask("smart") for _ in range(40)]
    assert {one for one in told if one[0] == "hit"} == {("hit", "blue"), ("hit", "green")}
