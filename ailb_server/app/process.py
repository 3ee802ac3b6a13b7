"""What an instance needs of the process that it runs in."""

from collections.abc import Callable
from dataclasses import dataclass

from ailb_server.settings import Configuration


@dataclass(frozen=True, slots=True)
class Process:
    """`read` reads the environment and the file again; it may block, and raises SettingsError.
    `end` asks for the process's end: a drain, then a status of 0. Both None in a process that
    has no such ways: what asks for them is told so."""

    read: Callable[[], Configuration] | None = None
    end: Callable[[], None] | None = None
