"""The dashboard and the alerts ask for what an instance tells: names, labels, values."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
import yaml

from ailb_server.domain.errors import Reason
from ailb_server.telemetry.instruments import MetricSpec
from docs.generator.every_metric import every_metric
from tests.shape.sources import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
DASHBOARD: dict[str, Any] = json.loads(
    (DEPLOY / "grafana/dashboards/ailb.json").read_text(encoding="utf-8")
)
ALERTS: dict[str, Any] = yaml.safe_load(
    (DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8")
)
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SPECS = {spec.name: spec for spec in every_metric()}
# Of Prometheus itself, and of prometheus_client for the process.
OTHERS = frozenset({"up", "process_cpu_seconds_total", "process_resident_memory_bytes"})
# What Prometheus adds to every series.
ADDED = frozenset({"instance", "job"})
OUTCOMES = frozenset({"ok", "cancelled", *(reason.value.lower() for reason in Reason)})
SAMPLES = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}


def _dashboard_expressions() -> Iterator[str]:
    for panel in PANELS:
        for target in panel["targets"]:
            # Grafana's own variables, which are no PromQL.
            yield re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])


EXPRESSIONS = [*_dashboard_expressions(), *(rule["expr"] for rule in RULES)]


def _walked(expression: str) -> tuple[list[promql.VectorSelector], set[str]]:
    """The selectors of an expression, and the labels that it groups by. Raises ValueError."""
    selectors: list[promql.VectorSelector] = []
    grouped: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, promql.VectorSelector):
            selectors.append(node)
        elif isinstance(node, promql.MatrixSelector):
            selectors.append(node.vector_selector)
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)

    promql.walk(promql.parse(expression), visit)
    return selectors, grouped


def _spec(name: str) -> MetricSpec | None:
    """The metric that a sample's name is of."""
    if name in SPECS and SPECS[name].type not in SAMPLES:
        return SPECS[name]
    for suffix in ("_bucket", "_count", "_sum"):
        spec = SPECS.get(name.removesuffix(suffix))
        if name.endswith(suffix) and spec is not None and suffix in SAMPLES.get(spec.type, ()):
            return spec
    return None


def _labels(name: str) -> frozenset[str]:
    spec = _spec(name)
    own = frozenset(spec.labels) if spec else frozenset[str]()
    return own | ADDED | (frozenset({"le"}) if name.endswith("_bucket") else frozenset())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_exists(expression: str) -> None:
    selectors, grouped = _walked(expression)
    assert selectors
    for selector in selectors:
        name = selector.name or ""
        assert name in OTHERS or _spec(name), name
        for matcher in selector.matchers.matchers:
            assert matcher.name in _labels(name), (name, matcher.name)
    for label in grouped:
        assert any(label in _labels(selector.name or "") for selector in selectors), label


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_values_that_are_asked_for_can_be(expression: str) -> None:
    for selector in _walked(expression)[0]:
        for matcher in selector.matchers.matchers:
            if matcher.name in ("outcome", "reason") and not str(selector.name).startswith(
                ("ailb_rag_", "ailb_memory_", "ailb_embedding_", "ailb_config_")
            ):
                for value in matcher.value.split("|"):
                    assert any(re.fullmatch(value, outcome) for outcome in OUTCOMES), value


def test_a_counter_is_asked_for_its_growth() -> None:
    """A raw counter on a dashboard only ever rises."""
    for expression in EXPRESSIONS:
        for name in re.findall(r"(?<!rate\()(?<!increase\()\b(ailb_\w+_total)\b", expression):
            pytest.fail(f"{name} without rate or increase: {expression}")


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    text = (DEPLOY / "grafana/provisioning/datasource.yml").read_text(encoding="utf-8")
    (source,) = yaml.safe_load(text)["datasources"]
    for panel in PANELS:
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"].endswith(".")


def test_prometheus_reads_the_rules_where_they_are_mounted() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    mounts = compose["services"]["prometheus"]["configs"]
    targets = {mount["source"]: mount["target"] for mount in mounts}
    assert config["rule_files"] == [targets["alerts"]]
    for name, found in compose["configs"].items():
        assert (REPOSITORY / found["file"]).is_file(), name
