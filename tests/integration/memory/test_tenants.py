"""Each tenant's conversations are its own. `tests/integration/tenants` tries all ways at random."""

from datetime import timedelta
from typing import Any, cast

import pytest

from ailb.v1 import memory_service_pb2 as pb
from ailb_server.api.call import Call, current_call
from ailb_server.api.memory_service import MemoryService
from ailb_server.domain.errors import NotFoundError
from ailb_server.domain.principal import ANYONE, Principal
from tests.integration.memory.instance import Instance
from tests.support.conversations import exchange, user

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


async def test_a_tenant_s_reindex_and_deletions_leave_the_other_s_alone(
    memory: Instance, other: Principal
) -> None:
    await filled(memory, other)
    service = MemoryService(memory.conversations, memory.reindexing, timedelta(days=1))
    context = cast("Any", None)
    current_call.set(Call("r", rest=False, principal=other))
    steps = [s async for s in service.ReindexSessions(pb.ReindexSessionsRequest(), context)]
    assert steps[-1].progress.total == 4 * 26
    for name in ("only mine", "a"):
        request = pb.DeleteSessionRequest(session_id=name)
        if name == "a":
            await service.DeleteSession(request, context)
        else:
            with pytest.raises(NotFoundError):
                await service.DeleteSession(request, context)
    await service.DeleteSessions(pb.DeleteSessionsRequest(all=True), context)
    assert len((await memory.conversations.sessions(ANYONE, "", 100, None)).sessions) == 4
    assert len(await memory.texts("a")) == 26


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
