"""What is known of one chat when it ends."""

from dataclasses import dataclass
from typing import Protocol

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Target


@dataclass(slots=True)
class ChatRecord:
    """Filled as the request walks. `outcome` is `ok`, `cancelled` or an error's reason.

    Seconds; `overhead_s` is what AILB added before the first byte, `first_token_s` counts from the
    request's arrival. `usage` is None if no answer began, and `estimated` as far as the provider
    did not tell it: from the `events` seen. `whole`: the answer came to its end.
    """

    model_asked: str
    stream: bool
    outcome: str = "ok"
    target: Target | None = None
    usage: TokenUsage | None = None
    estimated: bool = False
    events: int = 0
    whole: bool = False
    overhead_s: float | None = None
    first_token_s: float | None = None
    total_s: float = 0.0


class ChatObserver(Protocol):
    """Who is told of each chat."""

    def chat_started(self) -> None:
        """A chat enters."""
        ...

    def chat_finished(self, record: ChatRecord) -> None:
        """A chat has ended, in whatever way. Must not block and must not raise."""
        ...
