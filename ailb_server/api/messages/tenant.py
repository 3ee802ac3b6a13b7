"""Tenants as messages, and back."""

from collections.abc import Callable

from ailb.v1 import tenant_pb2
from ailb.v1 import tenant_service_pb2 as pb
from ailb_server.api.messages.api_key import (
    LIMIT_NAMES,
    changed_limits,
    lifted,
    limits_message,
    stamped,
)
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.principal import KeyLimits
from ailb_server.domain.tenant import Tenant


def new_limits(request: pb.CreateTenantRequest) -> KeyLimits:
    """Raises InvalidRequestError for a budget that is none."""
    return changed_limits(KeyLimits(), request.limits)


def limits_change(request: pb.UpdateTenantRequest) -> Callable[[KeyLimits], KeyLimits]:
    """What the request makes of a tenant's limits. Raises InvalidRequestError."""
    names = set(request.clear)
    if names - set(LIMIT_NAMES):
        raise InvalidRequestError("`clear` names what is no limit.", param="clear")

    def change(limits: KeyLimits) -> KeyLimits:
        return lifted(changed_limits(limits, request.limits), names)

    return change


def tenant_message(tenant: Tenant) -> tenant_pb2.Tenant:
    """As it is shown."""
    return tenant_pb2.Tenant(
        name=tenant.name,
        limits=limits_message(tenant.limits),
        created_at=stamped(tenant.created_at),
        keys=tenant.keys,
    )
