"""All probes, in the order and under the titles of the document."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tests.wire.compatibility import (
    probes_messages,
    probes_parts,
    probes_service,
    probes_tools,
    probes_tuning,
)
from tests.wire.compatibility.probe import Probe

GROUPS: Mapping[str, Sequence[Probe]] = MappingProxyType(
    {
        "Messages": (
            *probes_messages.ROLES,
            *probes_messages.NAMES,
        ),
        "Parts of a message's content": (*probes_parts.PARTS, *probes_parts.CACHE_MARKS),
        "Thoughts of answers before": probes_messages.THOUGHTS,
        "Tools": (*probes_tools.TOOLS, *probes_tools.CHOICES),
        "Format of the answer": (*probes_tools.FORMATS, *probes_service.MODALITIES),
        "Limits": probes_tuning.LIMITS,
        "Sampling": probes_tuning.SAMPLING,
        "Reasoning": probes_tuning.REASONING,
        "What is told besides the text": probes_tuning.TOLD,
        "Service": probes_service.SERVICE,
        "The providers' own parameters": probes_service.NATIVE,
        "AILB's own parameters": probes_service.OURS,
        "Anything else": probes_service.UNKNOWN,
    }
)
PROBES = tuple(probe for probes in GROUPS.values() for probe in probes)
