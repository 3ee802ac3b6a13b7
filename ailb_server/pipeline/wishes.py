"""What a call says beside its body."""

from dataclasses import dataclass

from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.domain.route import Face, Metadata


@dataclass(frozen=True, slots=True)
class CallWishes:
    """Who calls, and what for beside the body: a routing strategy by name, the seconds it has
    left, a session. `request_id` tells a retry from a new request. `face` and `metadata` are how it
    came, for model routes; AILB's own requests have no face. An `Asker`."""

    strategy: str | None = None
    time_left_s: float | None = None
    who: Principal = ANYONE
    session_id: str | None = None
    request_id: str = ""
    face: Face | None = None
    metadata: Metadata = ()


NO_WISHES = CallWishes()
