"""How the values are declared of which each request makes many."""

from dataclasses import dataclass, field
from typing import TypeVar

from typing_extensions import dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_object(cls: type[T]) -> type[T]:
    """A dataclass with slots, whose fields nobody sets again.

    mypy holds it to be frozen; at run time it is not, since `frozen` triples what it takes to make
    one, and so it cannot be hashed.
    """
    return dataclass(slots=True)(cls)
