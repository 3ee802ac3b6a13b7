"""`ailb.v1.TenantService`: tenants and their limits, for admins."""

from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import tenant_service_pb2 as pb
from ailb.v1 import tenant_service_pb2_grpc as pb_grpc
from ailb_server.access.tenant_administration import TenantAdministration
from ailb_server.api.actor import actor
from ailb_server.api.api_key_service import DEFAULT_PAGE, MAX_PAGE
from ailb_server.api.messages.tenant import limits_change, new_limits, tenant_message
from ailb_server.domain.errors import InvalidRequestError

_LONGEST_NAME = 64

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class TenantService(pb_grpc.TenantServiceServicer):
    """The edge has checked the role."""

    def __init__(self, administration: TenantAdministration) -> None:
        self._administration = administration

    @override
    async def CreateTenant(
        self, request: pb.CreateTenantRequest, context: Context
    ) -> pb.CreateTenantResponse:
        """INVALID_ARGUMENT for what a tenant cannot have, ALREADY_EXISTS if it is there."""
        limits = new_limits(request)
        made = await self._administration.create(request.name, limits, actor(context))
        return pb.CreateTenantResponse(tenant=tenant_message(made))

    @override
    async def ListTenants(
        self, request: pb.ListTenantsRequest, context: Context
    ) -> pb.ListTenantsResponse:
        """By name."""
        if not 0 <= request.page_size <= MAX_PAGE:
            raise InvalidRequestError(
                f"`page_size` must be from 1 to {MAX_PAGE}.", param="page_size"
            )
        if len(request.page_token) > _LONGEST_NAME or "\0" in request.page_token:
            raise InvalidRequestError("`page_token` is of no page.", param="page_token")
        size = request.page_size or DEFAULT_PAGE
        found = await self._administration.list(request.page_token, size + 1)
        return pb.ListTenantsResponse(
            tenants=[tenant_message(tenant) for tenant in found[:size]],
            next_page_token=found[size - 1].name if len(found) > size else "",
        )

    @override
    async def GetTenant(
        self, request: pb.GetTenantRequest, context: Context
    ) -> pb.GetTenantResponse:
        """NOT_FOUND if there is none."""
        found = await self._administration.get(request.name)
        return pb.GetTenantResponse(tenant=tenant_message(found))

    @override
    async def UpdateTenant(
        self, request: pb.UpdateTenantRequest, context: Context
    ) -> pb.UpdateTenantResponse:
        """NOT_FOUND if there is none."""
        change = limits_change(request)
        changed = await self._administration.update(request.name, change, actor(context))
        return pb.UpdateTenantResponse(tenant=tenant_message(changed))
