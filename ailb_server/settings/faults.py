"""A configuration that cannot be used. No value is quoted: it may be a secret."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import ValidationError


class SettingsError(Exception):
    """`faults` are the lines to show."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def lines(error: ValidationError, *, where: str = "") -> list[str]:
    """`HTTP_PORT: Input should be …`, or with `where` `FILE: providers.0.kind: …`."""
    found = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in fault["loc"])
        place = [where, path] if where else [path.upper()]
        # A check of several fields together tells all that it found.
        for message in fault["msg"].removeprefix("Value error, ").splitlines():
            found.append(": ".join(part for part in (*place, message) if part))  # noqa: PERF401
    return found


@contextmanager
def noted(faults: list[str]) -> Iterator[None]:
    """Adds the faults of a SettingsError, so that what follows can be checked as well."""
    try:
        yield
    except SettingsError as error:
        faults.extend(error.faults)
