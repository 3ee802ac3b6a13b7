"""What each kind of provider makes of each parameter of a chat: probes, and who judges them.

`docs/compatibility.md` is made of this: a row for each probe, a cell for what the provider's own
translator did with it.
"""

from tests.wire.compatibility.catalogue import GROUPS, PROBES
from tests.wire.compatibility.outcome import KINDS, Outcome, Verdict, judge
from tests.wire.compatibility.probe import Expected, Ignored, Meant, Own, Probe, Refused, Sent

__all__ = (
    "GROUPS",
    "KINDS",
    "PROBES",
    "Expected",
    "Ignored",
    "Meant",
    "Outcome",
    "Own",
    "Probe",
    "Refused",
    "Sent",
    "Verdict",
    "judge",
)
