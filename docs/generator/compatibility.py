"""The regions of `docs/compatibility.md`: rows from what the translators do with each probe."""

import re
from collections.abc import Iterator, Mapping, Sequence

from docs.generator.schema import table
from tests.wire.compatibility import (
    GROUPS,
    KINDS,
    Expected,
    Meant,
    Outcome,
    Probe,
    Refused,
    Sent,
    Verdict,
    embeddings,
    judge,
)
from tests.wire.compatibility.audit import EXEMPT
from tests.wire.compatibility.outcome import expected

_HEAD = ("Parameter", "Value", *(f"`{kind}`" for kind in KINDS))


def regions() -> Mapping[str, str]:
    """The tables, and the list of what makes no difference. Raises ValueError for a defect."""
    tables = [f"### {title}\n\n{table(_HEAD, _rows(probes))}" for title, probes in GROUPS.items()]
    exempt = [(f"`{path}`", why) for path, why in _said(EXEMPT)]
    return {
        "parameters": "\n\n".join(tables),
        "embeddings": table(("Parameter", "Value", "`openai`", "`ollama`"), embeddings.rows()),
        "exempt": table(("Member", "Why"), exempt),
    }


def _rows(probes: Sequence[Probe]) -> list[tuple[str, ...]]:
    """One for each probe, but that values with the same outcomes share theirs."""
    rows: list[tuple[str, ...]] = []
    for probe in probes:
        cells = tuple(_cell(kind, probe) for kind in KINDS)
        last = rows[-1] if rows else ()
        if last and (last[0], *last[2:]) == (probe.parameter, *cells):
            rows[-1] = (probe.parameter, f"{last[1]}; {probe.value}", *cells)
        else:
            rows.append((probe.parameter, probe.value, *cells))
    return rows


def _cell(kind: str, probe: Probe) -> str:
    verdict = judge(kind, probe)
    if verdict.outcome is Outcome.DROPPED:
        raise ValueError(f"{kind} drops silently: {probe.name}")
    wanted = expected(kind, probe)
    told = "; ".join(_told(wanted, verdict))
    return f"{verdict.outcome.value}: {told}" if told else verdict.outcome.value


def _told(wanted: Expected, verdict: Verdict) -> Iterator[str]:
    if verdict.outcome is Outcome.TRANSLATED and isinstance(wanted, Sent) and wanted.at:
        yield ", ".join(dict.fromkeys(f"`{_path(path)}`" for path in wanted.at))
    if wanted.note and (verdict.outcome is not Outcome.PASSED or not isinstance(wanted, Meant)):
        yield wanted.note
    if verdict.outcome is Outcome.REJECTED and isinstance(wanted, Refused):
        yield f"names `{re.sub(r'[0-9]+(?=])', '', wanted.param)}`"
    if verdict.outcome is Outcome.TRANSLATED and verdict.ignored:
        names = ", ".join(f"`{name}`" for name in sorted(verdict.ignored))
        yield f"without {names}, which is ignored"


def _path(path: str) -> str:
    return re.sub(r"\.[0-9]+", "[]", path)


def _said(exempt: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    before = ""
    for path, why in exempt.items():
        before = before if why == "as above" else why
        yield path, before
