"""Words into messages, and messages into words."""

from collections.abc import Sequence
from typing import TypeAlias

from ailb_client._gen.ailb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ContentPart,
    ImageUrl,
    Message,
    Role,
)

# One user's turn, or a whole conversation, oldest turn first.
Turns: TypeAlias = str | Sequence[Message]


def system(words: str) -> Message:
    """The operator's instructions."""
    return Message(role=Role.SYSTEM, content=[ContentPart(text=words)])


def user(words: str, *, images: Sequence[str] = ()) -> Message:
    """The person's turn. `images` are http(s) or `data:` URLs."""
    shown = [ContentPart(image_url=ImageUrl(url=url)) for url in images]
    return Message(role=Role.USER, content=[ContentPart(text=words), *shown])


def assistant(words: str) -> Message:
    """The model's turn."""
    return Message(role=Role.ASSISTANT, content=[ContentPart(text=words)])


def conversation(turns: Turns) -> list[Message]:
    """A text is the only user's turn."""
    return [user(turns)] if isinstance(turns, str) else list(turns)


def text(answer: ChatCompletion | ChatCompletionChunk, choice: int = 0) -> str:
    """The words of the answer with the index `choice`, or of its piece; empty if it has none."""
    return "".join(
        part.text
        for message in _messages(answer, choice)
        for part in message.content
        if part.text is not None
    )


def _messages(answer: ChatCompletion | ChatCompletionChunk, choice: int) -> list[Message]:
    if isinstance(answer, ChatCompletion):
        found = [c.message for c in answer.choices if c.index == choice]
    else:
        found = [c.delta for c in answer.choices if c.index == choice]
    return [message for message in found if message is not None]
