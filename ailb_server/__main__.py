"""`python -m ailb_server` and the command `ailb`."""

import os

# Both are read as their packages are imported.
# gRPC would handle forks of its own process; ours only start programs, and it complains at each.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# Twice the series, for a start time that no query here needs.
os.environ.setdefault("PROMETHEUS_DISABLE_CREATED_SERIES", "true")

from ailb_server.cli.main import app


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
