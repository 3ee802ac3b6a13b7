"""The figures of a target, for those who look from outside."""

from dataclasses import dataclass

from ailb_server.domain.chat import TokenUsage
from ailb_server.routing.breaker import BreakerState
from ailb_server.routing.state import TargetState


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds; None where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class TargetSnapshot:
    """A target since the start of this instance; an attempt is one request to it.

    `successful` + `failed` + `rejected` (the caller's fault) + `abandoned` (the caller left, or
    another target was faster) + `in_flight` is `total`. Seconds; times of day since 1970.
    `latency` is of whole answers, `ttft` of streams. `blocked_by` is why it gets no requests now.
    """

    provider: str
    model: str
    total: int
    successful: int
    failed: int
    rejected: int
    abandoned: int
    in_flight: int
    consecutive_failures: int
    breaker: BreakerState
    blocked_by: str
    ready_in_s: float
    avg_latency_s: float | None
    latency: Quantiles
    ttft_s: float | None
    ttft: Quantiles
    last_success_at: float | None
    last_failure_at: float | None
    last_failure: str
    usage: TokenUsage
    cost_micro_dollars: int

    @property
    def success_rate(self) -> float | None:
        """Of the attempts that tell of the target; None before the first."""
        judged = self.successful + self.failed
        return self.successful / judged if judged else None


def target_snapshot(provider: str, model: str, state: TargetState, now: float) -> TargetSnapshot:
    """A copy of the state's figures at `now`."""
    totals, latencies, ttfts = state.totals, state.latencies, state.ttfts
    return TargetSnapshot(
        provider=provider,
        model=model,
        total=totals.attempts,
        successful=totals.successful,
        failed=totals.failed,
        rejected=totals.rejected,
        abandoned=totals.abandoned,
        in_flight=state.in_flight,
        consecutive_failures=state.consecutive_failures,
        breaker=state.breaker_state(now),
        blocked_by=state.blocked_by(now),
        ready_in_s=max(0.0, state.ready_at - now),
        avg_latency_s=state.latency.value,
        latency=Quantiles(*(latencies.quantile(share) for share in (0.5, 0.95, 0.99))),
        ttft_s=state.first_chunk[True].value,
        ttft=Quantiles(*(ttfts.quantile(share) for share in (0.5, 0.95, 0.99))),
        last_success_at=totals.last_success_at,
        last_failure_at=totals.last_failure_at,
        last_failure=totals.last_failure,
        usage=totals.usage,
        cost_micro_dollars=totals.cost_micro_dollars,
    )
