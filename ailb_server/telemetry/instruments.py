"""Counters and histograms for the way of every request.

prometheus_client's take a lock and check their arguments: half a microsecond an addition, one and
more an observation. These are of one thread, the loop's; another one may read them meanwhile.
"""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from typing_extensions import override

Child = TypeVar("Child")
_TOTAL = "_total"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric as it is documented. `name` is that of its samples, for a histogram without suffix;
    `type` is Prometheus's: counter, gauge, histogram, summary."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> Metric:
        """Without samples."""
        return Metric(self.name.removesuffix(_TOTAL), self.help, self.type)


class Count:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Adds it."""
        self.value += amount


class Buckets:
    """Observations, counted by upper bounds. `counts` has one more, for what is beyond them."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Adds an observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: "Buckets") -> None:
        """Adds those of another one with the same bounds."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class Mean:
    """Observations, of which only the mean is kept."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Adds an observation."""
        self.count += 1
        self.sum += value


class _Labelled(Collector, Generic[Child]):
    """A metric whose children, one for each set of labels, are made when they are first asked for.
    What bounds the labels is the caller's to say."""

    def __init__(
        self, spec: MetricSpec, make: Callable[[], Child], registry: CollectorRegistry
    ) -> None:
        self.spec = spec
        self._make = make
        self._children: dict[tuple[str, ...], Child] = {}
        if not spec.labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> Child:
        """The child with these values, in the order of the labels' names."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make()
        return child

    def describe(self) -> Iterable[Metric]:
        """See `prometheus_client.registry.Collector`."""
        return [self.spec.family()]

    @override
    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        family = self.spec.family()
        for values, child in list(self._children.items()):
            self._tell(family, dict(zip(self.spec.labels, values, strict=True)), child)
        yield family

    @abstractmethod
    def _tell(self, family: Metric, labels: dict[str, str], child: Child) -> None: ...


class Counter(_Labelled[Count]):
    """A labelled counter; `name` ends with `_total`."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], registry: CollectorRegistry
    ) -> None:
        super().__init__(MetricSpec(name, "counter", text, labels), Count, registry)

    @override
    def _tell(self, family: Metric, labels: dict[str, str], child: Count) -> None:
        family.add_sample(self.spec.name, labels, child.value)


class Summary(_Labelled[Mean]):
    """A labelled sum and count, without quantiles: two series where a histogram has sixteen."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], registry: CollectorRegistry
    ) -> None:
        super().__init__(MetricSpec(name, "summary", text, labels), Mean, registry)

    @override
    def _tell(self, family: Metric, labels: dict[str, str], child: Mean) -> None:
        family.add_sample(f"{self.spec.name}_count", labels, child.count)
        family.add_sample(f"{self.spec.name}_sum", labels, child.sum)


class Histogram(_Labelled[Buckets]):
    """A labelled histogram with the upper bounds `bounds`."""

    def __init__(
        self,
        spec: tuple[str, str, tuple[str, ...]],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        name, text, labels = spec
        self._les = [*map(floatToGoString, bounds), "+Inf"]
        told = MetricSpec(name, "histogram", text, labels)
        super().__init__(told, lambda: Buckets(bounds), registry)

    @override
    def _tell(self, family: Metric, labels: dict[str, str], child: Buckets) -> None:
        name, total = self.spec.name, 0
        for le, total in zip(self._les, accumulate(child.counts), strict=True):
            family.add_sample(f"{name}_bucket", {**labels, "le": le}, total)
        family.add_sample(f"{name}_count", labels, total)
        family.add_sample(f"{name}_sum", labels, child.sum)


# Values by labels, in the order of the labels' names.
Readings = Iterable[tuple[tuple[str, ...], float]]


class Watched(Collector):
    """A gauge or a counter that is asked whenever the metrics are."""

    def __init__(
        self, spec: MetricSpec, read: Callable[[], Readings], registry: CollectorRegistry
    ) -> None:
        self.spec = spec
        self._read = read
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """See `prometheus_client.registry.Collector`."""
        return [self.spec.family()]

    @override
    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        family = self.spec.family()
        for values, value in self._read():
            labels = dict(zip(self.spec.labels, values, strict=True))
            family.add_sample(self.spec.name, labels, value)
        yield family
