"""What `marchproxy` calls an instance, its figures and its rate limits."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from google.protobuf.timestamp_pb2 import Timestamp

from ailb.v1 import health_pb2
from ailb_server.domain.module import Instance, InstanceStatus
from ailb_server.domain.rate_limit import RateLimit
from ailb_server.telemetry.vitals import VitalSigns
from marchproxy import types_pb2 as pb

_MS = 1000.0
_MB = 1e6

STATUSES: Mapping[InstanceStatus, pb.HealthStatus.ValueType] = MappingProxyType(
    {
        InstanceStatus.STARTING: pb.HEALTH_STATUS_STARTING,
        InstanceStatus.HEALTHY: pb.HEALTH_STATUS_HEALTHY,
        InstanceStatus.DEGRADED: pb.HEALTH_STATUS_DEGRADED,
        InstanceStatus.UNHEALTHY: pb.HEALTH_STATUS_UNHEALTHY,
        InstanceStatus.STOPPING: pb.HEALTH_STATUS_STOPPING,
    }
)
OWN_STATES: Mapping[health_pb2.HealthState.ValueType, InstanceStatus] = MappingProxyType(
    {
        health_pb2.HEALTH_STATE_OK: InstanceStatus.HEALTHY,
        health_pb2.HEALTH_STATE_DEGRADED: InstanceStatus.DEGRADED,
        health_pb2.HEALTH_STATE_DOWN: InstanceStatus.UNHEALTHY,
        health_pb2.HEALTH_STATE_DRAINING: InstanceStatus.STOPPING,
    }
)


def timestamp(seconds: float) -> Timestamp:
    """Of seconds since 1970."""
    at = Timestamp()
    at.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return at


def module_instance(
    instance: Instance, status: InstanceStatus | None = None, **metadata: str
) -> pb.ModuleInstance:
    """`status` in the place of what it says of itself; `metadata` beside its own."""
    return pb.ModuleInstance(
        instance_id=instance.module_id,
        module_type=pb.MODULE_TYPE_AILB,
        address=instance.address,
        health_status=STATUSES[status or instance.status],
        metadata={**instance.metadata, **metadata},
        started_at=timestamp(instance.started_at),
        current_connections=instance.connections,
        max_connections=instance.max_connections,
        version=instance.version,
        traffic_weight=instance.weight,
    )


def module_stats(module_id: str, signs: VitalSigns) -> pb.ModuleStats:
    """Counts since `since`; latencies of the last minute."""
    recent = signs.recent
    return pb.ModuleStats(
        instance_id=module_id,
        total_requests=signs.requests,
        successful_requests=signs.ok,
        failed_requests=signs.failed,
        active_connections=signs.active_calls,
        total_connections=signs.calls,
        avg_latency_ms=recent.mean_s * _MS,
        p50_latency_ms=recent.p50_s * _MS,
        p95_latency_ms=recent.p95_s * _MS,
        p99_latency_ms=recent.p99_s * _MS,
        bytes_received=signs.bytes_received,
        bytes_sent=signs.bytes_sent,
        cpu_usage_percent=signs.cpu_percent,
        memory_usage_mb=signs.resident_bytes / _MB,
        since=timestamp(signs.since),
        custom_stats={name: f"{value:g}" for name, value in beside(signs).items()},
    )


def beside(signs: VitalSigns) -> Mapping[str, float]:
    """What `ModuleStats` has no field for."""
    return {
        "cancelled_requests": signs.cancelled,
        "active_requests": signs.active_requests,
        "active_streams": signs.active_streams,
        "requests_per_second": signs.requests_per_second,
        "open_files": signs.open_files,
        "event_loop_lag_ms": signs.loop_lag_s * _MS,
    }


def rate_limit(limit: RateLimit) -> pb.RateLimit:
    """To the wire."""
    return pb.RateLimit(
        limit_id=limit.limit_id,
        target=limit.target,
        requests_per_second=limit.per_second,
        requests_per_minute=limit.per_minute,
        requests_per_hour=limit.per_hour,
        burst_size=limit.burst,
        enabled=limit.enabled,
        metadata=limit.metadata,
    )


def rate_limit_of(limit: pb.RateLimit) -> RateLimit:
    """From the wire; not checked yet."""
    return RateLimit(
        limit_id=limit.limit_id,
        target=limit.target,
        per_second=limit.requests_per_second,
        per_minute=limit.requests_per_minute,
        per_hour=limit.requests_per_hour,
        burst=limit.burst_size,
        enabled=limit.enabled,
        metadata=dict(limit.metadata),
    )
