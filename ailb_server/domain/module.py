"""An instance among its siblings, and the configuration that it runs by."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

# How many changes an instance may tell, at most, of a configuration that it refuses.
MAX_FAULTS = 50


class InstanceStatus(StrEnum):
    """How an instance says it is; `unhealthy` is also told of one that says nothing any more."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Instance:
    """What an instance tells of itself. `boot` is one process's, so that two of one MODULE_ID show.

    `started_at`: seconds since 1970. `weight` is its version's, from 0 to 100.
    """

    module_id: str
    boot: str
    address: str
    version: str
    started_at: float
    status: InstanceStatus = InstanceStatus.STARTING
    weight: int = 100
    connections: int = 0
    max_connections: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """`age_s`: since its last heartbeat, by the store's clock."""

    instance: Instance
    age_s: float


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat brings back. `overlay` is the version of the configuration's overlay;
    `double`: another process with this MODULE_ID is alive."""

    overlay: int
    double: bool = False


@dataclass(frozen=True, slots=True)
class ScaleWish:
    """How many instances somebody wishes for, as `marchproxy.ScalingConfig`: 0 is not said."""

    min_instances: int
    max_instances: int
    target_cpu_percent: int = 0
    target_memory_percent: int = 0
    target_connections: int = 0
    scale_up_threshold: int = 0
    scale_down_threshold: int = 0
    cooldown_seconds: int = 0
    auto_scaling_enabled: bool = False
    immediate: bool = False

    def desired(self, current: int) -> int:
        """As many as there are, within the wish."""
        return max(self.min_instances, min(current, self.max_instances))

    def told(self) -> dict[str, object]:
        """For the audit log."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Overlay:
    """What was changed of the configuration at run time, for all instances: by type, as JSON.

    `settings` maps names of settings to values; `providers` and `aliases` take the place of the
    YAML file's.
    """

    version: int = 0
    parts: Mapping[str, object] = field(default_factory=dict)

    def having(self, part: str, data: object | None) -> "Overlay":
        """With one part changed, or taken away."""
        others = {name: known for name, known in self.parts.items() if name != part}
        return Overlay(self.version, others if data is None else {**others, part: data})


@dataclass(frozen=True, slots=True)
class ConfigurationState:
    """The configuration in force here.

    `version` counts what this process has put in force, from 1; `checksum` tells whether two
    instances run by the same. `applied_at`: seconds since 1970. `problem`: why the last change was
    not taken, empty if it was. `waiting` names settings that were changed and need a restart.
    """

    version: int
    checksum: str
    applied_at: float
    overlay: int = 0
    problem: str = ""
    waiting: Sequence[str] = ()


class ConfigurationRefusedError(Exception):
    """A configuration that is not taken: nothing has changed. `faults` have a line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults[:MAX_FAULTS])
