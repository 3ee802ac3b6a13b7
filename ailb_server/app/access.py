"""Composes who may call: keys, their cache, the gate, the audit of refusals."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ailb_server.access.administration import KeyAdministration
from ailb_server.access.authenticator import Authenticator
from ailb_server.access.key_cache import CacheRules
from ailb_server.access.secret import PEPPER_BYTES, Digester, fingerprint, pepper_of
from ailb_server.access.tenant_administration import TenantAdministration
from ailb_server.api.gate import Gate
from ailb_server.app.audit import OpenAudit
from ailb_server.app.tasks import ended
from ailb_server.domain.api_key import ApiKey, KeyTerms, NewKey
from ailb_server.domain.audit import Actor
from ailb_server.domain.principal import Role
from ailb_server.settings import Settings
from ailb_server.storage.api_keys import PostgresApiKeys
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.key_digest import KeptPepper, PostgresKeyDigest
from ailb_server.storage.migrations import migrate
from ailb_server.storage.notifications import Notifications
from ailb_server.storage.pool import Store
from ailb_server.storage.tenants import PostgresTenants

CHANNEL = "ailb_keys"


class PepperError(RuntimeError):
    """The keys that are stored were digested with another pepper."""


@dataclass(frozen=True, slots=True)
class AccessParts:
    """`gate` is for the edge, `administration` and `tenants` for their services; `has_admin` tells
    whether somebody can make keys by a call."""

    gate: Gate
    administration: KeyAdministration
    tenants: TenantAdministration
    has_admin: bool


async def open_access(
    settings: Settings,
    store: Store,
    database_url: str,
    audit: OpenAudit,
    heard: Mapping[str, Callable[[str], None]],
    closing: contextlib.AsyncExitStack,
) -> AccessParts:
    """`store` is open. `heard` is what to do with other announcements: an
    empty one says that some may have been missed. Raises PepperError."""
    digester = await open_digester(settings, store)
    keys = PostgresApiKeys(store, audit.rows)
    admin = settings.admin_api_key
    authenticator = Authenticator(
        keys,
        digester,
        admin.get_secret_value() if admin else None,
        CacheRules(ttl_s=settings.key_cache_ttl_s, outage_ttl_s=settings.key_outage_ttl_s),
    )
    closing.push_async_callback(authenticator.close)
    _hear(database_url, authenticator, heard, closing)
    gate = Gate(
        authenticator,
        audit.refusals.note,
        required=settings.require_api_key is not False,
        open_metrics=settings.metrics_without_key,
    )
    has_admin = admin is not None or await keys.has_admin()
    tenants = TenantAdministration(PostgresTenants(store, settings.module_id))
    return AccessParts(gate, KeyAdministration(keys, digester), tenants, has_admin)


async def open_digester(settings: Settings, store: Store) -> Digester:
    """By KEY_PEPPER, or by the pepper that the first start made. Raises PepperError."""
    setting = settings.key_pepper
    pepper = pepper_of(setting.get_secret_value()) if setting else secrets.token_bytes(PEPPER_BYTES)
    wanted = KeptPepper(None if setting else pepper, fingerprint(pepper))
    digest = PostgresKeyDigest(store)
    kept = await digest.first(wanted)
    if kept.fingerprint == wanted.fingerprint:
        return Digester(pepper)
    if setting is None and kept.pepper is not None:
        return Digester(kept.pepper)
    if await digest.replace(wanted):
        return Digester(pepper)
    raise PepperError(
        "KEY_PEPPER is not the one that the stored keys were digested with: none would be known."
        + (" It is not set." if setting is None else "")
    )


async def first_admin(administration: KeyAdministration, name: str, by: str) -> tuple[ApiKey, str]:
    """Makes a key with the role admin; returns it and its secret."""
    new = NewKey(KeyTerms(name), role=Role.ADMIN)
    return await administration.create(new, Actor(by))


async def bootstrap(
    settings: Settings, database_url: str, migrations: Path, name: str, by: str
) -> str:
    """Makes a key with the role admin in a database that no server need serve; its secret.

    Raises as `Gateway.start`, and AilbError.
    """
    store = Store(database_url, size=1)
    await store.wait_ready(settings.database_connect_timeout_s)
    await migrate(database_url, migrations)
    await store.open()
    try:
        digester = await open_digester(settings, store)
        keys = PostgresApiKeys(store, PostgresAuditLog(store, settings.module_id))
        return (await first_admin(KeyAdministration(keys, digester), name, by))[1]
    finally:
        await store.close()


def _hear(
    database_url: str,
    authenticator: Authenticator,
    heard: Mapping[str, Callable[[str], None]],
    closing: contextlib.AsyncExitStack,
) -> None:
    def changed(payload: str) -> None:
        if payload.isdigit():
            authenticator.changed(int(payload))
        else:
            authenticator.missed()

    def listening() -> None:
        authenticator.missed()
        for act in heard.values():
            # What was announced before went unheard: an empty announcement, of anything.
            act("")

    listener = Notifications(database_url, {**heard, CHANNEL: changed}, listening)
    task = asyncio.create_task(listener.run())
    closing.push_async_callback(ended, task)
