"""What is done to tenants: made, and limited."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ailb_server.access.administration import check_limits
from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from ailb_server.domain.principal import KeyLimits
from ailb_server.domain.tenant import Tenant

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

Change: TypeAlias = Callable[[KeyLimits], KeyLimits]


class TenantRecords(Protocol):
    """Where tenants are kept; every change with its row in the audit log, and announced to every
    instance. Raises StorageUnavailableError; a tenant that is not there is None."""

    async def create(self, name: str, limits: KeyLimits, by: Actor) -> Tenant | None:
        """Makes one; None if it is there already."""
        ...

    async def get(self, name: str) -> Tenant | None:
        """One tenant."""
        ...

    async def list(self, after: str, limit: int) -> Sequence[Tenant]:
        """By name, those after one."""
        ...

    async def update(self, name: str, change: Change, by: Actor) -> Tenant | None:
        """Changes its limits; nobody else changes them meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class TenantAdministration:
    """Checks what is asked. Raises InvalidRequestError, NotFoundError and AlreadyExistsError."""

    records: TenantRecords

    async def create(self, name: str, limits: KeyLimits, by: Actor) -> Tenant:
        """The tenant."""
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(
                "`name` must be letters, digits, `.`, `_` and `-`, at most 64.", param="name"
            )
        check_limits(limits)
        made = await self.records.create(name, limits, by)
        if made is None:
            raise AlreadyExistsError("There is a tenant of this name already.", param="name")
        return made

    async def get(self, name: str) -> Tenant:
        """One tenant."""
        return _found(await self.records.get(_known(name)))

    async def list(self, after: str, limit: int) -> Sequence[Tenant]:
        """At most so many, by name, after that one."""
        return await self.records.list(after, limit)

    async def update(self, name: str, change: Change, by: Actor) -> Tenant:
        """The tenant as it is then."""

        def checked(limits: KeyLimits) -> KeyLimits:
            changed = change(limits)
            check_limits(changed)
            return changed

        return _found(await self.records.update(_known(name), checked, by))


def _known(name: str) -> str:
    # What no row can have, the store would refuse as a fault of ours.
    return name if _NAME.fullmatch(name) else ""


def _found(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFoundError("There is no tenant of this name.", param="name")
    return tenant
