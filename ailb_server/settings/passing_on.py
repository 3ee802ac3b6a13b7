"""This process's environment, for a process that is started to read it by itself."""

import os
from collections.abc import Mapping


def environment_with(own: Mapping[str, str]) -> dict[str, str]:
    """What this process was given, and `own`, which goes before it."""
    return {**os.environ, **own}
