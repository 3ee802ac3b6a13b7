"""Counts a request's tokens where a provider of its format can."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ailb_server.domain.admission import Readmission
from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import (
    InvalidRequestError,
    UpstreamError,
    UpstreamUnavailableError,
)
from ailb_server.domain.ports import TokenCounter
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.domain.route import Asker
from ailb_server.pipeline.admission import OpenAdmission
from ailb_server.routing.attempt import NotAdmittedError
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.dispatcher import AttemptSeen
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.seat import Seat


@dataclass(frozen=True, slots=True)
class TokenCounting:
    """`counters` are the providers that can count, by name. Their limits hold, who may not be asked
    is not, and what fails is told to `attempt_seen`, as with chats. `admission` lets callers in: a
    count is a request to a provider, by AILB's own credential."""

    catalogue: Catalogue
    counters: Mapping[str, TokenCounter]
    ledger: Ledger
    attempt_seen: AttemptSeen
    admission: Readmission = field(default_factory=OpenAdmission)

    async def count(
        self, request: ChatRequest, principal: Principal = ANYONE, asker: Asker | None = None
    ) -> bytes:
        """The first answer among the model's targets, or its route's, in their declared order.

        An estimate would be taken for a count, so a model without a counting provider is refused.
        Raises PermissionDeniedError, RateLimitExceededError, StorageUnavailableError,
        ModelNotFoundError, InvalidRequestError, or the last target's UpstreamError.
        """
        principal.require_model(request.model)
        admitted = await self.admission.readmit(principal, request, asker)
        try:
            return await self._first(request, asker)
        finally:
            admitted.settle(None, None)

    async def _first(self, request: ChatRequest, asker: Asker | None) -> bytes:
        seats = [self.ledger.seat(t) for t in self.catalogue.targets_of(request, asker)]
        able = [seat for seat in seats if seat.target.provider in self.counters]
        if not able:
            raise InvalidRequestError(
                f"No provider of the model `{request.model}` counts tokens: only Anthropic's API"
                " does.",
                param="model",
                model=request.model,
            )
        facts = RequestFacts(request, self.ledger.clock())
        failure: UpstreamError | None = None
        for seat in able:
            if not seat.admits(facts, self.ledger.clock()):
                continue
            await seat.supplied(facts)
            try:
                return await self._counted(request, seat, facts)
            except NotAdmittedError:
                continue
            except UpstreamError as error:
                if not error.failover:
                    raise
                failure = error
        raise failure or self._nobody(able, facts)

    async def _counted(self, request: ChatRequest, seat: Seat, facts: RequestFacts) -> bytes:
        target = seat.target
        with self.ledger.attempt(seat, facts, beside=True) as attempt:
            try:
                return await self.counters[target.provider].count_tokens(request, target.model)
            except UpstreamError as error:
                self.attempt_seen(target, attempt.waited_s(), error.reason.value)
                raise

    def _nobody(self, able: list[Seat], facts: RequestFacts) -> UpstreamError:
        now = self.ledger.clock()
        wait_s = min(seat.wait_s(facts, now) for seat in able)
        return UpstreamUnavailableError("No target could count.", retry_after_s=wait_s)
