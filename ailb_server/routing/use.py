"""What an attempt holds while it lasts, left newest first."""

from contextlib import AbstractAsyncContextManager

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.ports import ChatProvider, ProviderAnswer
from ailb_server.routing.attempt import Attempt
from ailb_server.routing.roster import Member
from ailb_server.routing.spans import begin_attempt
from ailb_server.telemetry.tracing import Span, reason_of


class Use:
    """A provider's member, a span, the attempt's place, and the upstream call. By hand and not by
    an exit stack, which costs every request several times as much."""

    __slots__ = ("_attempt", "_member", "_opening")

    def __init__(self, member: Member, attempt: Attempt) -> None:
        self._member = member
        self._attempt = attempt
        self._opening: AbstractAsyncContextManager[ProviderAnswer] | None = None

    def enter(self, request: ChatRequest) -> ChatProvider:
        """The provider, to be asked now. Raises NotAdmittedError; nothing is held then."""
        attempt = self._attempt
        provider = self._member.__enter__()
        span = begin_attempt(request, attempt.seat.target)
        try:
            attempt.span = span
            attempt.__enter__()
        except BaseException as error:
            _end(span, error)
            self._member.__exit__(None, None, None)
            raise
        return provider

    async def opened(self, opening: AbstractAsyncContextManager[ProviderAnswer]) -> ProviderAnswer:
        """The answer of an upstream call, which ends with this use."""
        answer = await opening.__aenter__()
        self._opening = opening
        return answer

    async def leave(self, error: BaseException | None = None) -> None:
        """It is over, and how: by an error, or well."""
        opening, self._opening = self._opening, None
        try:
            if opening is not None:
                trace = None if error is None else error.__traceback__
                await opening.__aexit__(None if error is None else type(error), error, trace)
        except BaseException as later:
            error = later
            raise
        finally:
            trace = None if error is None else error.__traceback__
            self._attempt.__exit__(None if error is None else type(error), error, trace)
            _end(self._attempt.span, error)
            self._member.__exit__(None, None, None)


def _end(span: Span | None, error: BaseException | None) -> None:
    if span is not None:
        if error is not None:
            span.fail(reason_of(error))
        span.end()
