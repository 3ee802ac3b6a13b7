"""How a part is that answers may do without."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartHealth:
    """`problem` says in a few words what is missing, and is empty when all is well.

    `works` is false for a part that does nothing at all until somebody sees to it.
    """

    name: str
    problem: str = ""
    works: bool = True
