"""Which targets can do what a request needs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ailb_server.domain.chat import Operation
from ailb_server.domain.errors import ContextLengthExceededError, InvalidRequestError
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.seat import Seat

# The parameter that asks for each capability.
_PARAMS: Mapping[str, str] = MappingProxyType(
    {"vision": "messages", "tools": "tools", "json_schema": "response_format"}
)
# The estimate of tokens is rough: up to this much over, the provider's own count decides.
_DOUBT = 1.5


def able(seats: Sequence[Seat], facts: RequestFacts) -> list[Seat]:
    """The seats that can answer, in their order; what is not declared is allowed.

    Raises InvalidRequestError with the fact `param`, or ContextLengthExceededError.
    """
    left = list(seats)
    for need in facts.needs:
        left = [seat for seat in left if _has(seat, need)]
        if not left:
            raise InvalidRequestError(
                f"No target of this model is able to do what `{_PARAMS[need]}` asks ({need}).",
                param=_PARAMS[need],
            )
    return _long_enough(left, facts)


def having(seats: Sequence[Seat], operation: Operation, model: str) -> list[Seat]:
    """The seats whose provider has the operation, in their order; `model` is the name asked for.

    Raises InvalidRequestError with the fact `param`.
    """
    left = [seat for seat in seats if operation in seat.target.operations]
    if not left:
        raise InvalidRequestError(
            f"The model `{model}` has no {operation.value}s: no provider of it serves them.",
            model=model,
            param="model",
        )
    return left


def may_take_longer(seat: Seat, refused: Seat, facts: RequestFacts) -> bool:
    """Whether it is worth asking `seat` after `refused` has found the prompt longer than its
    context, by what is declared of both.

    A declared context must be larger than the other's; one that is not declared may be, and asking
    costs nothing. Nothing is known to be larger than a context that is not declared: then a
    declared one counts that holds the prompt by its estimate.
    """
    mine, theirs = _context(seat), _context(refused)
    if theirs is None:
        return mine is not None and mine > facts.prompt_tokens
    return mine is None or mine > theirs


def _has(seat: Seat, need: str) -> bool:
    return getattr(seat.target.capabilities, need, None) is not False


def _context(seat: Seat) -> int | None:
    capabilities = seat.target.capabilities
    return capabilities.context if capabilities else None


def _long_enough(seats: list[Seat], facts: RequestFacts) -> list[Seat]:
    contexts = [_context(seat) for seat in seats]
    if all(context is None for context in contexts):
        return seats
    tokens = facts.prompt_tokens
    fitting = [s for s, c in zip(seats, contexts, strict=True) if c is None or c > tokens]
    if fitting:
        return fitting
    largest = max(context or 0 for context in contexts)
    if tokens > largest * _DOUBT:
        raise ContextLengthExceededError(
            f"The prompt has about {tokens} tokens; this model's longest context has {largest}.",
            param="messages",
        )
    return [s for s, context in zip(seats, contexts, strict=True) if context == largest]
