"""Which sessions are known to be long: bounded, the last used stay."""

from ailb_server.memory.long_sessions import LongSessions


def test_the_last_used_are_known() -> None:
    known = LongSessions(max_sessions=2)
    known.add((1, "a"))
    known.add((1, "b"))
    assert (1, "a") in known
    known.add((1, "c"))
    assert (1, "b") not in known
    assert (1, "a") in known
    assert (2, "a") not in known
