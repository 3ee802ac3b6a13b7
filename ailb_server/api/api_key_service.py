"""`ailb.v1.ApiKeyService`: the keys of every tenant, for admins."""

import re
from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import api_key_service_pb2 as pb
from ailb.v1 import api_key_service_pb2_grpc as pb_grpc
from ailb_server.access.administration import DEFAULT_GRACE_S, MAX_ID, KeyAdministration
from ailb_server.api.credentials import peer
from ailb_server.api.edge import current_call
from ailb_server.api.messages.api_key import api_key, key_change, new_key
from ailb_server.domain.api_key import Actor, KeyQuery
from ailb_server.domain.errors import InvalidRequestError

MAX_PAGE = 1000
DEFAULT_PAGE = 100
_ID = re.compile(r"[0-9]{1,10}")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class ApiKeyService(pb_grpc.ApiKeyServiceServicer):
    """The edge has checked the role."""

    def __init__(self, administration: KeyAdministration) -> None:
        self._administration = administration

    @override
    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: Context
    ) -> pb.CreateApiKeyResponse:
        """INVALID_ARGUMENT for what a key cannot have."""
        key, secret = await self._administration.create(new_key(request), actor(context))
        return pb.CreateApiKeyResponse(api_key=api_key(key), secret=secret)

    @override
    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: Context
    ) -> pb.ListApiKeysResponse:
        """By id."""
        if not 0 <= request.page_size <= MAX_PAGE:
            raise InvalidRequestError(
                f"`page_size` must be from 1 to {MAX_PAGE}.", param="page_size"
            )
        size = request.page_size or DEFAULT_PAGE
        query = KeyQuery(_after(request.page_token), size + 1, request.tenant, request.show_revoked)
        keys = await self._administration.list(query)
        token = str(keys[size - 1].id) if len(keys) > size else ""
        return pb.ListApiKeysResponse(
            api_keys=[api_key(key) for key in keys[:size]], next_page_token=token
        )

    @override
    async def GetApiKey(
        self, request: pb.GetApiKeyRequest, context: Context
    ) -> pb.GetApiKeyResponse:
        """NOT_FOUND if there is none."""
        return pb.GetApiKeyResponse(api_key=api_key(await self._administration.get(request.id)))

    @override
    async def UpdateApiKey(
        self, request: pb.UpdateApiKeyRequest, context: Context
    ) -> pb.UpdateApiKeyResponse:
        """NOT_FOUND if there is none."""
        key = await self._administration.update(request.id, key_change(request), actor(context))
        return pb.UpdateApiKeyResponse(api_key=api_key(key))

    @override
    async def RotateApiKey(
        self, request: pb.RotateApiKeyRequest, context: Context
    ) -> pb.RotateApiKeyResponse:
        """NOT_FOUND if there is none."""
        grace_s = request.grace_seconds if request.HasField("grace_seconds") else DEFAULT_GRACE_S
        key, secret = await self._administration.rotate(request.id, grace_s, actor(context))
        return pb.RotateApiKeyResponse(api_key=api_key(key), secret=secret)

    @override
    async def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, context: Context
    ) -> pb.RevokeApiKeyResponse:
        """NOT_FOUND if there is none."""
        key = await self._administration.revoke(request.id, actor(context))
        return pb.RevokeApiKeyResponse(api_key=api_key(key))


def actor(context: Context) -> Actor:
    """Who makes the running call, for the audit log."""
    call = current_call.get()
    who = call.principal
    return Actor(who.name, who.key_id, peer(context, rest=call.rest), call.request_id)


def _after(page_token: str) -> int:
    if not page_token:
        return 0
    if not _ID.fullmatch(page_token) or int(page_token) > MAX_ID:
        raise InvalidRequestError("`page_token` is of no page.", param="page_token")
    return int(page_token)
