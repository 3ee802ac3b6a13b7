"""`ailb.v1.StatsService`: how this instance routes."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import stats_pb2, stats_service_pb2_grpc
from ailb.v1 import stats_service_pb2 as pb
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.target import Target
from ailb_server.pipeline.traffic import SlotSnapshot, TrafficSnapshot
from ailb_server.routing.breaker import BreakerState
from ailb_server.routing.decisions import MAX_DECISIONS, Decision
from ailb_server.routing.snapshot import Quantiles, TargetSnapshot

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_MS = 1000.0
_MICRO = 1e6
_BREAKER = {
    BreakerState.CLOSED: stats_pb2.BREAKER_STATE_CLOSED,
    BreakerState.OPEN: stats_pb2.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: stats_pb2.BREAKER_STATE_HALF_OPEN,
}


class StatsService(stats_service_pb2_grpc.StatsServiceServicer):
    """Copies of the ledger's figures and of the router's last decisions."""

    def __init__(
        self,
        instance: str,
        strategy: Callable[[], str],
        targets: Callable[[], Sequence[TargetSnapshot]],
        decisions: Callable[[], Sequence[Decision]],
        traffic: Callable[[], TrafficSnapshot],
    ) -> None:
        self._instance = instance
        self._strategy = strategy
        self._targets = targets
        self._decisions = decisions
        self._traffic = traffic

    @override
    async def GetRoutingStats(
        self, request: pb.GetRoutingStatsRequest, context: Context
    ) -> pb.GetRoutingStatsResponse:
        """Ordered by provider and model."""
        targets = sorted(self._targets(), key=lambda target: (target.provider, target.model))
        return pb.GetRoutingStatsResponse(
            routing_strategy=self._strategy(),
            targets=[_target(target) for target in targets],
            instance=self._instance,
        )

    @override
    async def GetTraffic(
        self, request: pb.GetTrafficRequest, context: Context
    ) -> pb.GetTrafficResponse:
        """Oldest first."""
        seen = self._traffic()
        return pb.GetTrafficResponse(
            instance=self._instance,
            slot_s=seen.slot_s,
            slots=[_slot(slot) for slot in seen.slots],
            last_minute=_slot(seen.last_minute),
            last_minute_s=seen.last_minute_s,
            active_requests=seen.active,
        )

    @override
    async def ListRoutingDecisions(
        self, request: pb.ListRoutingDecisionsRequest, context: Context
    ) -> pb.ListRoutingDecisionsResponse:
        """Newest first."""
        if not 0 <= request.page_size <= MAX_DECISIONS:
            raise InvalidRequestError(
                f"`page_size` must be from 1 to {MAX_DECISIONS}.", param="page_size"
            )
        decisions = self._decisions()[: request.page_size or MAX_DECISIONS]
        return pb.ListRoutingDecisionsResponse(
            decisions=[_decision(d) for d in decisions], instance=self._instance
        )


def _target(target: TargetSnapshot) -> stats_pb2.TargetStats:
    return stats_pb2.TargetStats(
        provider=target.provider,
        model=target.model,
        total_requests=target.total,
        successful_requests=target.successful,
        failed_requests=target.failed,
        rejected_requests=target.rejected,
        abandoned_requests=target.abandoned,
        success_rate=target.success_rate,
        in_flight=target.in_flight,
        avg_latency_ms=_ms(target.avg_latency_s),
        latency=_percentiles(target.latency),
        avg_ttft_ms=_ms(target.ttft_s),
        ttft=_percentiles(target.ttft),
        consecutive_failures=target.consecutive_failures,
        last_success=_time(target.last_success_at),
        last_failure=_time(target.last_failure_at),
        last_failure_reason=target.last_failure,
        breaker_state=_BREAKER[target.breaker],
        blocked_by=target.blocked_by,
        ready_in_s=target.ready_in_s,
        prompt_tokens=target.usage.prompt,
        completion_tokens=target.usage.completion,
        cost_usd=target.cost_micro_dollars / _MICRO,
    )


def _slot(slot: SlotSnapshot) -> stats_pb2.TrafficSlot:
    return stats_pb2.TrafficSlot(
        start=_time(slot.start),
        requests=slot.requests,
        failed_requests=slot.failed,
        cancelled_requests=slot.cancelled,
        refused_requests=slot.refused,
        prompt_tokens=slot.prompt_tokens,
        completion_tokens=slot.completion_tokens,
        cost_usd=slot.cost_micro_dollars / _MICRO,
        latency=_percentiles(slot.latency),
        ttft=_percentiles(slot.ttft),
    )


def _decision(decision: Decision) -> stats_pb2.RoutingDecision:
    return stats_pb2.RoutingDecision(
        at=_time(decision.at),
        model=decision.model,
        strategy=decision.strategy,
        order=[_name(target) for target in decision.order],
        skipped=[
            stats_pb2.SkippedTarget(provider=t.provider, model=t.model, reason=reason)
            for t, reason in decision.skipped
        ],
        attempts=[
            stats_pb2.RoutingAttempt(
                provider=tried.target.provider,
                model=tried.target.model,
                outcome=tried.outcome,
                ms=tried.seconds * _MS,
            )
            for tried in decision.tried
        ],
        outcome=decision.outcome,
        waited_ms=decision.waited_s * _MS,
    )


def _name(target: Target) -> str:
    return f"{target.provider}/{target.model}"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * _MS


def _percentiles(quantiles: Quantiles) -> stats_pb2.LatencyPercentiles:
    return stats_pb2.LatencyPercentiles(
        p50_ms=_ms(quantiles.p50), p95_ms=_ms(quantiles.p95), p99_ms=_ms(quantiles.p99)
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
