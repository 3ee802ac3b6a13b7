"""Where a model's thoughts stand in its answer. Pure.

OpenAI's message has one text and one list of calls, and `thinking_blocks`, which are not its own,
beside them. A provider that thinks amid its answer wants each thought back at its place (Anthropic:
"interleaved thinking"), so a thought that is not the first of all tells its place in `after`:
`[characters, calls]`, what of the message's text and how many of its tool calls came before it.
"""

from collections.abc import Sequence

from ailb_server.domain.chat import Json, JsonObject

_AFTER = "after"
# `index` is what joins the pieces of a stream.
_ADDED = frozenset({"index", _AFTER})


def placed(block: JsonObject, characters: int, calls: int) -> JsonObject:
    """The provider's block with its place."""
    return {**block, _AFTER: [characters, calls]} if characters or calls else block


def native(block: JsonObject) -> JsonObject:
    """The block as the provider made it."""
    return {name: value for name, value in block.items() if name not in _ADDED}


def interleaved(
    thoughts: Sequence[JsonObject], texts: Sequence[JsonObject], calls: Sequence[JsonObject]
) -> list[JsonObject]:
    """The content, in the order of the answer. `texts` are text blocks, cut where thoughts were."""
    found: list[JsonObject] = []
    rest, told, called = list(texts), 0, 0
    for thought in thoughts:
        characters, before = _place(thought)
        said, rest = _cut(rest, characters - told)
        found += [*said, *calls[called:before], native(thought)]
        told, called = max(told, characters), max(called, before)
    return [*found, *rest, *calls[called:]]


def _place(block: JsonObject) -> tuple[int, int]:
    """At the beginning if it does not tell: as it is with what other gateways hand on."""
    after = block.get(_AFTER)
    match after:
        case [int() | float() as characters, int() | float() as calls]:
            return _count(characters), _count(calls)
    return 0, 0


def _count(value: Json) -> int:
    # A protobuf Struct knows no integers.
    return int(value) if 0 <= value < float("inf") else 0


def _cut(blocks: list[JsonObject], characters: int) -> tuple[list[JsonObject], list[JsonObject]]:
    """The blocks of the first `characters`, and the rest; a cut makes no blank one, which the API
    refuses. A mark of the cache stays at its text's end."""
    said: list[JsonObject] = []
    for place, block in enumerate(blocks):
        if characters <= 0:
            return said, blocks[place:]
        head, tail = block["text"][:characters], block["text"][characters:]
        if tail.strip():
            if head.strip():
                said.append({"type": "text", "text": head})
            return said, [{**block, "text": tail}, *blocks[place + 1 :]]
        said.append({**block, "text": head})
        characters -= len(head)
    return said, []
