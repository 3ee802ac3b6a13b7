"""No tenant ever meets another's conversations: every store method and every RPC, at random."""

import random

import pytest

from ailb_server.domain.errors import NotFoundError
from ailb_server.domain.principal import ANYONE, Principal
from tests.integration.memory.instance import Instance
from tests.support.conversations import exchange, user

TRIES = 2000
SESSIONS = ("a", "b", "c", "only mine", "only theirs")


async def filled(memory: Instance, other: Principal) -> None:
    """Both tenants say the same things, but for a mark that tells whose it is."""
    for who, mark in ((ANYONE, "mine"), (other, "theirs")):
        for session in SESSIONS:
            if session.startswith("only") and not session.endswith(mark):
                continue
            for n in range(13):
                told = exchange(
                    user(f"secret number {n} is {mark}"),
                    session=session,
                    who=who,
                    said=f"noted {mark}",
                    request_id=f"r{n}",
                )
                await memory.remember(told)
    await memory.embedding.catch_up()


async def test_random_tries_find_no_other_tenant_s_row(memory: Instance, other: Principal) -> None:
    await filled(memory, other)
    rng = random.Random(4)  # noqa: S311 - reproducible
    for _ in range(TRIES):
        who, forbidden = rng.choice([(ANYONE, "theirs"), (other, "mine")])
        session = rng.choice(SESSIONS)
        number = rng.randrange(13)
        seen = await attempt(memory, rng.randrange(5), who, session, number)
        assert f"is {forbidden}" not in seen
        assert f"noted {forbidden}" not in seen
        assert f"only {forbidden}" not in seen


async def attempt(memory: Instance, kind: int, who: Principal, session: str, number: int) -> str:
    """What a tenant sees, as text."""
    conversations = memory.conversations
    question = f"secret number {number} is"
    try:
        if kind == 0:
            return str(await memory.recall(user(question), session=session, who=who))
        if kind == 1:
            return str(await conversations.turns(who, session, 100, -1))
        if kind == 2:
            return str(await conversations.sessions(who, "", 100, None))
        if kind == 3:
            return str(await conversations.search(who, question, "", 100))
        return str(await conversations.search(who, question, session, 100))
    except NotFoundError:
        return ""


async def test_a_page_of_one_tenant_s_is_nothing_to_another(
    memory: Instance, other: Principal
) -> None:
    await filled(memory, other)
    mine = await memory.conversations.sessions(ANYONE, "", 2, None)
    assert mine.next_after is not None
    theirs = await memory.conversations.sessions(other, "", 100, mine.next_after)
    assert "only mine" not in {session.session_id for session in theirs.sessions}


async def test_another_tenant_s_session_cannot_be_deleted(
    memory: Instance, other: Principal
) -> None:
    await filled(memory, other)
    for delete in (memory.conversations.delete, memory.conversations.session):
        with pytest.raises(NotFoundError):
            await delete(other, "only mine")
    assert await memory.conversations.delete_all(other, "", everyone=True) == 4
    assert len((await memory.conversations.sessions(ANYONE, "", 100, None)).sessions) == 4
