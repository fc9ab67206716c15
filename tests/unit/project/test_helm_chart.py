"""The Helm chart: lint, Kubernetes' own schemas, and that the processes find what they need."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.support.paths import PROJECT
from vimfed.cli import main
from vimfed.settings import load_settings

CHART = PROJECT / "deploy" / "helm" / "vim-event-federation"
KUBERNETES = ("1.27", "1.33")
OPERATOR_KINDS = {"PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, of which Kubernetes has no schema."""
EVERYTHING = """
settings:
  kafka: {bootstrap: "k1:9092,k2:9092", partitions: 16, username: vimfed}
  dmaap:
    give_up_after: 1000.5
    outputs:
      - {name: onap, url: "kafka://onap:9092/unauthenticated.VIM_VM_EVENTS"}
      - {name: mr.two, url: "http://mr:3904/events/t", format: ves}
  vims: [{cloud_owner: CloudOwner, cloud_region_id: RegionOne}]
  web: {cert_file: /etc/vimfed/secrets/region-one/tls.crt, auth: {allow_anonymous: true}}
  gateway: {allow_anonymous: true}
secretEnv:
  VIMFED_KAFKA__PASSWORD: {name: vimfed-kafka, key: password}
secretFiles: {region-one: nova-region-one}
bridge: {replicas: 2}
publisher: {replicas: 2}
worker: {autoscaling: {enabled: true}, storage: {className: fast}}
gateway: {enabled: true}
networkPolicy:
  enabled: true
  from: [{namespaceSelector: {}}]
  monitoringFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]
monitoring: {podMonitor: true, prometheusRule: true, labels: {release: prometheus}}
podAnnotations: {a: b}
nodeSelector: {disk: ssd}
tolerations: [{operator: Exists}]
"""
(GUIDE,) = re.findall(
    r"```yaml\n(# my-values.yaml\n.*?)```",
    (PROJECT / "docs" / "kubernetes.md").read_text(),
    re.DOTALL,
)
VALUES = {"default": "", "everything": EVERYTHING, "guide": GUIDE}


def helm(*arguments: str, stdin: str = "") -> str:
    own = Path(sys.executable).with_name("helm")
    program = own if own.exists() else shutil.which("helm")
    assert program, "helm is missing: on this machine it must be installed by hand"
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def rendered(values: str, kubernetes: str = KUBERNETES[0]) -> list[dict[str, Any]]:
    options = ("--kube-version", f"{kubernetes}.0", "--values", "-")
    text = helm("template", "r", str(CHART), *options, stdin=VALUES[values])
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(kind: str, values: str = "everything") -> list[dict[str, Any]]:
    return [document for document in rendered(values) if document["kind"] == kind]


def pods(values: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the component and the pod's template of every workload."""
    for kind in ("Deployment", "StatefulSet"):
        for document in of_kind(kind, values):
            template = document["spec"]["template"]
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template


@pytest.mark.parametrize("values", VALUES)
def test_helm_lint_finds_nothing(values: str) -> None:
    told = helm("lint", "--strict", str(CHART), "--values", "-", stdin=VALUES[values])
    assert "1 chart(s) linted, 0 chart(s) failed" in told
    assert "WARNING" not in told


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("values", VALUES)
def test_what_it_renders_is_right_by_kubernetes_schemas(values: str, kubernetes: str) -> None:
    documents = rendered(values, kubernetes)
    for document in documents:
        if document["kind"] not in OPERATOR_KINDS:
            kubernetes_validate.validate(document, kubernetes, strict=True)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)


def test_values_that_are_none_are_refused() -> None:
    with pytest.raises(AssertionError, match="replicas"):
        helm("lint", str(CHART), "--values", "-", stdin="bridge: {replicas: two}")
    with pytest.raises(AssertionError, match="KAFKA_PASSWORD"):
        helm("lint", str(CHART), "--values", "-", stdin="secretEnv: {KAFKA_PASSWORD: {}}")


@pytest.mark.parametrize("values", VALUES)
def test_every_process_can_use_its_settings_and_is_asked_where_it_listens(
    values: str, tmp_path: Path
) -> None:
    (config,) = of_kind("ConfigMap", values)
    file = tmp_path / "vimfed.toml"
    secret = tmp_path / "secret"
    secret.write_text("rabbit://host/")
    text = config["data"]["vimfed.toml"]
    file.write_text(text.replace("/etc/vimfed/secrets/region-one/transport_urls", str(secret)))
    components = dict(pods(values))
    assert {"bridge", "worker"} <= components.keys()
    for template in components.values():
        (container,) = template["spec"]["containers"]
        environment = {one["name"]: one.get("value", "secret") for one in container["env"]}
        environment.pop("POD_NAME", None)
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert ("/etc/vimfed/secrets/region-one" in mounts) == (values != "default")
        settings = load_settings(file, environment)
        assert str(settings.state_dir) == "/var/lib/vimfed"
        command, *options = container["args"]
        assert command in main.commands
        given = dict(zip(options[::2], options[1::2], strict=True))
        section = {"publisher": "dmaap", "worker": "web"}.get(command, command)
        assert getattr(settings, section).host == "0.0.0.0"
        ((port),) = container["ports"]
        assert port["containerPort"] == int(given.get("--port", getattr(settings, section).port))
        scheme = settings.web.scheme.upper() if command == "worker" else "HTTP"
        for probe, path in (
            ("readinessProbe", "/readyz"),
            ("livenessProbe", "/healthz"),
            ("startupProbe", "/healthz"),
        ):
            asked = {"path": path, "port": port["name"], "scheme": scheme}
            assert container[probe]["httpGet"] == asked
        if command == "publisher":
            assert given["--output"] in {output.name for output in settings.outputs()}


def test_there_is_a_publisher_for_each_output() -> None:
    assert [name for name, _ in pods("default") if name.startswith("publisher")] == [
        "publisher-dmaap"
    ]
    assert [name for name, _ in pods("everything") if name.startswith("publisher")] == [
        "publisher-onap",
        "publisher-mr-two",
    ]


def test_workers_keep_their_tables_and_find_each_other_by_the_names_of_their_pods() -> None:
    (worker,) = of_kind("StatefulSet")
    (claim,) = worker["spec"]["volumeClaimTemplates"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/var/lib/vimfed"
    service = worker["spec"]["serviceName"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert environment["VIMFED_WEB__CANONICAL_URL"] == f"https://$(POD_NAME).{service}:6066"
    names = [one["name"] for one in container["env"]]
    assert names.index("POD_NAME") < names.index("VIMFED_WEB__CANONICAL_URL")
    (headless,) = [each for each in of_kind("Service") if each["metadata"]["name"] == service]
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize("values", VALUES)
def test_no_process_may_do_more_than_it_needs(values: str) -> None:
    for _component, template in pods(values):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("values", VALUES)
def test_every_service_and_budget_selects_pods_that_are_there(values: str) -> None:
    labels = [template["metadata"]["labels"].items() for _, template in pods(values)]
    services = [each["spec"]["selector"] for each in of_kind("Service", values)]
    budgets = [
        each["spec"]["selector"]["matchLabels"] for each in of_kind("PodDisruptionBudget", values)
    ]
    for selector in [*services, *budgets]:
        assert len([one for one in labels if selector.items() <= one]) == 1


def test_replicas_follow_the_lag_and_nothing_else_sets_them() -> None:
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    (worker,) = of_kind("StatefulSet")
    assert "replicas" not in worker["spec"]
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "vimfed_worker_lag"
    assert scaler["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert not of_kind("HorizontalPodAutoscaler", "default")


def test_the_operators_prometheus_gets_the_same_rules_and_jobs() -> None:
    (rule,) = of_kind("PrometheusRule")
    prometheus = PROJECT / "deploy" / "prometheus"
    assert rule["spec"] == yaml.safe_load((prometheus / "alerts.yml").read_text())
    (monitor,) = of_kind("PodMonitor")
    jobs = {
        template["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        for _, template in pods("everything")
    }
    scraped = yaml.safe_load((prometheus / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs == {config["job_name"] for config in scraped}
    assert not of_kind("PodMonitor", "default")
