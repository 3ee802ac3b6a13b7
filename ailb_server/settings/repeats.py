"""Settings of the response cache and of Idempotency-Keys."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings


class RepeatSettings(BaseSettings):
    """A part of `Settings`."""

    response_cache_max_mb: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        64,
        description="MiB of answers that an instance keeps in memory, for requests and keys that"
        " ask for it; 0: none, and every such request goes past it.",
    )
    response_cache_max_entries: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        10_000, description="At most so many answers."
    )
    response_cache_ttl_s: Annotated[int, Field(ge=1, le=2_592_000)] = Field(
        300,
        description="How long an answer is given again where neither the request nor its key says"
        " so.",
    )
    idempotency_max_answer_kb: Annotated[int, Field(ge=1, le=65_536)] = Field(
        1024,
        description="KiB of an answer to a request with an `Idempotency-Key` that are kept, for 24"
        " hours, in Postgres. A retry of one with a larger answer is refused with 422.",
    )
    idempotency_lease_s: Annotated[float, Field(ge=1, le=600)] = Field(
        30,
        description="How long after an instance's sudden end the Idempotency-Keys of its requests"
        " stay taken.",
    )
