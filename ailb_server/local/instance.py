"""One gateway of `ailb up --instances`, in a process of its own."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ailb_server.local.envoy_program import dying_with_us
from ailb_server.settings.handed_on import handed_on

START_TIMEOUT_S = 120.0

# Every model's name is in the line.
_LINE_BYTES = 16 * 1024 * 1024
_ASKED_AGAIN = 3
_ASK_AGAIN_S = 2.0


class InstanceError(Exception):
    """An instance does not start; it has said why itself."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an instance tells in a line once it serves. `demo` is the URL of its demo provider."""

    models: tuple[str, ...]
    has_admin: bool
    demo: str | None

    def line(self) -> str:
        """For `of`."""
        told = {"models": self.models, "has_admin": self.has_admin, "demo": self.demo}
        return json.dumps(told) + "\n"

    @classmethod
    def of(cls, line: bytes) -> "Told":
        """Raises ValueError."""
        told = json.loads(line)
        return cls(tuple(told["models"]), told["has_admin"], told["demo"])


class Instance:
    """`environment` goes before this process's own. It ends when this process does."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._serves = False

    async def start(self) -> Told:
        """Returns once it serves. Raises InstanceError; cancelled, it leaves what it started to
        `stop`."""
        try:
            process = self._process = await self._spawn()
        except OSError as error:
            raise InstanceError(f"{self.name} cannot be started: {error}") from error
        if process.stdout is None:
            raise RuntimeError("no pipe")
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
        except TimeoutError:
            await self.stop()
            raise InstanceError(f"{self.name} is not ready in {START_TIMEOUT_S:g} s") from None
        if not line:
            raise InstanceError(f"{self.name} ended at its start, status {await self.ended()}")
        self._serves = True
        return Told.of(line)

    async def ended(self) -> int:
        """Waits for its end; its status, as `subprocess` has it."""
        status = 1 if self._process is None else await self._process.wait()
        self._serves = False
        return status

    def reload(self) -> None:
        """It reads the configuration again; while it starts it does anyway."""
        self._tell(signal.SIGHUP)

    def switch_level(self) -> None:
        """It logs at `debug`, or no longer."""
        self._tell(signal.SIGUSR1)

    def end(self) -> None:
        """Asks for its end: a drain; asked again, at once."""
        self._send(signal.SIGTERM)

    async def stop(self) -> None:
        """Ends it, killed if it must be; bounded; may be repeated."""
        for send in (*[self.end] * _ASKED_AGAIN, self._kill):
            if self._process is None or self._process.returncode is not None:
                return
            send()
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN_S):
                    await self.ended()

    def _tell(self, number: signal.Signals) -> None:
        # Before it serves, the signal would end it.
        if self._serves:
            self._send(number)

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _spawn(self) -> asyncio.subprocess.Process:
        # Not from the working directory, where anything may be.
        command = [sys.executable, "-P", "-m", "ailb_server", "instance"]
        # A session of its own: the terminal's Ctrl-C is for us, and we end it.
        return await asyncio.create_subprocess_exec(
            *dying_with_us(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            env=handed_on(self._environment),
            start_new_session=True,
        )
