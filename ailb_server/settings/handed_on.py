"""The environment of a process that is to have the same settings."""

import os
from collections.abc import Mapping


def handed_on(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's variables with `changes`; for a child, which reads the same `.env`."""
    # Settings are read without regard to case: a `grpc_port` must not stay beside GRPC_PORT.
    changed = {name.upper() for name in changes}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in changed}
    return {**kept, **changes}
