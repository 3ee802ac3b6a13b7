"""Providers are replaced while they are used: each is closed after its last use, and not before."""

import asyncio

from ailb_server.routing.roster import Roster
from tests.unit.doubles import FakeProvider


class Closing(FakeProvider):
    """Remembers that it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


async def soon() -> None:
    """Lets every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_is_replaced_is_closed_after_its_last_use() -> None:
    old, new = Closing("p"), Closing("p")
    roster = Roster({"p": old})
    member = roster.member("p")
    assert member is not None
    with member as first:
        with member as second:
            roster.swap({"p": new})
            assert first is second is old
            current = roster.member("p")
            assert current is not None
            assert current.provider is new
        await soon()
        assert not old.closed
    await soon()
    assert (old.closed, new.closed) == (True, False)
    await roster.close()
    assert new.closed


async def test_who_stays_is_left_in_peace_and_who_idles_is_closed_at_once() -> None:
    stays, goes = Closing("a"), Closing("b")
    roster = Roster({"a": stays, "b": goes})
    before = roster.member("a")
    roster.swap({"a": stays})
    await soon()
    assert roster.member("a") is before
    assert roster.member("b") is None
    assert (stays.closed, goes.closed) == (False, True)


async def test_the_end_closes_who_is_still_used() -> None:
    used = Closing("p")
    roster = Roster({"p": used})
    member = roster.member("p")
    assert member is not None
    with member:
        roster.swap({})
        await soon()
        assert not used.closed
        await roster.close()
        assert used.closed


async def test_who_was_seen_off_lists_nothing_more() -> None:
    provider = Closing("p")
    roster = Roster({"p": provider})
    member = roster.member("p")
    assert member is not None
    roster.swap({})
    assert await member.list_models() is None
