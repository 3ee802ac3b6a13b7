"""Random calls by tenants who know each other's names and numbers, and what they got to see."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ailb_server.api.call import Call, current_call
from ailb_server.domain.errors import AilbError
from ailb_server.domain.principal import DEFAULT_TENANT_ID, Principal, Role
from ailb_server.storage.pool import Store

ANNA = Principal(DEFAULT_TENANT_ID, "anna", role=Role.ADMIN)
BERT = Principal(2, "bert", role=Role.ADMIN)
# He writes and deletes; the others only read, and must find everything as it was.
CARL = Principal(3, "carl", role=Role.ADMIN)
TENANTS = (ANNA, BERT, CARL)
# Anna's, Bert's and Carl's sessions or collections. Each has two, and one name is everybody's.
NAMES = ("shared", "own-1", "own-2", "own-3")
_CALLERS = 6
_VICTIMS = "tenant_id < 3"
_TABLES = {
    **dict.fromkeys(
        (
            *("memory_spaces", "sessions", "turns"),
            *("collections", "documents", "imports", "import_items"),
        ),
        _VICTIMS,
    ),
    **dict.fromkeys(
        ("chunks", "chunk_vectors"),
        f"collection_id IN (SELECT id FROM collections WHERE {_VICTIMS})",  # noqa: S608
    ),
}


@dataclass(frozen=True, slots=True)
class Try:
    """One call on behalf of a tenant; what it returns is shown to that tenant. `forged`: whatever
    it returned would be another's."""

    name: str
    who: Principal
    call: Callable[[], Awaitable[object]]
    forged: bool = False


Calls: TypeAlias = Mapping[str, Callable[[], Awaitable[object]]]
Draw: TypeAlias = Callable[[random.Random], Try]


@dataclass
class Tally:
    """How often each call was tried, was refused, and told something of the caller's own."""

    tried: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)


def mark(who: Principal) -> str:
    """A word that all texts of the tenant have, and nobody else's."""
    return f"{who.tenant}ssecret"


def own(who: Principal) -> tuple[str, str]:
    """What the tenant's two sessions or collections are called."""
    return "shared", f"own-{who.tenant_id}"


async def tried(draw: Draw, count: int, seed: int) -> Tally:
    """Makes so many calls, several at a time. Fails at the first that tells what is another's."""
    rng, tally = random.Random(seed), Tally()  # noqa: S311 - reproducible
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await _one(draw(rng), tally)

    async with asyncio.TaskGroup() as callers:
        for _ in range(_CALLERS):
            callers.create_task(caller())
    return tally


async def _one(attempt: Try, tally: Tally) -> None:
    tally.tried[attempt.name] += 1
    current_call.set(Call("r", rest=False, principal=attempt.who))
    try:
        got = await attempt.call()
    except AilbError as error:
        tally.refused[attempt.name] += 1
        assert not any(mark(other) in str(error) for other in TENANTS), attempt.name
        return
    assert not (attempt.forged and got), attempt.name
    seen = repr(got)
    for other in TENANTS:
        if other != attempt.who:
            assert mark(other) not in seen, attempt.name
            assert own(other)[1] not in seen, attempt.name
    tally.told[attempt.name] += mark(attempt.who) in seen or own(attempt.who)[1] in seen


def called(
    service: Any, method: str, asked: object, most: int = 1000
) -> Callable[[], Awaitable[object]]:
    """An RPC, without its connection; of a stream, at most so many messages are read."""

    async def call() -> object:
        answer = getattr(service, method)(asked, None)
        if not hasattr(answer, "__aiter__"):
            return await answer
        seen: list[object] = []
        async with aclosing(answer):
            async for told in answer:
                seen.append(told)
                if len(seen) == most:
                    break
        return seen

    return call


async def victims_rows(store: Store) -> dict[str, str]:
    """Anna's and Bert's rows of every table, digested."""
    digests = {}
    async with store.connection() as connection:
        for table, theirs in _TABLES.items():
            digests[table] = await connection.fetchval(
                "SELECT count(*) || ' ' || md5(string_agg(t::text, '|' ORDER BY t::text))"  # noqa: S608
                f" FROM {table} t WHERE {theirs}"
            )
    return digests
