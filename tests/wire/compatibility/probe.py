"""A probe: one parameter with one class of value, and what each kind of provider shall do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.providers.anthropic_wire_models import UNKNOWN, ModelFacts


@dataclass(frozen=True)
class Sent:
    """It reaches the upstream: `at` tells what stands where in the request, by dotted path.

    `ignored` are the names of what of it does not. Whether it is passed or translated is seen, not
    said here.
    """

    at: Mapping[str, Json] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Refused:
    """It is an InvalidRequestError that names `param`."""

    param: str
    note: str = ""


@dataclass(frozen=True)
class Ignored:
    """It is left out, and the caller is told these names."""

    names: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Meant:
    """It asks for what the upstream does anyway, so that there is nothing to send."""

    note: str = "the upstream does so anyway"


@dataclass(frozen=True)
class Own:
    """It is AILB's own and never sent on."""

    note: str = ""


Expected: TypeAlias = Sent | Refused | Ignored | Meant | Own


@dataclass(frozen=True)
class Probe:
    """`fields` are added to a plain chat, in which `beside` stand already.

    `parameter` and `value` are the row's first cells. `facts` are what the listing of an Anthropic
    tells of the model.
    """

    parameter: str
    value: str
    fields: JsonObject
    anthropic: Expected
    ollama: Expected
    openai: Expected = field(default_factory=Sent)
    beside: JsonObject = field(default_factory=dict)
    facts: ModelFacts = UNKNOWN

    @property
    def name(self) -> str:
        """For test ids and messages."""
        return f"{self.parameter}: {self.value}".replace("`", "")


def ignored(*names: str, note: str = "") -> Ignored:
    """`Ignored`, with less writing."""
    return Ignored(names, note)
