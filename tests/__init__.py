"""Tests; `make test` runs them all."""

import os

# As `ailb` itself: what is forked here runs another program at once, and gRPC's own handlers of
# forks crash the child now and then, before it does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
