"""What is stored, once, in order."""

import asyncio

import pytest

from ailb_server.domain.principal import Principal
from tests.integration.memory.instance import Instance, contents
from tests.support.conversations import assistant, exchange, tool, user


async def test_my_name_is_alice(memory: Instance) -> None:
    await memory.remember(exchange(user("My name is Alice."), said="Hello Alice!"))
    recalled = await memory.recall(user("What is my name?"))
    assert list(recalled.turns) == [user("My name is Alice."), assistant("Hello Alice!")]
    assert recalled.similar is None
    assert not recalled.degraded
    assert memory.embedder.asked == [], "nothing is older than what is given"


async def test_a_turn_is_kept_with_who_said_it(memory: Instance) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    words = [{"type": "text", "text": "What is\0 this?"}, image, {"type": "text", "text": "\ud800"}]
    await memory.remember(exchange(user(words), request_id="r", said="A cat."))
    turns = (await memory.conversations.turns(Principal(), "s", 10, -1)).turns
    assert [turn.text for turn in turns] == ["What is this?\n[image]\n\ufffd", "A cat."]
    assert [(t.role.word, t.model, t.provider, t.tokens, t.finish_reason) for t in turns] == [
        ("user", "", "", 5, ""),
        ("assistant", "gpt-x", "openai", 7, "stop"),
    ]
    assert {turn.request_id for turn in turns} == {"r"}


async def test_a_retry_changes_nothing(memory: Instance) -> None:
    for _ in range(3):
        await memory.remember(exchange(user("one"), request_id="r"))
    concurrent = [exchange(user("two"), request_id="q", said=f"{n}") for n in range(10)]
    await asyncio.gather(*(memory.remember(one) for one in concurrent))
    assert len(await memory.texts()) == 4
    (session,) = await memory.fetch("SELECT turn_count FROM sessions")
    assert session["turn_count"] == 4


async def test_another_question_under_the_same_request_id_is_no_retry(memory: Instance) -> None:
    await memory.remember(exchange(user("one"), request_id="trace"))
    await memory.remember(exchange(user("two"), request_id="trace"))
    assert await memory.texts() == ["one", "Good.", "two", "Good."]


async def test_200_concurrent_appends_leave_no_gap_and_no_duplicate(memory: Instance) -> None:
    await asyncio.gather(*(memory.remember(exchange(user(f"{n}"))) for n in range(200)))
    rows = await memory.fetch("SELECT turn, request_id, role FROM turns ORDER BY turn")
    assert [row["turn"] for row in rows] == list(range(400))
    pairs = [(rows[n]["request_id"], rows[n + 1]["request_id"]) for n in range(0, 400, 2)]
    assert all(first == second for first, second in pairs), "exchanges are not interleaved"
    assert len(set(pairs)) == 200


async def test_a_client_that_sends_its_whole_history_stores_nothing_twice(
    memory: Instance,
) -> None:
    history = []
    for n in range(15):
        history.append(user(f"question {n}"))
        recalled = await memory.recall(*history)
        assert (recalled.turns, recalled.similar) == ((), None), n
        await memory.remember(exchange(*history, said=f"answer {n}"))
        history.append(assistant(f"answer {n} "))
    assert len(await memory.texts()) == 30
    assert memory.embedder.asked == []


async def test_a_history_that_was_made_elsewhere_is_stored_once(memory: Instance) -> None:
    system = {"role": "system", "content": "Be brief."}
    before = [user("one"), assistant("1"), user("two"), assistant("2")]
    await memory.remember(exchange(system, *before, user("three"), said="3"))
    assert await memory.texts() == ["one", "1", "two", "2", "three", "3"]
    await memory.remember(
        exchange(*before[2:], user("three"), assistant("3"), user("4?"), assistant("4"), user("5?"))
    )
    assert await memory.texts() == ["one", "1", "two", "2", "three", "3", "4?", "4", "5?", "Good."]


async def test_tool_calls_come_back_as_they_were(memory: Instance) -> None:
    await memory.remember(exchange(user("weather?"), said=assistant(None, "c1", "c2")))
    recalled = await memory.recall(tool("c1"), tool("c2"))
    assert list(recalled.turns) == [user("weather?"), assistant(None, "c1", "c2")]
    await memory.remember(exchange(tool("c1", "sun"), tool("c2", "rain"), said="Mixed."))
    recalled = await memory.recall(user("thanks"))
    assert [turn["role"] for turn in recalled.turns] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert recalled.turns[2] == tool("c1", "sun")


async def test_the_same_id_of_two_tenants_is_two_sessions(
    memory: Instance, other: Principal
) -> None:
    await memory.remember(exchange(user("mine"), request_id="r"))
    await memory.remember(exchange(user("theirs"), request_id="r", who=other))
    assert contents(await memory.recall(user("?"))) == ["mine", "Good."]
    assert contents(await memory.recall(user("?"), who=other)) == ["theirs", "Good."]


@pytest.mark.parametrize("size", [262_144, 262_145, 3_000_000])
async def test_long_texts_are_cut_and_say_so(memory: Instance, size: int) -> None:
    await memory.remember(exchange(user("é" * (size // 2) + "x" * (size % 2))))
    text = (await memory.texts())[0]
    assert len(text.encode()) <= 262_144 + 100
    assert ("bytes more]" in text) is (size > 262_144)


async def test_a_request_of_thousands_of_messages_is_bounded(memory: Instance) -> None:
    messages = [user(f"q{n}") if n % 2 == 0 else assistant(f"a{n}") for n in range(5001)]
    await memory.remember(exchange(*messages))
    texts = await memory.texts()
    assert len(texts) == 201
    assert texts[-3:] == ["a4999", "q5000", "Good."]


async def test_the_end_user_is_the_first_request_s(memory: Instance) -> None:
    one = exchange(user("hi"))
    fields = {**one.request.fields, "user": "ann\0a"}
    object.__setattr__(one.request, "fields", fields)
    await memory.remember(one, exchange(user("again")))
    session = await memory.conversations.session(Principal(), "s")
    assert (session.end_user, session.turn_count) == ("anna", 4)
