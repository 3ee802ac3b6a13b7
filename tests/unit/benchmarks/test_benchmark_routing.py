"""The benchmark of routing tells a figure of every strategy."""

import pytest

from ailb_server.routing.strategies import STRATEGIES
from benchmarks.figures import Typical
from benchmarks.routing import (
    AIM_US,
    CASES,
    OPEN,
    PROVIDER,
    ROUTED,
    UNROUTED,
    Cell,
    main,
    measure,
    text,
)


async def test_a_tiny_run_fills_the_table() -> None:
    figures = await measure(seconds=0, repetitions=1)
    lines = text(figures, 1).splitlines()
    for name in STRATEGIES:
        row = next(line.split() for line in lines if line.startswith(f"{name} "))
        assert len(row) == 1 + len(CASES)
        assert all(float(cell) > 0 for cell in row[1:])
    for name in (ROUTED, UNROUTED, OPEN, PROVIDER):
        assert any(line.startswith(name) for line in lines)


def test_the_verdict_names_who_misses_the_aim_with_many_targets() -> None:
    figures: dict[Cell, Typical] = {}
    for name in STRATEGIES:
        for case in CASES:
            slow = name == "failover" or case.targets == 1
            value = AIM_US if slow and case.title == "plain" else AIM_US / 2
            figures[name, case] = Typical(value, value, value)
    figures.update(dict.fromkeys((ROUTED, UNROUTED, OPEN, PROVIDER), Typical(1.0, 1.0, 1.0)))
    assert "missed by failover (plain)." in text(figures, 5)


def test_fewer_than_five_repetitions_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--repetitions", "4"])
    assert "at least 5" in capsys.readouterr().err
