"""Two providers behind one model, a router of declared order, and all that is told of attempts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.target import Capabilities, Target
from ailb_server.routing.budget import RetryBudget
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Answer, Dispatcher, DispatchRules
from ailb_server.routing.ledger import Ledger, LedgerRules
from ailb_server.routing.limits import ProviderLimits
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Router, RouterDefaults
from ailb_server.routing.table import Alias
from tests.unit.doubles import FakeProvider, chat, chunk
from tests.unit.routing.clock import Clock

P, Q = Target("p", "m"), Target("q", "vendor/m")


class Setup:
    """`p` and `q` serve the model `m`, in this order; with `alone` only `p` does.

    With `clock`, time is its: see `clock.run`.
    """

    contexts: tuple[int | None, int | None] = (None, None)

    def __init__(
        self,
        p: FakeProvider,
        q: FakeProvider | None = None,
        *,
        clock: Clock | None = None,
        rules: DispatchRules | None = None,
        limits: Mapping[str, ProviderLimits] | None = None,
        hedge_after_s: float | None = None,
    ) -> None:
        self.log: list[str] = []
        self.seen: list[tuple[Target, str | None]] = []
        q = q or FakeProvider(says=[chunk("q")])
        p.name, q.name = "p", "q"
        p.log = q.log = self.log
        ledger_rules = LedgerRules(limits=limits)
        self.ledger = Ledger(ledger_rules, clock=clock) if clock else Ledger(ledger_rules)
        able = [{"*": Capabilities(context=c)} if c else None for c in self.contexts]
        declared = [
            Declaration("p", "p", p, ("m",), capabilities=able[0]),
            Declaration("q", "q", q, ("vendor/m",), capabilities=able[1]),
        ]
        aliases = {"m": Alias(("p/m", "vendor/m")), "alone": Alias(("p/m",))}
        catalogue = Catalogue(declared, self.ledger, aliases)
        self.router = Router(catalogue, self.ledger, RouterDefaults("failover", hedge_after_s))
        self.budget = RetryBudget(clock=self.ledger.clock)
        providers = {"p": p, "q": q}
        self.dispatcher = Dispatcher(Roster(providers), self.ledger, self._see, rules, self.budget)

    def _see(self, target: Target, seconds: float, failure: str | None) -> None:
        assert seconds >= 0
        self.seen.append((target, failure))

    @asynccontextmanager
    async def open(
        self, model: str = "m", *, time_left_s: float | None = None
    ) -> AsyncIterator[Answer]:
        request = chat(model)
        plan = self.router.plan(request)
        async with self.dispatcher.open(plan, request, time_left_s) as answer:
            yield answer

    async def answer(
        self, model: str = "m", *, time_left_s: float | None = None
    ) -> tuple[Target, list[ChatChunk]]:
        async with self.open(model, time_left_s=time_left_s) as answer:
            assert answer.waited_s >= 0
            chunks = [answer.first, *[later async for later in answer.rest]]
            self.log.append("read")
            return answer.target, chunks

    def outcome(self) -> str:
        """Of the newest decision."""
        return self.router.decisions.snapshot()[0].outcome

    def idle(self) -> bool:
        states = [self.ledger.state(target) for target in (P, Q)]
        return not any(
            s.in_flight
            or any(s.waiting.values())
            or s.breaker.probe_until
            or s.credential.probe_until
            for s in states
        )


def sized(first: int | None, second: int | None) -> type[Setup]:
    """A `Setup` whose `p` and `q` declare these contexts."""

    class Sized(Setup):
        contexts = (first, second)

    return Sized
