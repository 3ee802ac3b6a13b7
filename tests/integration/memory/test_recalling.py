"""What a request is given, and how it is read."""

import json
import re
from typing import Any

import pytest

from ailb_server.storage.memory_recall import BY_WORDS, RECENT, RECENT_AND_SIMILAR
from ailb_server.storage.memory_rows import halfvec
from ailb_server.storage.memory_sessions import SEARCH_WORDS
from tests.integration.memory.instance import Instance, contents
from tests.support.conversations import assistant, exchange, user

DOG = "My dog is called Rex and likes cheese."


async def fill(memory: Instance, exchanges: int = 30) -> None:
    """A session that begins with a dog and goes on about something else."""
    await memory.remember(exchange(user(DOG), said="What a fine name."))
    for n in range(exchanges):
        await memory.remember(exchange(user(f"Number {n} please"), said=f"{n} it is"))
    assert await memory.embedding.catch_up() == 2 * exchanges + 2


async def test_older_turns_are_found_by_likeness(memory: Instance) -> None:
    await fill(memory)
    recalled = await memory.recall(user("What is my dog called?"))
    assert contents(recalled)[-1] == "29 it is"
    assert len(recalled.turns) == 20
    assert recalled.similar is not None
    assert f"> {DOG}" in recalled.similar
    assert "Number" not in recalled.similar, "below the threshold"
    again = await memory.recall(user("What is my dog called?"))
    assert again == recalled, "the same bytes, for prompt caches"


async def test_nothing_that_the_request_holds_is_quoted(memory: Instance) -> None:
    await fill(memory)
    recalled = await memory.recall(
        user(DOG), assistant("What a fine name."), user("What is my dog called?")
    )
    assert DOG not in (recalled.similar or "")


async def test_a_known_long_session_takes_one_statement(
    memory: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(memory)
    await memory.recall(user("What is my dog called?"))
    seen: list[str] = []
    connection = memory.store.connection

    def counting() -> Any:
        seen.append("statement")
        return connection()

    monkeypatch.setattr(memory.store, "connection", counting)
    await memory.recall(user("What is my dog called?"))
    assert len(seen) == 1


@pytest.mark.parametrize("fault", ["down", "slow", "none"])
async def test_without_a_vector_words_stand_in(memory: Instance, fault: str) -> None:
    await fill(memory)
    if fault == "none":
        memory.embedder.space = None
    else:
        setattr(memory.embedder, fault, True)
    for _ in range(2):
        recalled = await memory.recall(user("What is my dog called?"))
        assert not recalled.degraded
        assert len(recalled.turns) == 20
        assert recalled.similar is not None
        assert DOG in recalled.similar


async def test_an_unknown_session_has_nothing(memory: Instance) -> None:
    recalled = await memory.recall(user("hi"), session="never seen")
    assert (recalled.turns, recalled.similar, recalled.degraded) == ((), None, False)


async def test_a_long_answer_does_not_drive_out_what_came_before(memory: Instance) -> None:
    await memory.remember(exchange(user("My name is Alice."), said="long " * 10_000))
    first, second = contents(await memory.recall(user("What is my name?")))
    assert first == "My name is Alice."
    assert second.endswith("[shortened]")
    assert len(second) <= 400


async def plan(memory: Instance, statement: str, *arguments: object) -> tuple[str, list[Any]]:
    """EXPLAIN ANALYZE: as text, and every node."""
    ((told,),) = await memory.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
    nodes: list[Any] = []

    def walk(node: Any) -> None:
        nodes.append(node)
        for child in node.get("Plans", ()):
            walk(child)

    walk(json.loads(told)[0]["Plan"])
    return told, nodes


async def crowd(memory: Instance) -> None:
    """Many sessions beside, so that the planner has a choice."""
    await memory.fetch(
        "INSERT INTO sessions (tenant_id, external_id, turn_count)"
        " SELECT 1, 'other ' || n, 50 FROM generate_series(1, 200) n"
    )
    await memory.fetch(
        "INSERT INTO turns (tenant_id, session_id, turn, role, tokens, fingerprint, embeddable,"
        " request_id, text, space_version, embedding)"
        " SELECT 1, s.id, n, 1, 1, n, true, 'r', 'some words number ' || n, 1,"
        " (SELECT embedding FROM turns WHERE embedding IS NOT NULL LIMIT 1)"
        " FROM sessions s, generate_series(0, 49) n WHERE s.external_id LIKE 'other %'"
    )
    await memory.fetch("ANALYZE")


async def test_a_recall_reads_its_session_by_the_primary_key(memory: Instance) -> None:
    await fill(memory)
    await crowd(memory)
    vector = halfvec(memory.embedder.vector("dog"))
    session = (1, "s", 20, 400)
    for statement, arguments in (
        (RECENT, session),
        (RECENT_AND_SIMILAR, (*session, "hashing", 64, True, vector, 0.35, 37, 1001)),
    ):
        told, nodes = await plan(memory, statement, *arguments)
        assert "Seq Scan" not in re.sub(r'"Seq Scan"[^}]*"memory_spaces"', "", told), told
        indexes = {node["Index Name"] for node in nodes if "Index Name" in node}
        assert {"sessions_external", "turns_pkey"} <= indexes
        scans = [node for node in nodes if node.get("Relation Name") == "turns"]
        assert [node["Scan Direction"] for node in scans] == ["Backward"] * len(scans)
        assert scans[0]["Actual Rows"] <= 20, "it stops"


async def test_words_are_found_by_their_index(memory: Instance) -> None:
    await fill(memory)
    await crowd(memory)
    told, _ = await plan(memory, SEARCH_WORDS, 1, "dog cheese", 10, None)
    assert "turns_words" in told
    told, nodes = await plan(memory, BY_WORDS, 1, "s", "What is my dog called?", 1001, 10)
    read = {n["Index Name"] for n in nodes if n.get("Index Name", "").startswith("turns")}
    assert read in ({"turns_words"}, {"turns_pkey"}), "never more than the session"
