"""Pauses grow, are bounded, and differ between instances."""

from ailb_server.marchproxy.backoff import Backoff


def test_pauses_double_up_to_a_bound_and_begin_anew() -> None:
    backoff = Backoff(first_s=1, most_s=8)
    for whole_s in (1, 2, 4, 8, 8, 8):
        assert whole_s / 2 <= backoff.pause_s() <= whole_s
    backoff.reset()
    assert backoff.pause_s() <= 1


def test_no_two_instances_keep_time() -> None:
    pauses = {Backoff().pause_s() for _ in range(10)}
    assert len(pauses) == 10
