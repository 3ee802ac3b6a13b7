"""What a caller is told of its limits, in OpenAI's words.

https://platform.openai.com/docs/guides/rate-limits: `x-ratelimit-{limit,remaining,reset}-requests`
and `-tokens`; a reset is a duration such as `1s`, `6m0s` or `120ms`.
"""

from collections.abc import Sequence

from ailb_server.access.bucket import Bucket
from ailb_server.access.leases import ShortageError
from ailb_server.domain.errors import AilbError, BudgetExceededError, RateLimitExceededError
from ailb_server.domain.limits import Limit, Quantity
from ailb_server.pipeline.accounts import Account

_REQUESTS, _TOKENS = (
    tuple(f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset"))
    for unit in ("requests", "tokens")
)
_OWNERS = {"key": "this API key", "tenant": "this API key's tenant"}
_WINDOWS = {1: "a second", 60: "a minute", 3600: "an hour"}
_SECOND_MS = 1000
_SLOT_RETRY_S = 1.0
_MONEY_RETRY_S = 5.0


def rate_headers(account: Account, now: float) -> Sequence[tuple[str, str]]:
    """Of the tighter one of the key's and the tenant's limits: a minute's limit, what may still be
    used at once, and when all of the burst is there again. As far as this instance knows."""
    told: list[tuple[str, str]] = []
    for names, buckets in ((_REQUESTS, account.requests), (_TOKENS, account.tokens)):
        if buckets:
            told += zip(names, _told(buckets, now), strict=True)
    return told


def _told(buckets: Sequence[Bucket], now: float) -> tuple[str, str, str]:
    bucket = buckets[0]
    left = bucket.remaining(now)
    for other in buckets[1:]:
        if (less := other.remaining(now)) < left:
            bucket, left = other, less
    limit = bucket.limit
    full_s = (limit.cap - left) * limit.window_s / limit.rate
    return str(limit.rate), str(max(0, int(left))), duration(full_s)


def refusal(shortage: ShortageError, account: Account, now: float) -> AilbError:
    """The error of a request for which there is not enough."""
    bucket, limit = shortage.bucket, shortage.bucket.limit
    if limit.quantity is Quantity.MONEY:
        return _no_money(bucket, shortage.amount)
    owner = _owner(limit)
    if limit.quantity is Quantity.SLOTS:
        message = f"As many requests run as {owner} may have at once: {limit.cap}."
        wait_s = _SLOT_RETRY_S
    else:
        wait_s = max(0.001, bucket.wait_s(shortage.amount, now))
        message = (
            f"The limit of {owner} is reached: {limit.rate} {limit.quantity.value}"
            f" {_WINDOWS[limit.window_s]}. Try again in {duration(wait_s)}."
        )
    return RateLimitExceededError(
        message,
        headers=rate_headers(account, now),
        retry_after_s=wait_s,
        limit=f"{limit.kind}_{limit.quantity.value}",
    )


def duration(seconds: float) -> str:
    """As Go writes durations, to the millisecond."""
    milliseconds = max(0, round(seconds * 1000))
    if 0 < milliseconds < _SECOND_MS:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _owner(limit: Limit) -> str:
    """Whose limit it is, as its callers may know it."""
    if limit.kind in _OWNERS:
        return _OWNERS[limit.kind]
    kind, _, name = limit.target.partition(":")
    return f"the {kind} `{name}`, of all callers together," if name else "all callers together"


def _no_money(bucket: Bucket, amount: int) -> AilbError:
    limit = bucket.limit
    owner = _OWNERS[limit.scope]
    fact = f"{limit.scope}_budget"
    if bucket.spent + amount <= limit.cap:
        return BudgetExceededError(
            f"What is left of the monthly budget of {owner} is reserved by requests that run now.",
            retry_after_s=_MONEY_RETRY_S,
            limit=fact,
        )
    return BudgetExceededError(
        f"The monthly budget of {owner} does not suffice: {_dollars(bucket.spent)} of"
        f" {_dollars(limit.cap)} are spent, and this request may cost {_dollars(amount)}.",
        limit=fact,
    )


def _dollars(micro: int) -> str:
    return f"${micro / 1_000_000:,.6f}"
