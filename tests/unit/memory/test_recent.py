"""Which last turns a request is given."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ailb_server.domain.chat import JsonObject
from ailb_server.domain.turn import Role
from ailb_server.memory.recent import MAX_RECENT, chosen, message_of
from tests.support.conversations import assistant, tool, user
from tests.unit.memory.stored import stored

CALL = assistant(None, "c1", "c2")
MESSAGES = st.lists(
    st.sampled_from([user("u" * 40), assistant("a"), CALL, tool("c1"), tool("c2"), tool("x")]),
    max_size=30,
)


def given_messages(
    *messages: JsonObject, budget: int = 1000, awaited: tuple[str, ...] = ()
) -> list[JsonObject]:
    turns = chosen(stored(*messages), budget, awaited)
    return [message_of(turn, budget) for turn in turns]


def test_the_newest_that_fit_beginning_with_a_user_s() -> None:
    session = [m for n in range(9) for m in (user(f"{n}" * 40), assistant(f"{n}" * 40))]
    assert given_messages(*session, budget=60) == session[-6:]
    assert given_messages(*session, budget=50) == session[-4:], "no answer without its question"
    assert given_messages(*session, budget=0) == []


def test_at_most_twenty() -> None:
    session = [m for n in range(30) for m in (user(f"{n}"), assistant(f"{n}"))]
    assert len(given_messages(*session)) == MAX_RECENT


@pytest.mark.parametrize(
    "broken",
    [
        [CALL],
        [CALL, tool("c1")],
        [tool("c1"), tool("c2")],
        [tool("c1"), CALL, tool("c2")],
        [CALL, tool("c1"), user("!"), tool("c2")],
    ],
)
def test_calls_without_all_their_results_are_left_out(broken: list[JsonObject]) -> None:
    session = [user("a"), assistant("b"), *broken, user("c"), assistant("d")]
    assert [m["role"] for m in given_messages(*session)].count("tool") == 0
    assert not any("tool_calls" in message for message in given_messages(*session))


def test_calls_with_all_their_results_are_kept_and_strays_dropped() -> None:
    session = [user("a"), CALL, tool("c2"), tool("stray"), tool("c1"), assistant("b")]
    wanted = [user("a"), CALL, tool("c2"), tool("c1"), assistant("b")]
    assert given_messages(*session) == wanted


def test_the_last_calls_may_be_answered_by_the_request() -> None:
    session = [user("a"), CALL]
    assert given_messages(*session, awaited=("c1", "c2")) == session
    assert given_messages(*session, awaited=("c1",)) == [user("a")]
    assert given_messages(*session, user("b"), awaited=("c1", "c2")) == [user("a"), user("b")]


def test_nothing_is_said_by_blanks() -> None:
    assert given_messages(user("a"), assistant(""), user(" \n")) == [user("a")]


@given(MESSAGES, st.integers(0, 300))
@example([user("u" * 40), user("u" * 40)], 6)
def test_whatever_was_stored_the_messages_are_a_conversation(
    messages: list[JsonObject], budget: int
) -> None:
    turns = chosen(stored(*messages), budget)
    assert len(turns) <= MAX_RECENT
    assert [turn.turn for turn in turns] == sorted(turn.turn for turn in turns)
    if turns:
        assert turns[0].role is Role.USER
    told = [message_of(turn, budget) for turn in turns]
    assert sum(len(str(m["content"] or "")) for m in told) // 4 <= budget
    open_calls: set[str] = set()
    for message in told:
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = {call["id"] for call in message.get("tool_calls", ())}
    assert not open_calls
