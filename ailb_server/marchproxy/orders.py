"""What the load balancer asks for in its answers to heartbeats."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from marchproxy import nlb_pb2 as pb

MIN_INTERVAL_S = 1
MAX_INTERVAL_S = 3600
RELOAD = "reload"
REGISTER = "reregister"
INTERVAL = "heartbeat_interval_seconds"
_TRUE = "true"
_SECONDS = re.compile(r"[0-9]{1,4}")
_MAX_REMEMBERED = 100
_MAX_NAME = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be done about an answer by whoever sends the heartbeats. `every_s` None: as it
    was."""

    register: bool = False
    every_s: float | None = None


@dataclass(slots=True)
class Orders:
    """`reload` reads the configuration again and tells by itself what came of it: one at a time,
    beside the heartbeats. What AILB does not know or do is told once."""

    reload: Callable[[], Awaitable[None]]
    _reloading: "asyncio.Task[None] | None" = field(init=False, default=None)
    _told: set[str] = field(init=False, default_factory=set)

    def obey(self, answer: pb.HeartbeatResponse) -> Wishes:
        """Begins what is asked for."""
        instructions = dict(answer.instructions)
        if answer.should_reload or _is_true(instructions.pop(RELOAD, "")):
            self._reload()
        if answer.should_scale:
            self._tell("should_scale", "AILB starts no machines, see ModuleService.Scale")
        register = _is_true(instructions.pop(REGISTER, ""))
        every_s = self._interval(instructions)
        for name in instructions:
            self._tell(name, "no instruction that AILB knows")
        return Wishes(register, every_s)

    async def close(self) -> None:
        """Ends a reload that runs; up to its switch it changes nothing."""
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.wait((self._reloading,))

    def _reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reloaded())

    async def _reloaded(self) -> None:
        try:
            await self.reload()
        except Exception:  # noqa: BLE001
            # A fault of ours, which nobody who waits would see.
            _log.exception("a reload that the load balancer asked for failed")

    def _interval(self, instructions: dict[str, str]) -> float | None:
        text = instructions.pop(INTERVAL, None)
        if text is None:
            return None
        if _SECONDS.fullmatch(text) and MIN_INTERVAL_S <= int(text) <= MAX_INTERVAL_S:
            return float(text)
        self._tell(INTERVAL, f"must be from {MIN_INTERVAL_S} to {MAX_INTERVAL_S}")
        return None

    def _tell(self, name: str, why: str) -> None:
        name = name[:_MAX_NAME]
        if name not in self._told and len(self._told) < _MAX_REMEMBERED:
            self._told.add(name)
            _log.warning("the load balancer asks for %r, which is left undone: %s", name, why)


def _is_true(text: str) -> bool:
    return text.strip().lower() == _TRUE
