"""The benchmarks keep to their time and ask what is a request."""

import json

import pytest

from benchmarks.plan import GATEWAYS, TARGETS, USUAL_TARGETS, Plan, Target
from benchmarks.workloads import workloads

_EVERY = tuple(workloads().values())
_USUAL = (workloads()["small"], workloads()["stream"])


@pytest.mark.parametrize(
    "plan",
    [
        Plan(_USUAL, 5, 180.0, USUAL_TARGETS, open_loop=False, starts=True),
        Plan(_USUAL, 3, 45.0, USUAL_TARGETS, open_loop=False),
        Plan(_EVERY, 3, 1200.0, TARGETS, starts=True),
    ],
)
def test_all_cells_fit_into_the_time(plan: Plan) -> None:
    spent = sum(sum(plan.times(cell)) + cell.workload.lasts_s for cell in plan.cells())
    assert spent * plan.repetitions < plan.budget_s


def test_windows_of_paced_streams_hold_a_whole_one() -> None:
    plan = Plan((workloads()["paced256"],), 1, 10.0)
    assert all(plan.times(cell)[1] > cell.workload.lasts_s > 0 for cell in plan.cells())


def test_workloads_are_valid_requests() -> None:
    for workload in workloads().values():
        for body in (workload.body, *workload.bodies):
            assert json.loads(body).get("stream", False) is workload.stream


def test_the_image_is_a_megabyte() -> None:
    assert 1024 * 1024 < len(workloads()["image"].body) < 1.01 * 1024 * 1024


def test_only_what_a_target_can_do_is_measured() -> None:
    cells = Plan(_EVERY, 1, 600.0, TARGETS).cells()
    asked: dict[str, set[Target]] = {}
    for cell in cells:
        asked.setdefault(cell.workload.name, set()).add(cell.target)
    assert asked["small"] == set(TARGETS)
    assert asked["stream"] == set(TARGETS) - {"echo"}
    assert asked["memory"] == asked["rag"] == set(GATEWAYS)
    assert [cell.workload.name for cell in cells if cell.open_loop] == ["small"] * len(TARGETS)


def test_concurrencies_may_be_chosen() -> None:
    plan = Plan(_USUAL, 1, 60.0, ("relay",), concurrencies=(16,), open_loop=False)
    assert [(cell.workload.name, cell.load) for cell in plan.cells()] == [
        ("small", "16"),
        ("stream", "16"),
    ]
