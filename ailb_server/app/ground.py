"""What the parts of an instance stand on."""

from dataclasses import dataclass

from ailb_server.app.audit import OpenAudit
from ailb_server.app.limits import OpenLimits
from ailb_server.storage.pool import Store
from ailb_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Ground:
    """Opened first, closed last."""

    store: Store
    audit: OpenAudit
    metrics: Metrics
    limits: OpenLimits
