"""Reads the configuration again while calls run: all of it is good, or nothing changes."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import orjson

from ailb_server.app.switching import Prepared, Switching
from ailb_server.domain.audit import Actor, AuditEvent, AuditLog
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.module import (
    ConfigurationRefusedError,
    ConfigurationState,
    Overlay,
)
from ailb_server.settings import Configuration, Settings, SettingsError
from ailb_server.settings.overlay import RELOADABLE, overlaid, parsed, reloaded
from ailb_server.settings.showing import shown, shown_settings
from ailb_server.telemetry.config_metrics import ConfigMetrics

RELOAD_S = 30.0
# How long providers that are new may take to list their models before the switch: those that have
# not are asked on, and until then what they serve is not known.
_LISTING_S = 2.0
_ACTION = "config.reloaded"

_log = logging.getLogger(__name__)


class Overlays(Protocol):
    """Where the overlay is kept, for all instances. Raises StorageUnavailableError."""

    async def read(self) -> Overlay:
        """As it is now."""
        ...

    async def put(self, part: str, data: object | None, event: AuditEvent) -> Overlay:
        """Changes one part, or takes it away, and tells every instance; returns the whole."""
        ...


@dataclass(frozen=True, slots=True)
class ReloadPorts:
    """`read` reads the environment and the file; it may block. `set_level` is told LOG_LEVEL."""

    read: Callable[[], Configuration]
    overlays: Overlays
    audit: AuditLog
    set_level: Callable[[str], None]


@dataclass(slots=True)
class Reloading:
    """One at a time. `settings` are those in force: what a reload does not take over stays.

    Raises ConfigurationRefusedError with a line for each fault, and then nothing has changed.
    """

    base: Configuration
    switching: Switching
    ports: ReloadPorts
    metrics: ConfigMetrics
    wall: Callable[[], float] = time.time
    in_force: Configuration = field(init=False)
    state: ConfigurationState = field(init=False)
    overlay: Overlay = field(init=False, default_factory=Overlay)
    _lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.in_force = self.base
        self.state = self._state(0, 0, ())

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self.in_force.settings

    def shown(self) -> Mapping[str, object]:
        """The configuration in force by type, without secrets."""
        return shown(self.in_force)

    async def start(self) -> None:
        """Puts in force what was changed at run time before this process began.

        What does not fit this instance is told in the log and the status, and left out.
        """
        async with self._lock:
            overlay = await self._read_overlay()
            try:
                prepared = await self._prepared(overlaid(self.base, overlay))
            except SettingsError as error:
                self.state = self._state(1, overlay.version, error.faults)
                _log.error("the changes made at run time are left out: %s", error)
                return
            if overlay.parts:
                await self._apply(prepared, overlay, ())
            self.state = self._state(1, overlay.version, ())

    async def reload(self, by: Actor, timeout_s: float = RELOAD_S) -> ConfigurationState:
        """Reads everything again and puts it in force. `timeout_s` bounds it up to that point."""
        async with self._lock:
            try:
                async with asyncio.timeout(timeout_s):
                    overlay = await self._read_overlay()
                    read = await asyncio.to_thread(self.ports.read)
                    await self._renew(read, overlay, by)
            except SettingsError as error:
                raise self._refused(by, overlay, error.faults) from error
            except TimeoutError:
                late = f"the configuration could not be read within {timeout_s:g} s"
                raise self._refused(by, self.overlay, [late]) from None
        return self.state

    async def follow(self, version: int) -> None:
        """Takes over what another instance has changed, if this is not in force yet. What cannot be
        taken over is told, and left until the next change or reload."""
        async with self._lock:
            if version == self.state.overlay:
                return
            with contextlib.suppress(ConfigurationRefusedError, StorageUnavailableError):
                overlay = await self.ports.overlays.read()
                await self._renew(self.base, overlay, Actor("announcement"))

    async def check(self, part: str, data: bytes) -> None:
        """Whether `update` would take it."""
        async with self._lock:
            await self._checked(part, data)

    async def update(self, part: str, data: bytes, by: Actor) -> ConfigurationState:
        """Changes one part for all instances; without data, what the environment and the file say
        holds again. Raises StorageUnavailableError too."""
        async with self._lock:
            prepared, value = await self._checked(part, data)
            before = self.overlay.parts.get(part)
            event = AuditEvent("config.updated", by, None, part, {"data": before}, {"data": value})
            overlay = await self.ports.overlays.put(part, value, event)
            await self._apply(prepared, overlay, self.state.waiting)
            self.metrics.reloaded(ok=True)
            _log.info("configuration %d: %s changed by a call", self.state.version, part)
        return self.state

    async def _renew(self, read: Configuration, overlay: Overlay, by: Actor) -> None:
        try:
            prepared, waiting = await self._taken_over(read, overlay)
        except SettingsError as error:
            raise self._refused(by, overlay, error.faults) from error
        self.base = read
        await self._apply(prepared, overlay, waiting)
        self._tell(by)

    async def _checked(self, part: str, data: bytes) -> tuple[Prepared, object | None]:
        try:
            value = parsed(part, data) if data.strip() else None
            overlay = (await self._read_overlay()).having(part, value)
            prepared, _ = await self._taken_over(self.base, overlay)
        except SettingsError as error:
            raise ConfigurationRefusedError(error.faults) from error
        return prepared, value

    async def _taken_over(
        self, read: Configuration, overlay: Overlay
    ) -> tuple[Prepared, Sequence[str]]:
        changed = overlaid(read, overlay)
        settings, waiting = reloaded(self.settings, changed.settings)
        ready = Configuration(settings, changed.providers, changed.aliases)
        return await self._prepared(ready), waiting

    async def _prepared(self, configuration: Configuration) -> Prepared:
        """In a thread: the first provider of its kind imports a package for a second."""
        if not (configuration.providers or self.switching.extra):
            raise SettingsError(["providers: at least one is needed"])
        return await asyncio.to_thread(self.switching.prepare, configuration)

    async def _apply(self, prepared: Prepared, overlay: Overlay, waiting: Sequence[str]) -> None:
        self.switching.apply(await self.switching.ready(prepared, _LISTING_S))
        self.in_force, self.overlay = prepared.configuration, overlay
        self.ports.set_level(self.settings.log_level)
        self.state = self._state(self.state.version + 1, overlay.version, (), waiting)

    def _state(
        self, version: int, overlay: int, faults: Sequence[str], waiting: Sequence[str] = ()
    ) -> ConfigurationState:
        now = self.wall()
        if version:
            self.metrics.applied(version, now)
        return ConfigurationState(
            version, _checksum(self.in_force), now, overlay, "; ".join(faults), waiting
        )

    def _refused(
        self, by: Actor, overlay: Overlay, faults: Sequence[str]
    ) -> ConfigurationRefusedError:
        problem = "; ".join(faults)
        _log.error("the configuration is kept as it is, the new one is bad: %s", problem)
        self.metrics.reloaded(ok=False)
        self.state = replace(self.state, problem=problem, overlay=overlay.version)
        after = {"problem": problem}
        event = AuditEvent(_ACTION, by, subject="configuration", after=after, outcome="failed")
        self.ports.audit.record(event)
        return ConfigurationRefusedError(faults)

    def _tell(self, by: Actor) -> None:
        state = self.state
        self.metrics.reloaded(ok=True)
        _log.info("configuration %d is in force, by %s", state.version, by.name or by.peer)
        if state.waiting:
            _log.warning("these settings need a restart: %s", ", ".join(state.waiting))
        after = {"version": state.version, "checksum": state.checksum}
        self.ports.audit.record(AuditEvent(_ACTION, by, subject="configuration", after=after))

    async def _read_overlay(self) -> Overlay:
        """The last one that was seen, while the store is away."""
        try:
            return await self.ports.overlays.read()
        except StorageUnavailableError:
            _log.warning("the store is away: changes made elsewhere meanwhile are not seen yet")
            return self.overlay


def _checksum(configuration: Configuration) -> str:
    """The same on instances that run by the same, whatever their ports and names."""
    told = shown(configuration)
    settings = shown_settings(configuration.settings)
    kept = {name: value for name, value in settings.items() if name.lower() in RELOADABLE}
    told = {**told, "settings": kept}
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
