"""Which sessions hold more than their last turns."""

from collections import OrderedDict

_MAX_SESSIONS = 10_000


class LongSessions:
    """Sessions that were seen to be longer than a recall's window, the last used; sessions grow,
    so that it stays true. Known beforehand, a request's vector and its turns take one statement."""

    def __init__(self, max_sessions: int = _MAX_SESSIONS) -> None:
        self._max_sessions = max_sessions
        self._seen: OrderedDict[tuple[int, str], None] = OrderedDict()

    def __contains__(self, session: tuple[int, str]) -> bool:
        if session not in self._seen:
            return False
        self._seen.move_to_end(session)
        return True

    def add(self, session: tuple[int, str]) -> None:
        """Remembers it; forgets the one that was not used for longest, if there are too many."""
        self._seen[session] = None
        self._seen.move_to_end(session)
        if len(self._seen) > self._max_sessions:
            self._seen.popitem(last=False)
