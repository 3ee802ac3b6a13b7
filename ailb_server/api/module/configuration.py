"""Reload, GetConfig, UpdateConfig."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from ailb_server.api.module.desk import caller
from ailb_server.api.module.failing import now
from ailb_server.api.module.messages import timestamp
from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import InvalidRequestError, NotFoundError
from ailb_server.domain.module import ConfigurationRefusedError, ConfigurationState
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2

DEFAULT_RELOAD_S = 30
MAX_RELOAD_S = 300


class Configured(Protocol):
    """The configuration in force. Changes raise ConfigurationRefusedError; StorageUnavailableError
    only where the store is needed."""

    state: ConfigurationState

    def shown(self) -> Mapping[str, object]:
        """By type, without secrets, in JSON's values."""
        ...

    async def reload(self, by: Actor, timeout_s: float) -> ConfigurationState:
        """Reads it again."""
        ...

    async def check(self, part: str, data: bytes) -> None:
        """Whether `update` would take it."""
        ...

    async def update(self, part: str, data: bytes, by: Actor) -> ConfigurationState:
        """Changes one part for all instances."""
        ...


@dataclass(frozen=True, slots=True)
class ConfigurationCalls:
    """See `ConfigurationAnswers`. `beside` are further types that GetConfig shows."""

    configured: Configured
    beside: Mapping[str, Callable[[], Awaitable[object]]]

    async def reload(self, request: pb.ReloadRequest) -> pb.ReloadResponse:
        """Always graceful: what runs goes on as it began."""
        if not 0 <= request.timeout_seconds <= MAX_RELOAD_S:
            raise InvalidRequestError(
                f"`timeout_seconds` must be from 0 ({DEFAULT_RELOAD_S}) to {MAX_RELOAD_S}.",
                param="timeout_seconds",
            )
        seconds = request.timeout_seconds or DEFAULT_RELOAD_S
        try:
            state = await self.configured.reload(caller(), seconds)
        except ConfigurationRefusedError as error:
            message = "Nothing was changed: the configuration is bad."
            return pb.ReloadResponse(message=message, error=_refusal(message, error))
        notes = [f"Configuration {state.version} is in force; running calls go on as they began."]
        if state.waiting:
            notes.append(f"A restart is needed for {', '.join(state.waiting)}.")
        return pb.ReloadResponse(success=True, message=" ".join(notes))

    async def get_config(self, request: pb.GetConfigRequest) -> pb.GetConfigResponse:
        """All types, or one. Raises NotFoundError."""
        shown = self.configured.shown()
        known = (*shown, *self.beside)
        if request.config_type not in ("", *known):
            raise NotFoundError(
                f"There is no such type of configuration. There are: {', '.join(known)}.",
                param="config_type",
            )
        wanted = [request.config_type] if request.config_type else known
        configs = [
            self._told(name, shown[name] if name in shown else await self.beside[name]())
            for name in wanted
        ]
        applied = timestamp(self.configured.state.applied_at)
        return pb.GetConfigResponse(configs=configs, last_updated=applied)

    async def update_config(self, request: pb.UpdateConfigRequest) -> pb.UpdateConfigResponse:
        """All of a type is replaced; without data, the environment's and the file's holds again."""
        part, data = request.config.config_type, request.config.config_data
        try:
            _check(request)
            if request.validate_only:
                await self.configured.check(part, data)
                message = "It is good. Nothing was changed: it was to be validated only."
            else:
                state = await self.configured.update(part, data, caller())
                message = (
                    f"Configuration {state.version} is in force here, and on the other instances"
                    " within a moment."
                )
        except ConfigurationRefusedError as error:
            message = "Nothing was changed: see validation_errors."
            return pb.UpdateConfigResponse(
                message=message, validation_errors=error.faults, error=_refusal(message, error)
            )
        return pb.UpdateConfigResponse(success=True, message=message, validation_passed=True)

    def _told(self, name: str, value: object) -> types_pb2.ConfigUpdate:
        state = self.configured.state
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return types_pb2.ConfigUpdate(
            config_id=f"{name}-{state.version}",
            config_type=name,
            config_data=data,
            checksum=hashlib.sha256(data).hexdigest(),
            updated_at=timestamp(state.applied_at),
            metadata={"format": "application/json", "version": str(state.version)},
        )


def _check(request: pb.UpdateConfigRequest) -> None:
    if not request.HasField("config"):
        raise ConfigurationRefusedError(["config: is needed"])
    told, data = request.config.checksum.lower(), request.config.config_data
    if told and told != hashlib.sha256(data).hexdigest():
        raise ConfigurationRefusedError(["checksum: is not the SHA-256 of config_data, in hex"])


def _refusal(message: str, error: ConfigurationRefusedError) -> types_pb2.Error:
    """`details` has each fault under its number, from 0."""
    return types_pb2.Error(
        code=types_pb2.STATUS_CODE_INVALID_ARGUMENT,
        message=f"{message} {error.faults[0]}" if error.faults else message,
        details={str(number): fault for number, fault in enumerate(error.faults)},
        occurred_at=now(),
    )
