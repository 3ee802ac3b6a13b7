"""What the embedded Postgres is made with and started with: settings, role, database."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ailb_server.local.postgres_directory import DataDirectory, FileLock
from ailb_server.local.postgres_programs import Programs

ROLE = "ailb"
DATABASE = "ailb"

# What keeps the server private and quiet: given at every start, not to be changed inside.
# Terse messages without statements: DETAIL and STATEMENT lines would put users' text into the log.
_FIXED_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "cluster_name": "ailb",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}

# Of a cluster as it is made.
USUAL_CONNECTIONS = 50

# What tunes it: written once, when the cluster is made; ALTER SYSTEM may change it.
_INITIAL_SETTINGS = {
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "512MB",
    "max_connections": str(USUAL_CONNECTIONS),
    "max_parallel_workers_per_gather": "0",
    "max_wal_size": "2GB",
    "wal_compression": "pglz",
    "random_page_cost": "1.1",
    "jit": "off",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

PREPARE_SQL = r"""
-- The role is no superuser, so it could not do this; and it comes before the database, so that
-- whoever finds the database finds it complete.
CREATE EXTENSION IF NOT EXISTS vector;
SELECT 'CREATE ROLE ailb LOGIN'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ailb') \gexec
\connect postgres
SELECT 'CREATE DATABASE ailb OWNER ailb'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'ailb') \gexec
"""
"""A psql script that makes `ROLE` and `DATABASE` where they lack; run it in template1."""

_INIT_TIMEOUT_S = 120.0
_ASK_TIMEOUT_S = 30.0
_CONNECTIONS = "max_connections"


def server_command(
    programs: Programs, cluster: Path, overrides: Mapping[str, str]
) -> tuple[str, ...]:
    """The command that runs the server in the foreground, from inside `cluster`."""
    settings = {**overrides, **_FIXED_SETTINGS}
    return ("postgres", "-D", _cluster_argument(programs, cluster), *_options(settings))


def connections_for(
    programs: Programs, cluster: Path, lock: FileLock, needed: int
) -> Mapping[str, str]:
    """The setting that lets `needed` connections in; empty where the cluster's own does.

    The server must not run. Raises `PostgresError`.
    """
    if needed <= USUAL_CONNECTIONS:
        return {}
    command = ["postgres", "-D", _cluster_argument(programs, cluster), "-C", _CONNECTIONS]
    # Asked, since ALTER SYSTEM may have raised it: what is given at the start would go before that.
    told = programs.run_as_server(command, cluster, lock.fileno(), _ASK_TIMEOUT_S)
    return {} if int(told) >= needed else {_CONNECTIONS: str(needed)}


def create_cluster(programs: Programs, directory: DataDirectory, lock: FileLock) -> None:
    """Makes the cluster, all or nothing; `lock` tells others while initdb is at work.

    Raises `PostgresError` or `OSError`.
    """
    new = directory.root / "data.new"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    if programs.account is not None:
        os.chown(new, programs.account.uid, programs.account.gid)
    command = ["initdb", "-D", _cluster_argument(programs, new), "-U", "postgres"]
    # The builtin locale is the same on every host and does not change with its C library.
    command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
    command += ["--builtin-locale=C.UTF-8", "--no-instructions", *_options(_INITIAL_SETTINGS)]
    programs.run_as_server(command, new, lock.fileno(), _INIT_TIMEOUT_S)
    new.rename(directory.cluster)


def _cluster_argument(programs: Programs, cluster: Path) -> str:
    # Another user than root cannot look up a path below a directory such as /root, but it can stay
    # in the directory it was put into, and neither program leaves it.
    return "/proc/self/cwd" if programs.account else str(cluster)


def _options(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
