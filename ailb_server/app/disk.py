"""Whether what this instance writes has room."""

import shutil
from pathlib import Path

from ailb_server.domain.health import PartHealth

_LEAST_MB = 256
_MIB = 1024 * 1024


def disk_health(directory: Path, needed_mb: int) -> PartHealth:
    """Of the file system of `directory`, or where it will be made. Blocks for a moment."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        free = shutil.disk_usage(place).free // _MIB
    except OSError as error:
        return PartHealth("disk", f"cannot be asked: {error.strerror}", works=False)
    if free < max(needed_mb, _LEAST_MB):
        return PartHealth("disk", f"{free} MiB free where the journals are: too little")
    return PartHealth("disk")
