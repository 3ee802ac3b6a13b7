"""Uses an embedded Postgres until its standard input ends: `python -m ... DIRECTORY`.

Prints the DSN, or the error and exits with 1. Ignores Ctrl-C, as a draining gateway does.
"""

import signal
import sys
from pathlib import Path

from ailb_server.local.postgres import EmbeddedPostgres, PostgresError


def main() -> int:
    """Holds the server in the directory named by the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"})
    try:
        sys.stdout.write(server.start() + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.stop()
    except PostgresError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
