"""`ailb.v1.DashboardService`: the files of the page for people."""

from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from typing_extensions import override

from ailb.v1 import dashboard_service_pb2 as pb
from ailb.v1 import dashboard_service_pb2_grpc as pb_grpc
from ailb_server.api.call import REQUEST_ID_KEY, current_call
from ailb_server.api.errors import HTTP_STATUS_KEY
from ailb_server.dashboard.bundle import Bundle, File
from ailb_server.domain.errors import NotFoundError

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_IF_NONE_MATCH = "if-none-match"
_NOT_MODIFIED = "304"
# Nothing but the page's own files, no script within a page, no text that becomes markup, and no
# other page around it: what is typed here is an admin's key.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = (
    # Asked for again each time, and answered with 304 until it changes.
    ("cache-control", "no-cache"),
    ("content-security-policy", _POLICY),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)


class DashboardService(pb_grpc.DashboardServiceServicer):
    """Serves a bundle, and nothing beside it."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    @override
    async def GetDashboardFile(
        self, request: pb.GetDashboardFileRequest, context: Context
    ) -> pb.GetDashboardFileResponse:
        """An empty body with `x-http-status` 304 for a caller that has it already."""
        file = self._bundle.find(request.file)
        if file is None:
            raise NotFoundError("The dashboard has no such file.")
        known = _has(context, file)
        headers = (
            (REQUEST_ID_KEY, current_call.get().request_id),
            ("etag", file.etag),
            *_HEADERS,
            *([(HTTP_STATUS_KEY, _NOT_MODIFIED)] if known else ()),
        )
        await context.send_initial_metadata(headers)
        data = b"" if known else file.data
        return pb.GetDashboardFileResponse(body=HttpBody(content_type=file.content_type, data=data))


def _has(context: Context, file: File) -> bool:
    """By If-None-Match, of RFC 9110: a list of tags, perhaps marked as weak, or `*`."""
    told = dict(context.invocation_metadata() or ()).get(_IF_NONE_MATCH, "")
    tags = [tag.strip().removeprefix("W/") for tag in str(told).split(",")]
    return file.etag in tags or "*" in tags
