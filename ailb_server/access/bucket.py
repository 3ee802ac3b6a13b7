"""What this instance holds of one limit, and how it asks for more.

Nothing here waits or knows a store. Two things keep all instances together within a limit: what
is used was leased before, and a lease that could not be renewed is void here before the store
gives it away.
"""

from dataclasses import dataclass, field

from ailb_server.domain.limits import Ask, Grant, Limit

NEVER = float("-inf")
# The most that is taken in advance is so small a part of the whole.
_SLICE = 16


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """Seconds. `ttl_s` is a lease's life in the store; it is void here `margin_s` earlier, and
    renewed after `renew_s`, or after `watch_s` while other instances hold some of the limit too.
    What is unused for `idle_s` is given back. `ahead_s`: how long a slice should last.
    For `contended_s` after others asked for what is unused, nothing is kept that is not needed.
    `quiet_s`: how long after a refusal the next ones are refused without asking again. `recall_s`:
    how long others may take to give back what they do not use; shorter than `contended_s`, or they
    might take some again before all have answered. `settle_s`: so long what ended elsewhere is
    waited for, because it may be on its way to the store.
    """

    ttl_s: float = 15.0
    margin_s: float = 2.0
    renew_s: float = 5.0
    watch_s: float = 1.0
    idle_s: float = 1.0
    ahead_s: float = 1.0
    contended_s: float = 4.0
    quiet_s: float = 0.05
    recall_s: float = 1.5
    settle_s: float = 0.1


@dataclass(slots=True, eq=False)
class Bucket:
    """One lease. Of a rate, `free` is what may still be used; of slots and money, `bound` is what
    running requests use, and both together are what is held. `free` is negative after debts.

    `settled` is told as a sum that only this lease adds to: told twice it counts once. `spent` is
    what the store last said was spent by all. `unheard`: the store told of a recall, and is to be
    told that it was heard. `others`: instances that used this limit lately, beside this one.
    """

    limit: Limit
    lease: int
    rules: LeaseRules = field(default_factory=LeaseRules)
    free: int = 0
    bound: int = 0
    settled: int = 0
    void_at: float = NEVER
    used_at: float = NEVER
    low: int = 0
    asking: bool = False
    waiting: list[int] = field(default_factory=list)
    retry_at: float = NEVER
    refused_at: float = NEVER
    spent: int = 0
    others: int = 0
    unheard: bool = False
    _recorded: int = 0
    _taken: int = 0
    _rate: float = 0.0
    _asked_at: float = NEVER
    _told: int = 0
    _unsure: bool = False
    _ended: bool = False
    _void: bool = True
    _quiet_until: float = NEVER
    _refused_least: int = 0
    _contended_until: float = NEVER
    _heard: int = 0
    _since: int = 0
    _recalled_at: float = NEVER
    _recall_until: float = NEVER
    _retry_s: float = 0.0
    _elsewhere: int = 0
    _left: int = 0
    _left_at: float = NEVER
    _left_settled: int = 0

    def has(self, amount: int, now: float) -> bool:
        """Whether so much can be used without asking."""
        return amount == 0 or (amount <= self.free and now < self.void_at)

    def take(self, amount: int, now: float) -> None:
        """Uses it. For a request that is let in without (an outage), `free` becomes negative."""
        self.free -= amount
        self._taken += amount
        self.used_at = now
        if not self.limit.rate:
            self.bound += amount

    def release(self, amount: int, used: int) -> None:
        """Ends a use: of what was taken, so much was used in truth. Of slots, nothing lasts."""
        if not self.limit.rate:
            self.bound -= amount
            self.settled += used
            self.free += amount - used
            self._quiet_until, self._ended = NEVER, True
            return
        # More than is on record as held, nobody may hold: what is beyond goes back to the store.
        kept = min(amount - used, max(0, self._recorded - self.free))
        self.free += kept
        self.settled -= max(0, amount - used - kept)

    def change(self, limit: Limit) -> None:
        """The limit was changed; what is held of it stays, of a rate no more than a slice."""
        self.limit, self._quiet_until = limit, NEVER
        excess = self.free - max(1, limit.cap // _SLICE)
        if limit.rate and excess > 0:
            self.free -= excess
            self.settled -= excess

    def refuses(self, amount: int, arrived: float, now: float) -> bool:
        """Whether the store has said that there is not so much: since the request's arrival, or a
        moment ago."""
        if now >= self._quiet_until and self.refused_at < arrived:
            return False
        return amount - max(0, self.free) >= self._refused_least

    def recalled(self, now: float, number: int = 0) -> None:
        """Another instance needs what is unused here; `number` counts such recalls."""
        self._heard = max(self._heard, number)
        self._contended_until = now + self.rules.contended_s

    def contended(self, now: float) -> bool:
        """Whether others wait for what is unused here."""
        return now < self._contended_until

    @property
    def active(self) -> bool:
        """Whether the store is to be told of it again."""
        return bool(self.free or self.bound or self.waiting or self.dirty)

    @property
    def dirty(self) -> bool:
        """Whether something was settled that was not told."""
        debts = bool(self.limit.rate) and self.free < 0
        return debts or self._unsure or self.settled != self._told

    def due(self, now: float) -> bool:
        """Whether it is time to tell the store."""
        rules = self.rules
        if self.dirty or (self.free > 0 and (self._idle(now) or self.contended(now))):
            return True
        return now >= self._asked_at + (rules.watch_s if self._elsewhere else rules.renew_s)

    def ask(self, now: float) -> Ask:
        """What to tell the store now; `answered` or `failed` is to follow."""
        self.asking, self._void, self.unheard = True, now >= self.void_at, False
        self._ended = False
        self._measure(now)
        self._give_back(now)
        spare = max(0, self.free)
        need = max(0, sum(self.waiting) - spare)
        least = max(1, min(self.waiting) - spare) if need else 0
        self._told, self._asked_at, self._unsure = self.settled, now, False
        return Ask(
            self.limit,
            self.lease,
            keep=self.bound + spare,
            spare=spare,
            settled=self.settled,
            heard=self._heard,
            since=self._since,
            least=least,
            need=need,
            want=max(need, self._wanted(now) - spare),
            recall=self._recall_until == NEVER,
        )

    def answered(self, ask: Ask, grant: Grant, sent: float, now: float) -> None:
        """The store's answer to what was asked at `sent`."""
        self.asking = False
        if not grant.kept:
            self.free -= ask.spare
        self.free += grant.granted
        self._recorded = (ask.spare if grant.kept else 0) + grant.granted
        self.void_at = sent + self.rules.ttl_s - self.rules.margin_s
        self._elsewhere, self._left, self.spent = grant.elsewhere, grant.left, grant.spent
        self._left_settled, self._left_at, self.others = ask.settled, sent, grant.others
        # Where there is nothing to be had in advance, it is not asked for at every request.
        self.low = self._wanted(now) // 2 if grant.granted > ask.need else 0
        if ask.least and not grant.granted:
            self._short(ask, grant, sent, now)
        else:
            self._recall_until, self._since = NEVER, 0
            if grant.granted:
                self._quiet_until = NEVER
        if grant.recalls > self._heard and not self.limit.rate:
            # Who asks hears of recalls too: the announcement may be late, lost, or of before.
            self.recalled(now, grant.recalls)
            self.unheard = True

    def failed(self, now: float) -> None:
        """Nobody knows whether the store was told: it is told all of it again."""
        self.asking = False
        self._recorded = max(0, min(self._recorded, self.free))
        self._unsure = True

    def remaining(self, now: float) -> float:
        """What may still be used, on any instance, as far as is known here."""
        left = float(self._left)
        if self._left_at > NEVER:
            left += self.limit.rate * max(0.0, now - self._left_at) / self.limit.window_s
        # What is on its way back to the store is counted with what is there.
        return min(self.limit.cap, left + self.free - (self.settled - self._left_settled))

    def wait_s(self, amount: int, now: float) -> float:
        """When so much of a rate will be there, in seconds, as far as is known here."""
        limit = self.limit
        return max(0, amount - self.remaining(now)) * limit.window_s / max(1, limit.rate)

    def _measure(self, now: float) -> None:
        passed = now - self._asked_at
        if passed > self.rules.idle_s * 10:
            self._rate = 0.0
        elif passed > 0:
            weight = min(1.0, passed / self.rules.ahead_s)
            self._rate += weight * (self._taken / passed - self._rate)
        self._taken = 0

    def _idle(self, now: float) -> bool:
        return now >= self.used_at + self.rules.idle_s

    def _give_back(self, now: float) -> None:
        """Debts of a rate are settled; what is void or unused is no longer held."""
        rate = bool(self.limit.rate)
        kept = self.free
        if self.free < 0 or self._void:
            kept = 0
        elif self._idle(now) or self.contended(now):
            kept = self._about_to_be_used()
        if rate and not (self._void and self.free > 0):
            self.settled -= self.free - kept
        self.free = kept

    def _about_to_be_used(self) -> int:
        """By those who wait here for no more than there is."""
        used = 0
        for amount in self.waiting:
            if used + amount <= self.free:
                used += amount
        return used

    def _wanted(self, now: float) -> int:
        """What would last for a while at the rate seen; a small part of the whole."""
        if self.contended(now) or (self._idle(now) and not self.waiting):
            return 0
        lasting = int(self._rate * self.rules.ahead_s) if self._rate else self.limit.cap // 32
        return min(lasting, self.limit.cap // _SLICE)

    def _short(self, ask: Ask, grant: Grant, sent: float, now: float) -> None:
        if grant.unanswered and self._recall_until == NEVER:
            self._recall_until, self._retry_s = now + self.rules.recall_s, 0.0025
            self._recalled_at, self._since = sent, grant.recalls
        settled = not grant.unanswered and now >= self._recalled_at + self.rules.settle_s
        if now < self._recall_until and not settled:
            self._retry_s = min(2 * self._retry_s, 0.04)
            self.retry_at = now + self._retry_s
            return
        # What others answered to a recall says nothing to those who came after it.
        self.refused_at = sent if self._recall_until == NEVER else self._recalled_at
        self._recall_until, self._since = NEVER, 0
        self._refused_least = ask.least
        quiet_s = self.rules.quiet_s
        if self.limit.rate:
            missing_s = (ask.least - grant.left) * self.limit.window_s / self.limit.rate
            quiet_s = min(max(missing_s, quiet_s), 10 * quiet_s)
        elif self._ended or (grant.elsewhere and grant.spent + ask.least <= self.limit.cap):
            # Another instance may give some back at any moment, and this one just did.
            quiet_s = 0.0
        self._quiet_until = now + quiet_s
