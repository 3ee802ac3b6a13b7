"""`python -m ailb_server` and the command `ailb`."""

import os

# gRPC would handle forks of its own process; ours only start programs, and it complains at each.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

from ailb_server.cli.main import app


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
