"""What is limited, and what instances and the store tell each other about it.

All amounts are whole: requests, tokens, places for running requests, micro-dollars.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias

Scope: TypeAlias = Literal["key", "tenant"]


class Quantity(StrEnum):
    """What a limit counts. The first two are rates; of the others, what is in use is held."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    SLOTS = "slots"
    MONEY = "money"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of one key or tenant.

    `cap` is what may be used at once: of a rate its burst, of money the month's budget.
    `per_minute` is what comes back, of a rate; `period` is the month of money as YYYYMM, else 0.
    """

    scope: Scope
    owner: int
    quantity: Quantity
    cap: int
    per_minute: int = 0
    period: int = 0

    @property
    def name(self) -> str:
        """Tells it from every other limit: `key:7:money:202611`."""
        return f"{self.scope}:{self.owner}:{self.quantity.value}:{self.period}"


@dataclass(frozen=True, slots=True)
class Ask:
    """What an instance tells of its lease and wants beyond it.

    `keep`: what it goes on holding, of which `spare` is not in use. `settled`: of all this lease's
    time, what was used beyond what was taken (rates; negative if less was), or spent (money).
    `heard` is the number of the last recall that this takes account of. `need`: what requests wait
    for, `least` the least that helps one of them; `want`: what would do for a while. `recall`: if
    there is too little, others are to give back what they can.
    """

    limit: Limit
    lease: int
    keep: int
    spare: int
    settled: int
    heard: int
    least: int
    need: int
    want: int
    recall: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """The store's answer.

    `kept` is false if the lease had expired: its spare part is void. `left`: what nobody holds;
    of a rate that has debts it is negative. `elsewhere`: what other instances hold; `unanswered`
    of them have been asked to give back and have not yet. `spent`: money, in the period.
    """

    kept: bool
    granted: int
    left: int
    elsewhere: int
    unanswered: int
    spent: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """Up to where one request has settled a lease of money: `settled` as `Ask` would tell it next.

    The rest is that of the limit. It goes with the request's row of the usage ledger, so that what
    a killed process had not told its limits is told by the row. Members of a journal's lines:
    rename none, and give each new one a default.
    """

    scope: Scope
    owner: int
    period: int
    cap: int
    lease: int
    settled: int


class LimitStore(Protocol):
    """Where the limits' states are shared."""

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Answers in the asks' order, all in one statement. Raises StorageUnavailableError."""
        ...
