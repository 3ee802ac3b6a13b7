"""deploy/kubernetes, as far as that can be told without a cluster."""

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from ailb_server.settings import Settings
from ailb_server.telemetry.metrics import Metrics
from tests.shape.sources import REPOSITORY

DIRECTORY = REPOSITORY / "deploy" / "kubernetes"
VERSION = "1.32"


def manifests() -> Iterator[dict[str, Any]]:
    kustomization = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text(encoding="utf-8"))
    for name in kustomization["resources"]:
        yield from yaml.safe_load_all((DIRECTORY / name).read_text(encoding="utf-8"))


MANIFESTS = {f"{m['kind']}/{m['metadata']['name']}": m for m in manifests()}
POD: dict[str, Any] = MANIFESTS["Deployment/ailb"]["spec"]["template"]["spec"]
CONTAINERS = {c["name"]: c for c in (*POD["initContainers"], *POD["containers"])}
CONFIG: dict[str, str] = MANIFESTS["ConfigMap/ailb"]["data"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_it_is_what_kubernetes_takes(name: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], VERSION, strict=True)


def test_every_file_is_applied() -> None:
    kustomization = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text(encoding="utf-8"))
    files = {path.name for path in DIRECTORY.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


def test_every_variable_is_a_setting() -> None:
    fields = {name.upper() for name in Settings.model_fields}
    given = {name for name in CONFIG if name.isupper()} - {"HF_HOME", "AILB_CONFIG"}
    assert given <= fields
    Settings.model_validate({name.lower(): CONFIG[name] for name in given})


def test_a_pod_may_take_as_long_as_it_drains() -> None:
    before = 5
    assert f"sleep({before})" in str(CONTAINERS["ailb"]["lifecycle"])
    drain = float(CONFIG["DRAIN_TIMEOUT_S"])
    assert POD["terminationGracePeriodSeconds"] >= before + drain + 5


def test_ports_are_those_that_are_listened_on() -> None:
    ports = {p["name"]: p["containerPort"] for c in CONTAINERS.values() for p in c.get("ports", ())}
    told = {"http": "HTTP_PORT", "grpc": "GRPC_PORT", "metrics": "METRICS_PORT"}
    assert ports == {name: int(CONFIG[variable]) for name, variable in told.items()}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_have_no_privileges(name: str) -> None:
    context = CONTAINERS[name]["securityContext"]
    assert context["runAsUser"] > 0
    assert not context["allowPrivilegeEscalation"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_envoy_is_started_before_the_server_and_ended_after_it() -> None:
    assert CONTAINERS["envoy"] in POD["initContainers"]
    assert CONTAINERS["envoy"]["restartPolicy"] == "Always"


def test_it_scales_by_a_metric_that_there_is() -> None:
    metrics = MANIFESTS["HorizontalPodAutoscaler/ailb"]["spec"]["metrics"]
    (name,) = [m["pods"]["metric"]["name"] for m in metrics if m["type"] == "Pods"]
    registry: CollectorRegistry = Metrics("m", "1").registry
    assert name in {metric.name for metric in registry.collect()}


def test_envoy_is_the_version_of_the_dockerfile() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert f"FROM {CONTAINERS['envoy']['image']} " in dockerfile
