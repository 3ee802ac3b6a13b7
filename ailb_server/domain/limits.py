"""What is limited, and what instances and the store tell each other about it.

All amounts are whole: requests, tokens, places for running requests, micro-dollars.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias

from ailb_server.domain.value_object import value_object

# Whose limit: a key's, a tenant's, one set at run time (of any target), a provider's.
Scope: TypeAlias = Literal["key", "tenant", "limit", "provider"]
_MINUTE_S = 60


class Quantity(StrEnum):
    """What a limit counts. The first two are rates; of the others, what is in use is held."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    SLOTS = "slots"
    MONEY = "money"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit; `owner` is the number of whom it is of.

    `cap` is what may be used at once: of a rate its burst, of money the month's budget. `rate` is
    what comes back in `window_s`, of a rate; else 0. `period` is the month of money as YYYYMM, and
    the seconds of a rate if they are not a minute's. `target` is that of one set at run time.
    """

    scope: Scope
    owner: int
    quantity: Quantity
    cap: int
    rate: int = 0
    period: int = 0
    target: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """Tells it from every other limit: `key:7:money:202611`."""
        return f"{self.scope}:{self.owner}:{self.quantity.value}:{self.period}"

    @property
    def kind(self) -> str:
        """Whose it is: `key`, `tenant`, `provider`, `model`, `route` or `global`."""
        return self.target.partition(":")[0] or self.scope

    @property
    def window_s(self) -> int:
        """In how many seconds `rate` comes back."""
        return self.period if self.rate and self.period else _MINUTE_S


@dataclass(frozen=True, slots=True)
class Ask:
    """What an instance tells of its lease and wants beyond it.

    `keep`: what it goes on holding, of which `spare` is not in use. `settled`: of all this lease's
    time, what was used beyond what was taken (rates; negative if less was), or spent (money).
    `heard` is the number of the last recall that this takes account of, `since` that of this
    lease's own that is to be answered (0: none). `need`: what requests wait for, `least` the least
    that helps one of them; `want`: what would do for a while. `recall`: if there is too little,
    others are to give back what they can.
    """

    limit: Limit
    lease: int
    keep: int
    spare: int
    settled: int
    heard: int
    since: int
    least: int
    need: int
    want: int
    recall: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """The store's answer.

    `kept` is false if the lease had expired: its spare part is void. `left`: what nobody holds;
    of a rate that has debts it is negative. `elsewhere`: what other instances hold; `unanswered`
    of them have been asked to give back and have not yet. `recalls` is the number of the last
    recall if that was lately, else 0. `others`: instances that used it lately. `spent`: money, in
    the period.
    """

    kept: bool
    granted: int
    left: int
    elsewhere: int
    unanswered: int
    recalls: int
    others: int
    spent: int


@value_object
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
