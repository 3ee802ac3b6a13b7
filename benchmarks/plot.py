"""A run's CPU times as a picture: plain SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.plan import TARGETS
from benchmarks.record import Record

LOAD = "16"

_WIDTH, _NAMES, _NUMBERS, _ROW, _BAR, _HEAD, _GAP = 760, 110, 130, 24, 16, 34, 18
_COLOURS = {"server": "#2f6fb0", "Envoy": "#e0a03c"}


@dataclass(frozen=True, slots=True)
class Bar:
    """CPU milliseconds of a target for each answer."""

    name: str
    server: float
    envoy: float


@dataclass(frozen=True, slots=True)
class Panel:
    """A workload's bars, with a scale of their own."""

    title: str
    bars: Sequence[Bar]


def panels(run: Record) -> list[Panel]:
    """Of all workloads that were measured with 16 connections."""
    found = (
        Panel(f"{name}: {title}", [bar for target in TARGETS for bar in _bars(run, name, target)])
        for name, title in run.workloads.items()
    )
    return [panel for panel in found if panel.bars]


def picture(found: Sequence[Panel]) -> str:
    """The SVG document."""
    height = _GAP + sum(_height(panel) for panel in found)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        *_legend(),
    ]
    top = _GAP
    for panel in found:
        lines += _panel(panel, top)
        top += _height(panel)
    return "\n".join([*lines, "</svg>", ""])


def _bars(run: Record, workload: str, target: str) -> Iterator[Bar]:
    place = (workload, LOAD, target)
    server, envoy = (run.figure(place, f"{role} CPU ms") for role in ("server", "Envoy"))
    if server is not None or envoy is not None:
        yield Bar(target, server or 0.0, envoy or 0.0)


def _height(panel: Panel) -> int:
    return _HEAD + _ROW * len(panel.bars)


def _legend() -> Iterator[str]:
    left = _WIDTH - 190
    for name, colour in _COLOURS.items():
        yield f'<rect x="{left}" y="8" width="12" height="12" fill="{colour}"/>'
        yield _text(left + 18, 19, name)
        left += 90


def _panel(panel: Panel, top: int) -> Iterator[str]:
    yield _text(10, top + 18, panel.title, "bold")
    most = max(bar.server + bar.envoy for bar in panel.bars)
    scale = (_WIDTH - _NAMES - _NUMBERS) / most if most else 0.0
    for number, bar in enumerate(panel.bars):
        y = top + _HEAD - 6 + _ROW * number
        yield _text(10, y + 13, bar.name)
        left = float(_NAMES)
        for value, colour in zip((bar.server, bar.envoy), _COLOURS.values(), strict=True):
            yield (
                f'<rect x="{left:.1f}" y="{y}" width="{value * scale:.1f}" height="{_BAR}"'
                f' fill="{colour}"/>'
            )
            left += value * scale
        yield _text(round(left) + 6, y + 13, f"{bar.server + bar.envoy:.2f} ms")


def _text(x: float, y: float, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" fill="#222222" font-weight="{weight}">{escape(text)}</text>'
