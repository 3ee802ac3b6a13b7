"""Sums of the usage ledger as a table with bars."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ailb_server.cli.terminal import harmless

if TYPE_CHECKING:
    from ailb.v1.usage_pb2 import UsageSum

_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_NUMBERS = ("REQUESTS", "FAILED", "PROMPT", "ANSWER", "COST")
_MAX_NAME = 48
_NAMES: Mapping[str, Callable[["UsageSum"], str]] = {
    "day": lambda one: one.day,
    "tenant": lambda one: one.tenant or "(ailb)",
    "key": lambda one: f"{one.key_id} {one.key_name}" if one.HasField("key_id") else "(no key)",
    "provider": lambda one: one.provider or "(none)",
    "model": lambda one: one.model,
    "outcome": lambda one: one.outcome,
}


def table(
    sums: Sequence["UsageSum"], total: "UsageSum", by: Sequence[str], *, plain: bool
) -> list[str]:
    """Lines of text. The bars are of the cost; of tokens or requests if nothing cost anything.

    `plain`: for terminals that only have ASCII.
    """
    rows = [_row(one, [_name(one, dimension) for dimension in by]) for one in sums]
    rows.append(_row(total, ["total", *[""] * (len(by) - 1)]))
    titles = [*(dimension.upper() for dimension in by), *_NUMBERS]
    columns = list(zip(titles, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    weight = _weight(total)
    most = max(map(weight, sums), default=0.0)
    lines = [_line(titles, widths, len(by))]
    for row, one in zip(rows, sums, strict=False):
        share = weight(one) / most if most else 0.0
        lines.append(f"{_line(row, widths, len(by))}  {_bar(share, plain=plain)}".rstrip())
    if len(sums) != 1:
        lines.append(_line(rows[-1], widths, len(by)))
    return lines


def _row(one: "UsageSum", names: list[str]) -> list[str]:
    counts = (one.requests, one.failed_requests, one.prompt_tokens, one.completion_tokens)
    cost = f"${one.cost_micro_dollars / 1e6:,.4f}" + ("+?" if one.unpriced_requests else "")
    return [*names, *(f"{count:,.0f}" for count in counts), cost]


def _name(one: "UsageSum", dimension: str) -> str:
    name = harmless(_NAMES[dimension](one)).replace("\n", " ").replace("\t", " ")
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..."


def _weight(total: "UsageSum") -> Callable[["UsageSum"], float]:
    if total.cost_micro_dollars:
        return lambda one: one.cost_micro_dollars
    if total.prompt_tokens or total.completion_tokens:
        return lambda one: one.prompt_tokens + one.completion_tokens
    return lambda one: one.requests


def _line(cells: Sequence[str], widths: Sequence[int], names: int) -> str:
    placed = [
        cell.ljust(width) if number < names else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed).rstrip()


def _bar(share: float, *, plain: bool) -> str:
    if plain:
        return "#" * round(share * _BAR)
    whole, part = divmod(round(share * _BAR * 8), 8)
    return "█" * whole + _EIGHTHS[part].strip()
