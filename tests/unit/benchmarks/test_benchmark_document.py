"""The page of figures: what is met, what is missed and by how much, and what is not known."""

from xml.etree import ElementTree

import pytest

from benchmarks import plot
from benchmarks.check import Baseline, verdict
from benchmarks.document import page
from benchmarks.figures import Typical
from benchmarks.goals import Goal, goals
from benchmarks.plan import Plan
from benchmarks.record import Record, record
from benchmarks.soak_record import Resident, SoakRecord, slopes
from tests.unit.benchmarks.runs import MB, SMALL, STREAM, outcome, result, sample

_SOAK = SoakRecord("2026-11-21", 30.0, 100.0, 300.0, {"server": 1.5}, {"small": 9}, {}, [])
_PAGE = """Words.

<!-- generated: goals -->
old
<!-- end -->
<!-- generated: run -->
<!-- end -->
More words.
<!-- generated: figures -->
<!-- end -->
"""


def test_goals_are_met_missed_or_not_measured() -> None:
    found = {goal.what: goal for goal in goals(_run(keyed=0.6), _SOAK)}
    verdicts = [
        goal.verdict for what, goal in found.items() if what.startswith("small chat, c=16:")
    ]
    assert verdicts == ["missed by 33%", "met", "met"]
    assert found["`ailb serve` ready, Postgres running"].verdict == "met"
    assert found["resident memory of an instance, idle"].verdict == "met"
    assert found["small chat, c=1: server CPU by the relay's"].verdict == "not measured"
    grown = [goal for what, goal in found.items() if what.startswith("growth")]
    assert [goal.verdict for goal in grown] == ["missed by 50%"]


def test_a_goal_that_is_just_reached_is_met() -> None:
    assert Goal("x", 2.0, 2.0, "", "").verdict == "met"


def test_the_page_keeps_its_words_and_gets_the_figures() -> None:
    written = page(_PAGE, _run(keyed=0.6), None)
    assert "old" not in written
    assert written.startswith("Words.")
    assert "\nMore words.\n" in written
    assert "| 16 | AILB keyed | 0.600 |" in written
    assert page(written, _run(keyed=0.6), None) == written


def test_a_row_with_errors_is_named() -> None:
    failed = sample(SMALL, "relay", outcome(0.3, errors={"not sent": 1_200}), concurrency=16)
    run = record(Plan((SMALL,), 1, 90.0), result(failed), "python -m benchmarks.chat")
    assert "worth nothing, and why: small, c=16, relay (1,200 not sent)." in page(_PAGE, run, None)
    assert "worth nothing" not in page(_PAGE, _run(keyed=0.6), None)


def test_the_picture_has_a_bar_for_each_process() -> None:
    panels = plot.panels(_run(keyed=0.6))
    assert [[bar.name for bar in panel.bars] for panel in panels] == [["AILB keyed", "relay"]]
    drawn = ElementTree.fromstring(plot.picture(panels))  # noqa: S314 - our own
    # The background, two of the legend, two of each bar.
    assert len(drawn.findall("{http://www.w3.org/2000/svg}rect")) == 1 + 2 + 4


@pytest.mark.parametrize(("ratio", "passed"), [(2.0, True), (2.69, True), (2.71, False)])
def test_the_check_fails_beyond_its_bound(ratio: float, *, passed: bool) -> None:
    told, line = verdict(Typical(ratio, ratio, ratio), Baseline("s", "2026-11-21", 2.0, 1.35))
    assert told is passed
    assert ("WORSE" in line) is not passed


def test_a_soaks_slope_leaves_the_warm_up_out() -> None:
    sizes = [(0.0, 50), (100.0, 90), (300.0, 100), (600.0, 101), (900.0, 102)]
    resident = [Resident(at_s, {"server": size * MB}) for at_s, size in sizes]
    assert slopes(resident, 200.0) == {"server": pytest.approx(2.0)}
    assert slopes([], 200.0) == {}


def _run(keyed: float) -> Record:
    samples = [
        sample(SMALL, "AILB keyed", outcome(keyed), concurrency=16),
        sample(SMALL, "relay", outcome(0.3), concurrency=16),
    ]
    return record(Plan((SMALL, STREAM), 1, 90.0), result(*samples), "python -m benchmarks.chat")
