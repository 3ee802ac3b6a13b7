"""One instance of `benchmarks.limits`: a process of its own, told what to do line by line.

Each line of its input is a JSON list: `["rush", requests, tokens]`, `["settle", tokens]` or
`["rate", seconds, requests a second]`, `["until_limited"]` or `["until_refused", secret]`; each
answer a JSON object. Times are of the machine's monotonic clock, which all processes share.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

from ailb_server.access.authenticator import Authenticator
from ailb_server.access.bucket import LeaseRules
from ailb_server.access.key_cache import CacheRules
from ailb_server.access.leases import Leases
from ailb_server.access.rate_limit_watch import RateLimitWatch
from ailb_server.access.rate_limits import RateLimitBook
from ailb_server.access.secret import Digester
from ailb_server.app.access import CHANNEL as KEYS
from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import ChatRequest, TokenUsage
from ailb_server.domain.errors import AilbError, InvalidApiKeyError
from ailb_server.domain.principal import ANYONE, KeyLimits, Principal
from ailb_server.domain.target import Price, Target
from ailb_server.pipeline.accounts import Accounts
from ailb_server.pipeline.admission import LimitedAdmission
from ailb_server.spend.reservation import Pricing
from ailb_server.storage.api_keys import PostgresApiKeys
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.limits import CHANNEL, PostgresLimits
from ailb_server.storage.notifications import Notifications
from ailb_server.storage.pool import Store
from ailb_server.storage.rate_limits import CHANNEL as RATE_LIMITS
from ailb_server.storage.rate_limits import PostgresRateLimits

DOLLAR = 1_000_000
PEPPER = b"benchmark" * 4
# A dollar for each token of an answer, nothing for a prompt.
PRICE = Price(completion=DOLLAR * 1_000_000)
BUDGET = Principal(key_id=1, limits=KeyLimits(monthly_budget_micro_dollars=1000 * DOLLAR))
RATE = Principal(key_id=2, limits=KeyLimits(requests_per_minute=600))
EVERYTHING = Principal(
    key_id=3,
    limits=KeyLimits(10**9, 2 * 10**9, 10**6, 10**15),
    tenant_limits=KeyLimits(10**9, 2 * 10**9, 10**6, 10**15),
)


def asking(tokens: int) -> ChatRequest:
    """A chat that may answer so many tokens."""
    fields = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens}
    body = json.dumps(fields).encode()
    return ChatRequest("m", stream=False, include_usage=False, body=body, fields=fields)


class Quiet:
    """An observer that only counts what was let in unchecked."""

    def __init__(self) -> None:
        self.unchecked_requests = 0
        self.statements = 0

    def refused(self, scope: str, quantity: str) -> None:
        """Counted by the caller."""

    def unchecked(self, *, allowed: bool) -> None:
        """The store was away."""
        self.unchecked_requests += allowed

    def unpriced(self) -> None:
        """Does not happen."""

    def exchanged(self, seconds: float, limits: int) -> None:
        """A statement."""
        self.statements += 1

    def store_up(self, *, up: bool) -> None:
        """Of no interest here."""


class Instance:
    """An admission over Postgres, and the requests that it let in."""

    def __init__(self, dsn: str) -> None:
        self.store, self.seen, self.dsn = Store(dsn, size=4), Quiet(), dsn
        rules = LeaseRules()
        self.leases = Leases(PostgresLimits(self.store, "bench", rules.ttl_s), self.seen, rules)
        kept = PostgresRateLimits(self.store, "bench")
        self.watch = RateLimitWatch(kept, RateLimitBook())
        audit = PostgresAuditLog(self.store, "bench")
        self.keys = Authenticator(
            PostgresApiKeys(self.store, audit), Digester(PEPPER), None, CacheRules(ttl_s=60.0)
        )
        accounts = Accounts(self.leases, book=self.watch.book)
        self.admission = LimitedAdmission(
            accounts, self.leases, Pricing(), lambda _: [PRICE], self.seen, outage_denies=True
        )
        self.running: list[Admitted] = []
        self._listener: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects."""
        await self.store.open()
        self.leases.start()
        await self.watch.start()
        heard = {
            CHANNEL: self.leases.recalled,
            RATE_LIMITS: self.watch.heard,
            KEYS: lambda payload: self.keys.changed(int(payload)),
        }
        self._listener = asyncio.create_task(Notifications(self.dsn, heard, lambda: None).run())

    async def close(self) -> None:
        """Gives everything back."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait((self._listener,))
        await self.watch.close()
        await self.keys.close()
        await self.leases.close()
        await self.store.close()

    async def rush(self, requests: int, tokens: int) -> dict[str, int]:
        """All at once, against the budget; they go on running."""
        request = asking(tokens)
        tries = (self._admit(BUDGET, request) for _ in range(requests))
        return _counted(await asyncio.gather(*tries))

    async def settle(self, tokens: int) -> dict[str, int]:
        """What runs ends, at so many dollars each."""
        target, settled = Target("p", "m", price=PRICE), len(self.running)
        for one in self.running:
            one.settle(target, TokenUsage(completion=tokens))
        self.running.clear()
        return {"settled": settled}

    async def rate(self, seconds: float, a_second: float) -> dict[str, int]:
        """Even load against 600 requests a minute."""
        request, admitted, before = asking(1), 0, self.seen.statements
        begin = time.monotonic()
        for n in range(int(seconds * a_second)):
            await asyncio.sleep(max(0.0, begin + n / a_second - time.monotonic()))
            if time.monotonic() - begin >= seconds:
                break
            admitted += await self._admit(RATE, request) == "admitted"
        self.running.clear()
        return {"admitted": admitted, "statements": self.seen.statements - before}

    async def until_limited(self) -> dict[str, float]:
        """When requests were first refused for a limit set at run time."""
        request = asking(1)
        while await self._admit(ANYONE, request) == "admitted":
            self.running.clear()
            await asyncio.sleep(0.001)
        return {"at": time.monotonic()}

    async def until_refused(self, secret: str) -> dict[str, float]:
        """When a key that was good was first refused."""
        await self.keys.authenticate(secret)
        try:
            while True:
                await self.keys.authenticate(secret)
                await asyncio.sleep(0.001)
        except InvalidApiKeyError:
            return {"at": time.monotonic()}

    async def _admit(self, who: Principal, request: ChatRequest) -> str:
        try:
            self.running.append(await self.admission.admit(who, request))
        except AilbError as error:
            return error.reason.value.lower()
        return "admitted"

    async def cpu(self, rounds: int, who: Principal) -> float:
        """Microseconds of CPU that one request's admission and settlement take."""
        request, target = asking(100), Target("p", "m", price=PRICE)
        said = TokenUsage(20, 10)
        begin = time.process_time_ns()
        for n in range(rounds):
            one = await self.admission.admit(who, request)
            headers = one.headers
            one.settle(target, said)
            if n % 100 == 0:
                await asyncio.sleep(0)
            del headers
        return (time.process_time_ns() - begin) / rounds / 1000


def _counted(results: list[str]) -> dict[str, int]:
    return {result: results.count(result) for result in set(results)}


async def main(dsn: str) -> None:
    """Answers until its input ends."""
    one = Instance(dsn)
    await one.start()
    acts: dict[str, Callable[..., Awaitable[Mapping[str, float]]]] = {
        "rush": one.rush,
        "settle": one.settle,
        "rate": one.rate,
        "until_limited": one.until_limited,
        "until_refused": one.until_refused,
    }
    print("{}", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, *arguments = json.loads(line)
        print(json.dumps(await acts[name](*arguments)), flush=True)
    await one.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
