"""The usage ledger's rows, what is asked of them, and what is answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from ailb_server.domain.limits import Settlement
from ailb_server.domain.value_object import value_object

# Why a row is not in the store.
Loss: TypeAlias = Literal["full", "disk", "refused", "unreadable"]


@value_object
class UsageEntry:
    """One request, as it ended. The fields are the columns of `usage_ledger`, and the members of a
    journal's lines: rename none, and give each new one a default. `settlements` are no column: the
    store tells them to the budgets that the request was charged to.

    `id` is a UUID of the ledger's own, `at` RFC 3339 in UTC: when the request ended. Tokens, money
    and `first_token_ms` are None where there are none: nobody answered, the model has no price, the
    answer was no stream. `estimated`: the provider told no tokens, or not all of them.
    `served_from`: `cache` or `replay` if no provider was asked; tokens and money are 0 then.
    """

    id: str
    at: str
    tenant_id: int | None = None
    key_id: int | None = None
    request_id: str = ""
    session_id: str = ""
    operation: str = "chat"
    streamed: bool = False
    provider: str = ""
    model_asked: str = ""
    model_sent: str = ""
    model_answered: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False
    cost_micro_dollars: int | None = None
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    outcome: str = "ok"
    finish_reason: str = ""
    instance: str = ""
    served_from: str | None = None
    settlements: Sequence[Settlement] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that wait in a journal, as JSON objects. `unreadable` counts lines that could not be
    read: torn by a crash of the machine. `place` and `end` are the journal's own."""

    lines: Sequence[bytes]
    unreadable: int = 0
    place: object = None
    end: int = 0


class Dimension(StrEnum):
    """What sums can be told apart by."""

    DAY = "day"
    TENANT = "tenant"
    KEY = "key"
    PROVIDER = "provider"
    MODEL = "model"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which rows: from `start` until before `end`; an empty or None member does not narrow.

    `tenant_id` bounds what the caller may see, `tenant` is what it asks for. `without_key` asks for
    the rows that no key is named in.
    """

    start: datetime
    end: datetime
    tenant_id: int | None = None
    tenant: str = ""
    key_id: int | None = None
    without_key: bool = False
    provider: str = ""
    model: str = ""
    session_id: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What some requests took together. Empty and None: not told apart by, or unknown.

    `day` is a date in UTC, as ISO 8601 writes it. `unpriced` counts the requests that took tokens
    at no known price: they are in `cost_micro_dollars` with 0.
    """

    day: str = ""
    tenant: str = ""
    key_id: int | None = None
    key_name: str = ""
    provider: str = ""
    model: str = ""
    outcome: str = ""
    requests: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_micro_dollars: int = 0
    unpriced: int = 0
    estimated: int = 0
    latency_ms: float | None = None
    first_token_ms: float | None = None


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Some sums in order, what all of the filter's rows make together, and whether more follow."""

    sums: Sequence[UsageSum]
    total: UsageSum
    more: bool


class RowRefusedError(ValueError):
    """The store refuses rows as they are: another try would not help. The message has no value."""
