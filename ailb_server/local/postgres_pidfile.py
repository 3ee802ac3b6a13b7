"""postmaster.pid of a dead server, when its number has gone to another process."""

import os
from pathlib import Path

_ZOMBIE = "Z"


def clear_stale_pid_files(cluster: Path) -> None:
    """Removes the lock files of a dead server if Postgres would take them for a live one.

    Postgres itself clears up after a process that is gone, and frees its shared memory. But it
    stops at a number that has been given to another process of the same user, as happens when a
    container restarts, or that belongs to a zombie. Call this only while nobody holds the server's
    lock. If in doubt the files stay, and Postgres decides.
    """
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        path = cluster / name
        pid = _read_pid(path)
        if pid is not None and _is_no_postmaster_of(cluster, pid):
            path.unlink(missing_ok=True)


def _read_pid(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return int(file.readline(32))
    except (FileNotFoundError, ValueError):
        return None


def _is_no_postmaster_of(cluster: Path, pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    name, state = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2]
    if state == _ZOMBIE or name != "postgres":
        return True
    try:
        return not os.path.samefile(f"/proc/{pid}/cwd", cluster)
    except OSError:
        return False
