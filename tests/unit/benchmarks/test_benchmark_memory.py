"""The table of memory's benchmark."""

from benchmarks.memory import AIMS, BARE, text


def test_a_row_is_a_multiple_of_the_bare_round_trip_and_misses_are_named() -> None:
    figures = {BARE: [1.0, 2.0, 3.0], **{name: [4.0] * 3 for name in AIMS}}
    told = text(figures, 3)
    assert "All aims met." in told
    assert "2.0" in told.splitlines()[4]
    assert "Missed: append 2 turns" in text({**figures, "append 2 turns": [99.0]}, 3)
