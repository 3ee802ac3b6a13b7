"""`ailb.v1.ModelService`: what this gateway serves."""

import time
from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import model_pb2, model_service_pb2_grpc
from ailb.v1 import model_service_pb2 as pb
from ailb_server.api.call import current_call
from ailb_server.routing.catalogue import Catalogue

_OBJECT = "model"

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """The routing table, in the shape of OpenAI's model list."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._created = int(time.time())

    @override
    async def ListModels(
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """Those that the caller may use, ordered by id."""
        who = current_call.get().principal
        served = sorted(self._catalogue.listed(), key=lambda model: model.id)
        models = [
            model_pb2.Model(
                id=model.id, object=_OBJECT, created=self._created, owned_by=model.owned_by
            )
            for model in served
            if who.may_use(model.id)
        ]
        return pb.ListModelsResponse(object="list", data=models)

    @override
    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """NOT_FOUND for a name that routing does not know, PERMISSION_DENIED for one that the
        caller may not use."""
        current_call.get().principal.require_model(request.id)
        model = self._catalogue.described(request.id)
        return pb.GetModelResponse(
            id=model.id, object=_OBJECT, created=self._created, owned_by=model.owned_by
        )
