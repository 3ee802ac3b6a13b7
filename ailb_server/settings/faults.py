"""A configuration that cannot be used. No value is quoted: it may be a secret."""

from collections.abc import Sequence

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
        name = f"{where}: {path}" if where else path.upper()
        message = fault["msg"].removeprefix("Value error, ")
        found.append(f"{name}: {message}" if path else message)
    return found
