"""What a call says beside its body."""

from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.domain.repeats import CacheWish
from ailb_server.domain.route import Face, Metadata
from ailb_server.domain.value_object import value_object


@value_object
class CallWishes:
    """Who calls, and what for beside the body: a routing strategy by name, the seconds it has
    left, a session. `request_id` tells a retry from a new request.

    `cache` is what it says of the response cache, `idempotency_key` asks to be answered once.
    `face` and `metadata` are how it came, for model routes; AILB's own requests have no face. An
    `Asker`.
    """

    strategy: str | None = None
    time_left_s: float | None = None
    who: Principal = ANYONE
    session_id: str | None = None
    request_id: str = ""
    cache: CacheWish | None = None
    idempotency_key: str | None = None
    face: Face | None = None
    metadata: Metadata = ()

    @property
    def asks_cache(self) -> bool:
        """Whether it, or its key, wants the response cache."""
        return self.cache is not None or self.who.cache_ttl_s is not None


NO_WISHES = CallWishes()
