"""Several gateways, each a process of its own, looked after: one that ends is started again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ailb_server.app import demo_provider
from ailb_server.local.gateways import Serving
from ailb_server.local.instance import Instance, InstanceError
from ailb_server.local.ports import following
from ailb_server.settings import Configuration, Settings

# Four of Envoy's health checks: the last is told NOT_SERVING long before the first refusal.
DRAIN_DELAY_S = 1.0

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TRIES = 10
# Who lived longer ends for a reason of its own, not for the last one.
_STEADY_S = 60.0
# The most that DRAIN_TIMEOUT_S and DRAIN_DELAY_S may be, and the time for journals and pools. An
# instance ends by its own bounds, which a reload or UpdateConfig may have changed there.
LONGEST_END_S = 86_400 + 600 + 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """An instance's own: `name` is its MODULE_ID."""

    name: str
    grpc_port: int
    metrics_port: int | None

    def environment(self, settings: Settings, database_url: str) -> dict[str, str]:
        """What it is started with."""
        said = "drain_delay_s" in settings.model_fields_set
        own = {
            "MODULE_ID": self.name,
            "GRPC_PORT": str(self.grpc_port),
            "DATABASE_URL": database_url,
            "DRAIN_DELAY_S": str(settings.drain_delay_s if said else DRAIN_DELAY_S),
        }
        metrics = {} if self.metrics_port is None else {"METRICS_PORT": str(self.metrics_port)}
        return own | metrics


def places(settings: Settings, count: int) -> list[Place]:
    """The first has the ports that settings name, the others free ones after them. Raises
    PortTakenError."""
    taken: set[int] = set()
    ports = following(settings, settings.grpc_port, count, taken)
    metrics: Sequence[int | None] = [None] * count
    if settings.metrics_port is not None:
        metrics = following(settings, settings.metrics_port, count, taken)
    base = settings.module_id.removesuffix("-1")
    own = zip(ports, metrics, strict=True)
    return [Place(f"{base}-{number}", *both) for number, both in enumerate(own, 1)]


class Instances:
    """See `Gateways`. `make_admin` makes a key with the role admin and returns its secret.

    One that ends is started again: at once after status 0, else after a pause that grows from 0.5
    to 30 s; after ten failures in a row it is given up. The others go on.
    """

    def __init__(
        self,
        configuration: Configuration,
        chosen: Sequence[Place],
        database_url: str,
        make_admin: Callable[[], Awaitable[str]],
    ) -> None:
        self._configuration = configuration
        settings = self._settings = configuration.settings
        self._make_admin = make_admin
        self.ports: Sequence[int] = [place.grpc_port for place in chosen]
        self._instances = [
            Instance(place.name, place.environment(settings, database_url)) for place in chosen
        ]
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> Serving:
        """All at once. Raises InstanceError if one does not start."""
        first, *_ = await asyncio.gather(*(one.start() for one in self._instances))
        self._keepers = [asyncio.create_task(self._keep(one)) for one in self._instances]
        secret = None
        if self._settings.require_api_key and not first.has_admin:
            secret = await self._make_admin()
        demo = () if first.demo is None else (demo_provider(first.demo),)
        return Serving((*self._configuration.providers, *demo), first.models, secret)

    async def alive(self) -> bool:
        """Whether any is not given up."""
        return not all(keeper.done() for keeper in self._keepers)

    async def reload(self) -> None:
        """See `Gateways`."""
        for instance in self._instances:
            instance.reload()

    def switch_level(self) -> None:
        """See `Gateways`."""
        for instance in self._instances:
            instance.switch_level()

    async def drain(self) -> None:
        """See `Gateways`."""
        self._leave()
        for instance in self._instances:
            instance.end()
        ends = [asyncio.create_task(instance.ended()) for instance in self._instances]
        _, left = await asyncio.wait(ends, timeout=LONGEST_END_S)
        for end in left:
            end.cancel()

    async def close(self) -> None:
        """See `Gateways`."""
        self._leave()
        await asyncio.gather(*(instance.stop() for instance in self._instances))

    def _leave(self) -> None:
        """From now on nothing is started again."""
        for keeper in self._keepers:
            keeper.cancel()

    async def _keep(self, instance: Instance) -> None:
        failures, began = 0, time.monotonic()
        while failures < _TRIES:
            status = await instance.ended()
            if status == 0 or time.monotonic() - began > _STEADY_S:
                failures = 0
            failures += status != 0
            pause_s = _pause_s(failures)
            _log.warning(
                "%s ended, status %d; it is started again in %g s", instance.name, status, pause_s
            )
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            try:
                await instance.start()
                _log.info("%s serves again", instance.name)
            except InstanceError as error:
                _log.error("%s", error)
        _log.error("%s failed %d times in a row and is given up", instance.name, failures)


def _pause_s(failures: int) -> float:
    """Before the next start."""
    return min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** (failures - 1)) if failures else 0.0
