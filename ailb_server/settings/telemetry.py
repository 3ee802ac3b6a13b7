"""The settings of the access log and of traces."""

from typing import Annotated

from pydantic import AnyHttpUrl, Field
from pydantic_settings import BaseSettings

_Share = Annotated[float, Field(ge=0, le=1)]


class TelemetrySettings(BaseSettings):
    """What `Settings` has of it."""

    access_log_sample: _Share = Field(
        0.1,
        description="The share of requests without an error, 0 to 1, that get a line in the access"
        " log. Errors always get one. A line costs about a tenth of a small chat's CPU time; the"
        " usage ledger has every chat.",
    )
    otel_exporter_otlp_endpoint: AnyHttpUrl | None = Field(
        None,
        description="If set, traces go to this OpenTelemetry collector, by OTLP over gRPC, such as"
        " `http://localhost:4317`. Needs the packages of `ailb-server[otel]`. OpenTelemetry's own"
        " `OTEL_EXPORTER_OTLP_HEADERS`, `…_CERTIFICATE` and `…_COMPRESSION` are heeded.",
    )
    otel_traces_sampler_arg: _Share = Field(
        1,
        description="The share, 0 to 1, of traces that begin here which are kept. For a request"
        " with a `traceparent` its caller has decided.",
    )
    otel_service_name: str = Field("ailb", description="What AILB is called in traces.")
