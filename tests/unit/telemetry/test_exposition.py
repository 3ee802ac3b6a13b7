"""The exposition as `promtool check metrics` would have it, its size, and what it costs."""

import re
import time
from collections import Counter

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.request_metrics import MAX_PROVIDER_LABELS, MAX_TARGET_LABELS
from docs.generator.every_metric import every_metric
from tests.support.metrics import busy

MAX_SERIES = 1_000
# Prometheus's base units, https://prometheus.io/docs/practices/naming/, and words that hide others.
NO_BASE_UNITS = re.compile(
    r"_(milli|micro|nano|kilo|mega|giga|kibi|mebi)|_(ms|us|ns|minutes|hours|days|kb|mb|gb|percent)(_|$)"
)
NAME = re.compile(r"[a-z][a-z0-9_]*")
LABEL = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = frozenset({"le", "quantile", "instance", "job"})


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return busy(MAX_PROVIDER_LABELS, MAX_TARGET_LABELS // MAX_PROVIDER_LABELS)


@pytest.fixture(scope="module")
def families(metrics: Metrics) -> list[Metric]:
    return list(text_string_to_metric_families(metrics.exposition().decode()))


def _own(families: list[Metric]) -> list[Metric]:
    return [family for family in families if family.name.startswith("ailb_")]


def test_every_family_has_help_and_a_type_once(metrics: Metrics) -> None:
    lines = metrics.exposition().decode().splitlines()
    for word in ("HELP", "TYPE"):
        names = Counter(line.split()[2] for line in lines if line.startswith(f"# {word} "))
        assert set(names.values()) == {1}
    assert "untyped" not in {line.split()[3] for line in lines if line.startswith("# TYPE")}


def test_help_is_a_sentence(families: list[Metric]) -> None:
    for family in _own(families):
        assert family.documentation.endswith("."), family.name


def test_names_are_in_base_units_and_say_what_they_are(families: list[Metric]) -> None:
    for family in _own(families):
        assert NAME.fullmatch(family.name)
        assert not NO_BASE_UNITS.search(family.name), family.name
        samples = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert samples <= {f"{family.name}_total"}
        elif family.type == "gauge":
            assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        else:
            assert family.name.endswith("_seconds"), family.name


def test_labels_are_allowed_ones(families: list[Metric]) -> None:
    for family in _own(families):
        for sample in family.samples:
            names = set(sample.labels)
            assert all(LABEL.fullmatch(name) for name in names)
            special = {"le"} if sample.name.endswith("_bucket") else set()
            assert names & RESERVED == special, sample


def test_no_series_is_told_twice(families: list[Metric]) -> None:
    series = [(s.name, frozenset(s.labels.items())) for f in families for s in f.samples]
    assert len(series) == len(set(series))


def test_a_histograms_buckets_are_cumulative_and_end_with_all(families: list[Metric]) -> None:
    for family in _own(families):
        if family.type == "histogram":
            for samples in _by_labels(family.samples).values():
                counts = [s.value for s in samples if s.name.endswith("_bucket")]
                (total,) = (s.value for s in samples if s.name.endswith("_count"))
                assert counts == sorted(counts)
                assert counts[-1] == total


def _by_labels(samples: list[Sample]) -> dict[frozenset[tuple[str, str]], list[Sample]]:
    found: dict[frozenset[tuple[str, str]], list[Sample]] = {}
    for sample in samples:
        rest = frozenset((k, v) for k, v in sample.labels.items() if k != "le")
        found.setdefault(rest, []).append(sample)
    return found


@pytest.mark.parametrize(("providers", "models"), [(1, 5), (3, 10), (6, 3), (40, 40)])
def test_however_many_models_there_are_the_series_are_below_a_thousand(
    providers: int, models: int
) -> None:
    text = busy(providers, models).exposition().decode()
    series = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(series) <= MAX_SERIES


def test_what_is_told_is_what_is_documented(families: list[Metric]) -> None:
    documented = {spec.name: spec for spec in every_metric()}
    for family in _own(families):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        spec = documented[name]
        assert (spec.type, spec.help) == (family.type, family.documentation)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(spec.labels)


def test_it_is_told_within_twenty_milliseconds(metrics: Metrics) -> None:
    metrics.exposition()

    def took() -> float:
        began = time.thread_time()
        metrics.exposition()
        return time.thread_time() - began

    # Of processor time, and the best of some: what others do on this machine is not ours.
    assert min(took() for _ in range(5)) < 0.02
