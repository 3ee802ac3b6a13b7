"""UNKNOWN_PRICE: two words or a number."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from ailb_server.settings.providers import MAX_PRICE_MICRO_DOLLARS

_FAULT = (
    f"must be allow, deny, or a whole number of micro-dollars from 0 to {MAX_PRICE_MICRO_DOLLARS}"
)


def _checked(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    # A union's own faults name pydantic's parts, one line for each.
    try:
        return handler(value)
    except ValidationError:
        raise ValueError(_FAULT) from None


UnknownPriceSetting: TypeAlias = Annotated[
    Literal["allow", "deny"] | Annotated[int, Field(ge=0, le=MAX_PRICE_MICRO_DOLLARS)],
    WrapValidator(_checked),
]
