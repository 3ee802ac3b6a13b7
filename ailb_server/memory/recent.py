"""Which of a session's last turns a request is given, and as what messages."""

from collections.abc import Collection, Sequence

from ailb_server.domain.chat import JsonObject
from ailb_server.domain.turn import CHARACTERS_PER_TOKEN, Role, StoredTurn, estimated_tokens

# At most so many turns are given as messages: ten exchanges. Older ones are found by likeness.
MAX_RECENT = 20
_SHORTENED = " … [shortened]"


def longest_text(budget: int) -> int:
    """Characters that one turn is given of a budget in tokens: half, so that no long answer drives
    out all that was said before it."""
    return max(1, budget * CHARACTERS_PER_TOKEN // 2)


def chosen(
    turns: Sequence[StoredTurn], budget: int, awaited: Collection[str] = ()
) -> list[StoredTurn]:
    """The newest of `turns` (in order, without what the request repeats) that `budget` tokens hold.

    They begin with a user's. Tool calls come with all their results or not at all, but the last
    ones' may be in the request itself: `awaited` are the calls that it answers.
    """
    taken: list[Sequence[StoredTurn]] = []
    left, count = budget, 0
    for group in reversed(_groups(turns, awaited)):
        cost = sum(_cost(turn, budget) for turn in group)
        count += len(group)
        if cost > left or count > MAX_RECENT:
            break
        left -= cost
        taken.append(group)
    flat = [turn for group in reversed(taken) for turn in group]
    while flat and flat[0].role is not Role.USER:
        flat.pop(0)
    return flat


def message_of(turn: StoredTurn, budget: int) -> JsonObject:
    """The turn as OpenAI's message, its text no longer than its share of the budget."""
    extra = turn.message or {}
    text: str | None = _shortened(turn.text, budget)
    if not text and "tool_calls" in extra:
        text = None
    return {"role": turn.role.word, "content": text, **extra}


def _shortened(text: str, budget: int) -> str:
    limit = longest_text(budget)
    if len(text) <= limit:
        return text
    kept = limit - len(_SHORTENED)
    # A budget of a few tokens has no room to say so.
    return text[:kept] + _SHORTENED if kept > 0 else text[:limit]


def _cost(turn: StoredTurn, budget: int) -> int:
    extra = str(turn.message) if turn.message else ""
    return estimated_tokens(_shortened(turn.text, budget) + extra)


def _groups(turns: Sequence[StoredTurn], awaited: Collection[str]) -> list[Sequence[StoredTurn]]:
    """What must stay together, without what is not whole and what says nothing."""
    groups: list[Sequence[StoredTurn]] = []
    position = 0
    while position < len(turns):
        turn = turns[position]
        calls = _calls(turn)
        position += 1
        if not calls:
            if turn.role is not Role.TOOL and turn.text.strip():
                groups.append((turn,))
            continue
        results = _results(turns[position:])
        position += len(results)
        missing = calls - {_answers(result) for result in results}
        if not missing or (position == len(turns) and missing <= set(awaited)):
            groups.append((turn, *(r for r in results if _answers(r) in calls)))
    return groups


def _calls(turn: StoredTurn) -> set[str]:
    calls = (turn.message or {}).get("tool_calls", ())
    return {str(call.get("id")) for call in calls} if turn.role is Role.ASSISTANT else set()


def _results(turns: Sequence[StoredTurn]) -> list[StoredTurn]:
    results: list[StoredTurn] = []
    for turn in turns:
        if turn.role is not Role.TOOL:
            break
        results.append(turn)
    return results


def _answers(turn: StoredTurn) -> str:
    return str((turn.message or {}).get("tool_call_id"))
