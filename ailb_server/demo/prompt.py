"""What a request says: its last words, its attachments, and roughly how many tokens it has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_QUOTE: Final = 200
_PER_MESSAGE: Final = 3
_PER_ATTACHMENT: Final = 85
_NOUNS: Final[Mapping[str, str]] = {
    "image_url": "image",
    "input_audio": "recording",
    "file": "file",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """The message a demo answers, its quote shortened to one line of 200 characters.

    `earlier` is a line of the conversation before it that a question seems to be about.
    """

    role: str
    quote: str
    attachments: str
    tokens: int
    earlier: str = ""

    def reply(self) -> str:
        """What the demo says to it, without the label."""
        if self.role == "tool":
            return f'The tool said: "{self.quote}"'
        if not self.attachments:
            told = f'You said: "{self.quote}"' if self.quote else "You said nothing"
            return f'{told} I was told: "{self.earlier}"' if self.earlier else told
        if not self.quote:
            return f"You sent {self.attachments}"
        return f'You said: "{self.quote}" and sent {self.attachments}'


def read_messages(messages: object) -> Prompt:
    """The prompt of a chat: its last user or tool message, or simply its last one."""
    turns = _objects(messages)
    tokens = sum(_PER_MESSAGE + _tokens(turn.get("content")) for turn in turns)
    spoken = [turn for turn in turns if turn.get("role") in ("user", "tool")]
    last = (spoken or turns or [{}])[-1]
    content = last.get("content")
    return Prompt(
        role=str(last.get("role")),
        quote=_shorten(" ".join(_texts(content))),
        attachments=_attachments(content),
        tokens=tokens + _PER_MESSAGE,
        earlier=_shorten(_about(last, turns)),
    )


def read_text(text: object) -> Prompt:
    """The prompt of /v1/completions: a text, or token numbers."""
    said = text if isinstance(text, str) else f"{count_tokens(text)} tokens"
    return Prompt(role="user", quote=_shorten(said), attachments="", tokens=count_tokens(text))


def count_tokens(text: object) -> int:
    """About four characters a token; token numbers count as they are."""
    if isinstance(text, str):
        return (len(text) + 3) // 4
    return len(text) if isinstance(text, list) else 0


def _objects(items: object) -> Sequence[Mapping[str, object]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [text for part in _objects(content) if isinstance(text := part.get("text"), str)]


def _tokens(content: object) -> int:
    attached = sum(1 for part in _objects(content) if part.get("type") in _NOUNS)
    return sum(count_tokens(text) for text in _texts(content)) + attached * _PER_ATTACHMENT


def _attachments(content: object) -> str:
    """Like "1 image and 2 files"; empty without any."""
    kinds = [str(part.get("type")) for part in _objects(content)]
    counts = [(kinds.count(kind), noun) for kind, noun in _NOUNS.items()]
    named = [f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count]
    return " and ".join(named)


def _about(question: Mapping[str, object], turns: Sequence[Mapping[str, object]]) -> str:
    """Of the lines that users and systems said, the newest that shares most words with the
    question, and two at least. Nothing for what is no question."""
    asked = " ".join(_texts(question.get("content")))
    words = _words(asked)
    if question.get("role") != "user" or not asked.rstrip().endswith("?"):
        return ""
    best, found = 1, ""
    for turn in turns:
        if turn is question or turn.get("role") not in ("user", "system"):
            continue
        for quoted in "\n".join(_texts(turn.get("content"))).splitlines():
            # As mails and AILB quote.
            line = quoted.lstrip("|> ")
            shared = len(words & _words(line))
            if shared >= max(best, 2) and line.strip() != asked.strip():
                best, found = shared, line
    return found


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w\w+", text[: _QUOTE * 40].lower()))


def _shorten(text: str) -> str:
    line = " ".join(text[: _QUOTE * 4].split())
    return line if len(line) <= _QUOTE else line[: _QUOTE - 1] + "…"
