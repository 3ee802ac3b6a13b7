"""What waits to be stored: bounded, in order."""

import asyncio
from dataclasses import replace

from ailb_server.domain.memory_queries import Selection
from ailb_server.domain.turn import NewExchange
from ailb_server.memory.journal import Journal
from ailb_server.memory.request_turns import exchange_turns
from tests.support.conversations import exchange, user
from tests.unit.memory.watching import Watching


def waiting(text: str, session: str = "s") -> NewExchange:
    return exchange_turns(exchange(user(text), session=session))


async def drained(journal: Journal) -> list[str]:
    texts = []
    while len(journal):
        number, first = await journal.first()
        texts.append(first.fresh[0].text)
        journal.done(number)
    return texts


async def test_first_in_first_out_and_the_session_is_known_meanwhile() -> None:
    journal = Journal(Watching())
    for text in ("a", "b"):
        journal.add(waiting(text))
    assert [turn.text for turn in journal.turns(1, "s")] == ["a", "Good.", "b", "Good."]
    assert not journal.holds(1, "other")
    assert not journal.holds(2, "s"), "another tenant's"
    assert await drained(journal) == ["a", "b"]
    assert not journal.holds(1, "s")
    assert journal.turns(1, "s") == ()


async def test_bytes_are_bounded_too() -> None:
    watching = Watching()
    journal = Journal(watching, max_bytes=5000)
    for n in range(9):
        journal.add(waiting(f"{n}" * 1000))
    assert watching.queued[1] <= 5000
    assert watching.losses == 9 - len(journal)
    assert [text[0] for text in await drained(journal)] == ["7", "8"]
    journal.add(waiting("x" * 10_000))
    assert len(journal) == 1, "one always fits"
    assert watching.queued[0] == 1


async def test_what_is_dropped_while_it_is_being_stored_is_no_fault() -> None:
    journal = Journal(Watching(), max_exchanges=1)
    journal.add(waiting("a"))
    number, _ = await journal.first()
    journal.add(waiting("b"))
    journal.done(number)
    assert await drained(journal) == ["b"]


async def test_a_drain_waits_for_something_to_do() -> None:
    journal = Journal(Watching())
    first = asyncio.create_task(journal.first())
    await asyncio.sleep(0)
    journal.add(waiting("a"))
    assert (await first)[1].fresh[0].text == "a"


async def test_deletions_reach_what_waits() -> None:
    journal = Journal(Watching())
    for exchange_ in (
        waiting("a"),
        replace(waiting("b", "t"), end_user="ann"),
        replace(waiting("c"), tenant_id=2),
    ):
        journal.add(exchange_)
    journal.forget(Selection(1, session_id="s"))
    assert len(journal) == 2
    journal.forget(Selection(1, end_user="bob"))
    assert len(journal) == 2
    journal.forget(Selection(1))
    assert await drained(journal) == ["c"]
