"""What this instance served lately, slot by slot."""

import pytest

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.errors import Reason
from ailb_server.pipeline.record import ChatRecord
from ailb_server.pipeline.traffic import SLOT_S, SLOTS, Traffic


class Wall:
    """A time of day that is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def told(traffic: Traffic, outcome: str = "ok", *, seconds: float = 0.1) -> None:
    record = ChatRecord("m", stream=True, outcome=outcome, first_token_s=seconds / 2)
    traffic.chat_started(record)
    record.usage, record.cost_micro_dollars = TokenUsage(prompt=10, completion=5), 7
    record.total_s = seconds
    traffic.chat_finished(record)


def test_requests_are_in_the_slot_of_their_end() -> None:
    wall = Wall()
    traffic = Traffic(wall)
    told(traffic)
    wall.now += 2 * SLOT_S
    told(traffic)
    told(traffic, "cancelled")
    told(traffic, Reason.UPSTREAM_TIMEOUT.value.lower())
    told(traffic, Reason.BUDGET_EXCEEDED.value.lower())
    seen = traffic.snapshot()
    assert len(seen.slots) == SLOTS
    assert [slot.requests for slot in seen.slots[-3:]] == [1, 0, 4]
    newest = seen.slots[-1]
    assert (newest.failed, newest.refused, newest.cancelled) == (1, 1, 1)
    assert (newest.prompt_tokens, newest.completion_tokens) == (40, 20)
    assert newest.cost_micro_dollars == 28
    assert newest.start <= wall.now < newest.start + SLOT_S
    assert [b.start - a.start for a, b in zip(seen.slots, seen.slots[1:], strict=False)] == [
        SLOT_S
    ] * (SLOTS - 1)


def test_the_last_minute_is_its_slots_together() -> None:
    wall = Wall()
    traffic = Traffic(wall)
    told(traffic, seconds=60)
    for _ in range(6):
        wall.now += SLOT_S
        told(traffic, seconds=0.1)
    seen = traffic.snapshot()
    assert seen.last_minute.requests == 6
    assert seen.last_minute.latency.p99 == pytest.approx(0.1, rel=0.2)
    assert seen.last_minute.ttft.p50 == pytest.approx(0.05, rel=0.2)
    assert 50 <= seen.last_minute_s <= 60


def test_only_answers_tell_of_latency() -> None:
    traffic = Traffic(Wall())
    told(traffic, "cancelled")
    told(traffic, "internal_error")
    assert traffic.snapshot().slots[-1].latency.p50 is None


def test_what_runs_is_counted_until_its_end() -> None:
    traffic = Traffic(Wall())
    record = ChatRecord("m", stream=False)
    traffic.chat_started(record)
    assert traffic.snapshot().active == 1
    traffic.chat_finished(record)
    assert traffic.snapshot().active == 0


def test_it_forgets_and_does_not_grow() -> None:
    wall = Wall()
    traffic = Traffic(wall)
    for _ in range(3 * SLOTS):
        told(traffic)
        wall.now += SLOT_S
    assert len(traffic._slots) <= SLOTS
    wall.now += SLOTS * SLOT_S
    assert sum(slot.requests for slot in traffic.snapshot().slots) == 0


def test_a_clock_that_is_set_back_does_no_harm() -> None:
    wall = Wall()
    traffic = Traffic(wall)
    told(traffic)
    wall.now -= 86400
    told(traffic)
    assert traffic.snapshot().slots[-1].requests == 1
