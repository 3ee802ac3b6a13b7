"""Lets a call in: who it is, and whether its method is for that role."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.access.refusals import Refusal
from ailb_server.access.secret import is_secret, shown
from ailb_server.access.signatures import Signed, is_signature
from ailb_server.api.authorisation import Access, access_to
from ailb_server.api.modules import Came, ModuleDoor
from ailb_server.domain.errors import AilbError, InvalidApiKeyError, PermissionDeniedError
from ailb_server.domain.principal import ANYONE, Principal

# Who calls what needs no key, on a server that asks for keys.
NOBODY = Principal(name="nobody")

_MODULES_ONLY = (
    "This method is for MarchProxy: it needs a key with the role module, a client certificate, or"
    " an address within MODULE_ALLOWED_CIDRS."
)
_MISSING = "An API key is needed: `authorization: Bearer KEY`, or `x-api-key: KEY`."


class Keys(Protocol):
    """Tells whose secret it is."""

    def known(self, secret: str) -> Principal | None:
        """Who calls, if that is known without waiting."""
        ...

    def is_ours(self, secret: str) -> bool:
        """Whether it claims to be a key of AILB."""
        ...

    async def authenticate(self, secret: str) -> Principal:
        """Who calls. Raises InvalidApiKeyError, StorageUnavailableError or OverloadedError."""
        ...


class Signatures(Protocol):
    """Tells who signed."""

    async def authenticate(self, header: str, signed: Signed) -> Principal:
        """Raises InvalidApiKeyError, StorageUnavailableError or OverloadedError."""
        ...


@dataclass(frozen=True, slots=True)
class Visit:
    """A call at the gate. `peer` is asked only if the call is refused, `came` only where that
    counts, `signed` only for a signature; it raises InvalidApiKeyError if there can be none."""

    method: str
    request_id: str
    peer: Callable[[], str]
    came: Callable[[], Came]
    signed: Callable[[], Signed]


@dataclass(frozen=True, slots=True)
class Gate:
    """`required`: REQUIRE_API_KEY. Without it a call without a key may do everything; one with a
    key of ours is still taken by its word, so that tenants are kept apart and a bad key is told."""

    keys: Keys
    refused: Callable[[Refusal], None]
    required: bool = True
    open_metrics: bool = False
    modules: ModuleDoor = field(default_factory=ModuleDoor)
    signatures: Signatures | None = None

    def access(self, method: str) -> Access:
        """Who may call `/package.Service/Method`."""
        return access_to(method, open_metrics=self.open_metrics)

    def known(self, secret: str | None, access: Access) -> Principal | None:
        """Who calls, if that needs no waiting and the call is let in."""
        roles = access.value
        if roles is None:
            return NOBODY if self.required else ANYONE
        if secret is None:
            return None if self.required or ANYONE.role not in roles else ANYONE
        principal = self.keys.known(secret)
        if principal is None or principal.role not in roles or access is Access.MODULE:
            return None
        return principal

    async def enter(self, secret: str | None, access: Access, visit: Visit) -> Principal:
        """Who calls.

        Raises InvalidApiKeyError, PermissionDeniedError, StorageUnavailableError, OverloadedError.
        """
        principal = None
        try:
            if access is Access.MODULE:
                return await self._module(secret, visit)
            principal = await self._caller(secret, visit)
            _check_role(principal, access, visit.method)
        except (InvalidApiKeyError, PermissionDeniedError) as error:
            self.refused(_refusal(error, secret, principal, visit))
            raise
        return principal

    async def _module(self, secret: str | None, visit: Visit) -> Principal:
        """Any of the three is enough; a key says best who it is."""
        came = visit.came()
        if came.rest:
            raise PermissionDeniedError("This method is not for REST.", method=visit.method)
        trusted = self.modules.caller(came)
        if secret is None:
            if trusted is None:
                raise InvalidApiKeyError(_MODULES_ONLY, problem="missing")
            return trusted
        try:
            principal = await self._keyed(secret, visit)
            _check_role(principal, Access.MODULE, visit.method)
        except AilbError:
            if trusted is None:
                raise
            return trusted
        return principal

    async def _keyed(self, secret: str, visit: Visit) -> Principal:
        if not is_signature(secret):
            return await self.keys.authenticate(secret)
        if self.signatures is None:
            raise InvalidApiKeyError("No signatures are taken here.", problem="signature")
        return await self.signatures.authenticate(secret, visit.signed())

    async def _caller(self, secret: str | None, visit: Visit) -> Principal:
        if secret is not None and is_signature(secret):
            return await self._keyed(secret, visit)
        if not self.required and (secret is None or not self.keys.is_ours(secret)):
            return ANYONE
        if secret is None:
            raise InvalidApiKeyError(_MISSING, problem="missing")
        return await self._keyed(secret, visit)


def _check_role(principal: Principal, access: Access, method: str) -> None:
    if principal.role not in (access.value or ()):
        raise PermissionDeniedError(
            f"A key with the role {principal.role.value} may not call this method.", method=method
        )


def _refusal(
    error: AilbError, secret: str | None, principal: Principal | None, visit: Visit
) -> Refusal:
    return Refusal(
        problem=error.facts.get("problem", "role"),
        method=visit.method,
        # Of what is no key of ours nothing is kept: it may be another service's, or a password.
        prefix=shown(secret) if secret is not None and is_secret(secret) else "",
        peer=visit.peer(),
        request_id=visit.request_id,
        tenant_id=None if principal is None else principal.tenant_id,
        key_id=None if principal is None else principal.key_id,
        actor="" if principal is None else principal.name,
    )
