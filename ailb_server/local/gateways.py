"""What `ailb up` serves with: a gateway within its own process, or several beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ailb_server.app import Gateway
from ailb_server.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Serving:
    """What was learned as they started. `admin_secret` is that of a key that was made then."""

    providers: tuple[ProviderSettings, ...]
    models: tuple[str, ...]
    admin_secret: str | None


class Gateways(Protocol):
    """From one start to one close. `ports` are those of gRPC, the first GRPC_PORT."""

    @property
    def ports(self) -> Sequence[int]:
        """Where they listen."""
        ...

    async def start(self) -> Serving:
        """Returns once all serve. Raises START_ERRORS or InstanceError; what had started is
        stopped by `close`."""
        ...

    async def alive(self) -> bool:
        """Whether any is, or is to be again."""
        ...

    async def reload(self) -> None:
        """Each reads the configuration again; what comes of it is in the log."""
        ...

    def switch_level(self) -> None:
        """As this process did with its own log: to `debug`, or back."""
        ...

    async def drain(self) -> None:
        """Refuses new calls and lets running ones end, bounded by DRAIN_TIMEOUT_S."""
        ...

    async def close(self) -> None:
        """Ends what still runs, soon."""
        ...


class OwnGateway:
    """One, in this process."""

    def __init__(self, gateway: Gateway, port: int, *, asks_for_keys: bool) -> None:
        self._gateway = gateway
        self._asks_for_keys = asks_for_keys
        self.ports: Sequence[int] = (port,)

    async def start(self) -> Serving:
        """See `Gateways`."""
        gateway = self._gateway
        await gateway.start()
        secret = None
        if self._asks_for_keys and not gateway.has_admin():
            secret = await gateway.make_admin("admin", "ailb up")
        return Serving(gateway.providers, gateway.models(), secret)

    async def alive(self) -> bool:
        """As long as this process is."""
        return True

    async def reload(self) -> None:
        """See `Gateways`."""
        await self._gateway.reload("SIGHUP")

    def switch_level(self) -> None:
        """It is this process's log."""

    async def drain(self) -> None:
        """See `Gateways`."""
        await self._gateway.drain()

    async def close(self) -> None:
        """See `Gateways`."""
        await self._gateway.close()
