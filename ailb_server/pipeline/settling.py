"""What a request came to, by what its provider told or, failing that, by what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ailb_server.domain.admission import Admitted, Settled
from ailb_server.domain.chat import ChatChunk, ChatRequest, Operation, TokenUsage
from ailb_server.domain.principal import Principal
from ailb_server.domain.target import Target
from ailb_server.routing.facts import RequestFacts
from ailb_server.spend.reservation import Pricing

_BYTES_PER_TOKEN = 4


@dataclass(slots=True)
class Seen:
    """The `Admitted` of a caller without limits."""

    request: ChatRequest
    pricing: Pricing
    facts: RequestFacts = field(init=False)
    _usage: TokenUsage | None = None
    _events: int = 0
    _bytes: int = 0
    _whole: bool = False

    def __post_init__(self) -> None:
        self.facts = RequestFacts(self.request, 0.0)

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """None: there is no limit to tell of."""
        return ()

    def saw(self, chunk: ChatChunk) -> None:
        """See `Admitted`."""
        self._events += len(chunk.events)
        self._bytes += len(chunk.wire)
        if chunk.usage is not None:
            self._usage = chunk.usage

    def ended(self) -> None:
        """See `Admitted`."""
        self._whole = True

    def settle(self, target: Target | None) -> Settled:
        """See `Admitted`."""
        if target is None:
            return Settled(TokenUsage(), 0)
        told = self._usage
        estimated = told is None or not self._whole
        usage = self._estimate(told or TokenUsage()) if estimated else told or TokenUsage()
        return Settled(usage, self.pricing.cost(usage, target.price), estimated)

    def _estimate(self, told: TokenUsage) -> TokenUsage:
        """At least what was told; an event of a stream is about a token."""
        if self.request.operation is Operation.EMBEDDING:
            said = 0
        elif self.request.stream:
            said = self._events
        else:
            said = self._bytes // _BYTES_PER_TOKEN
        prompt = told.prompt or self.facts.prompt_tokens
        return replace(told, prompt=prompt, completion=max(told.completion, said))


@dataclass(frozen=True, slots=True)
class OpenAdmission:
    """An `Admission` that lets everything in."""

    pricing: Pricing = field(default_factory=Pricing)

    async def admit(self, who: Principal, request: ChatRequest) -> Admitted:
        """See `Admission`; `who` does not matter."""
        del who
        return Seen(request, self.pricing)
