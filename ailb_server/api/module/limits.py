"""GetRateLimits, SetRateLimit (ApplyRateLimit), RemoveRateLimit."""

from dataclasses import dataclass

from ailb_server.access.limit_administration import LimitAdministration
from ailb_server.api.module.desk import caller
from ailb_server.api.module.messages import rate_limit, rate_limit_of
from ailb_server.domain.errors import InvalidRequestError
from marchproxy import module_pb2 as pb

_SOON = "in force on every instance within a second"


@dataclass(frozen=True, slots=True)
class LimitCalls:
    """See `LimitAnswers`. The limits are those of all instances."""

    administration: LimitAdministration

    async def get_rate_limits(self, request: pb.GetRateLimitsRequest) -> pb.GetRateLimitsResponse:
        """All, or one target's."""
        found = await self.administration.list(request.target or None)
        return pb.GetRateLimitsResponse(
            limits=[rate_limit(limit) for limit in found], total_limits=len(found)
        )

    async def set_rate_limit(
        self, request: pb.SetRateLimitRequest | pb.ApplyRateLimitRequest
    ) -> str:
        """The message names the limit's id, which it was perhaps given only now."""
        if not request.HasField("limit"):
            raise InvalidRequestError("`limit` is needed.", param="limit")
        kept = await self.administration.set(rate_limit_of(request.limit), caller())
        state = _SOON if kept.enabled else "kept, and not enabled"
        return f"Rate limit {kept.limit_id} for {kept.target} is {state}."

    async def remove_rate_limit(self, request: pb.RemoveRateLimitRequest) -> str:
        """NOT_FOUND if there is none."""
        await self.administration.remove(request.limit_id, caller())
        return f"Rate limit {request.limit_id} is removed, {_SOON}."
