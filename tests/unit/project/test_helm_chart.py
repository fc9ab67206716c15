"""The Helm chart: lint, Kubernetes' own schemas, and that the processes find what they need."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.support import helm_chart
from tests.support.helm_chart import CHART, helm, rendered
from tests.support.paths import PROJECT
from vimfed.cli import main
from vimfed.settings import Settings, load_settings, refuse_exposed_secrets
from web.auth.access import refuse_open_door
from web.auth.passwords import hash_password
from web.gateway.access import refuse_open_gateway
from web.gateway.service import gateway_cluster

KUBERNETES = ("1.27", "1.33")
SECRETS = "/etc/vimfed/secrets"
FOREIGN_KINDS = {
    "PodMonitor",
    "ServiceMonitor",
    "PrometheusRule",
    "HTTPRoute",
    "ScaledObject",
    "TriggerAuthentication",
}
"""Kinds of operators, of which Kubernetes has no schema."""
EVERYTHING = """
image: {registry: "registry.example:5000", digest: "sha256:DIGEST"}
settings:
  kafka: {bootstrap: "k1:9092,k2:9193", partitions: 16, username: vimfed}
  dmaap:
    give_up_after: 1000.5
    outputs:
      - name: mr.two
        url: "https://mr:3905/events/t"
        username: u
        password_file: /etc/vimfed/secrets/mr/password
      - name: onap
        url: "kafka://onap:9094/unauthenticated.VIM_VM_EVENTS"
        security_protocol: PLAINTEXT
      - name: metrics
        url: "ves+https://ves:8443/eventListener/v7"
        carries: measurements
  vims:
    - cloud_owner: CloudOwner
      cloud_region_id: RegionOne
      rabbit: {transport_urls_file: /etc/vimfed/secrets/region-one/transport_urls}
      samples:
        telemetry_secret_file: /etc/vimfed/secrets/telemetry/secret
        rabbit: {transport_urls_file: /etc/vimfed/secrets/telemetry/transport_urls}
  filter: {output: onap}
  web:
    cert_file: /etc/vimfed/secrets/tls/tls.crt
    allowed_hosts: [portal.example]
    auth: {keystone: {url: "https://keystone:5001"}}
secretEnv:
  VIMFED_KAFKA__PASSWORD: {name: vimfed-kafka, key: password}
  VIMFED_DMAAP__OUTPUTS__ONAP__PASSWORD: {name: onap, key: password}
  VIMFED_WEB__AUTH__KEYSTONE__USERNAME: {name: keystone, key: user}
  VIMFED_WEB__AUTH__KEYSTONE__PASSWORD: {name: keystone, key: password}
secretFiles:
  region-one: nova-region-one
  telemetry: ceilometer
  tls: workers-tls
  mr: message-router
  kafka-bridge: kafka-bridge
serviceAccount: {name: ours}
bridge:
  replicas: 2
  settings: {kafka: {username: bridge, password_file: /etc/vimfed/secrets/kafka-bridge/password}}
publisher: {replicas: 2}
worker:
  autoscaling: {enabled: true}
  podManagementPolicy: OrderedReady
  storage: {className: fast, retention: {whenDeleted: Delete, whenScaled: Retain}}
  extraEnv: [{name: TZ, value: UTC}]
  extraVolumes: [{name: more, emptyDir: {}}]
  extraVolumeMounts: [{name: more, mountPath: /more}]
  probes: {startup: {failureThreshold: 300}, readiness: {periodSeconds: 2}}
  priorityClassName: first
  affinity: {nodeAffinity: {}}
  podAnnotations: {own: 8080}
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}
msb: {enabled: true}
ingress:
  enabled: true
  className: nginx
  annotations: {size: 1000000}
  hosts: [vims.example]
  tls: [{hosts: [vims.example], secretName: vims}]
httpRoute: {enabled: true, parentRefs: [{name: gateway}], hostnames: [route.example]}
gateway: {enabled: true}
networkPolicy:
  from: [{namespaceSelector: {}}]
  monitoringFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]
monitoring:
  serviceMonitor: true
  prometheusRule: true
  labels: {release: prometheus}
  dashboard: {enabled: true, annotations: {folder: VIMs}}
podAnnotations: {a: b, port: 9102, injected: false, big: 1000000}
podLabels: {tier: 1}
nodeSelector: {disk: ssd}
tolerations: [{operator: Exists}]
""".replace("DIGEST", "0123456789abcdef" * 4)


def documented(file: str) -> str:
    """Return the values that docs/kubernetes.md shows as a file of this name."""
    text = (PROJECT / "docs" / "kubernetes.md").read_text()
    (values,) = re.findall(rf"```yaml\n(# {file}\b.*?)```", text, re.DOTALL)
    return str(values)


VALUES = {
    "default": "",
    "everything": EVERYTHING,
    "guide": documented("my-values.yaml"),
    "kafka with a login": documented("kafka-values.yaml") + documented("keda-values.yaml"),
}


def of_kind(kind: str, values: str = "everything") -> list[dict[str, Any]]:
    return helm_chart.of_kind(kind, rendered(VALUES[values]))


def pods(values: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the component and the pod's template of every workload."""
    return helm_chart.pods(rendered(VALUES[values]))


@pytest.mark.parametrize("values", VALUES)
def test_helm_lint_finds_nothing(values: str) -> None:
    told = helm("lint", "--strict", str(CHART), "--values", "-", stdin=VALUES[values])
    assert "1 chart(s) linted, 0 chart(s) failed" in told
    assert "WARNING" not in told


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("values", VALUES)
def test_what_it_renders_is_right_by_kubernetes_schemas(values: str, kubernetes: str) -> None:
    documents = rendered(VALUES[values], kubernetes)
    for document in documents:
        if document["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(document, kubernetes, strict=True)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)


def test_values_that_are_none_are_refused() -> None:
    with pytest.raises(AssertionError, match="replicas"):
        helm("lint", str(CHART), "--values", "-", stdin="bridge: {replicas: two}")
    with pytest.raises(AssertionError, match="KAFKA_PASSWORD"):
        helm("lint", str(CHART), "--values", "-", stdin="secretEnv: {KAFKA_PASSWORD: {}}")


def settings_in(template: dict[str, Any], values: str, folder: Path) -> Settings:
    """Return what a pod's process makes of what is mounted and given there.

    A file of a Secret is there where the pod mounts the Secret, and nowhere else.
    """
    spec = template["spec"]
    (container,) = spec["containers"]
    (name,) = [each["configMap"]["name"] for each in spec["volumes"] if "configMap" in each]
    (config,) = [each for each in of_kind("ConfigMap", values) if each["metadata"]["name"] == name]
    text = config["data"]["vimfed.toml"].replace(SECRETS, str(folder))
    mounted = [each["mountPath"] for each in container["volumeMounts"]]
    for place in (each for each in mounted if each.startswith(SECRETS)):
        for named in re.findall(rf"{place}/([\w.-]+)\"", config["data"]["vimfed.toml"]):
            file = Path(place.replace(SECRETS, str(folder))) / named
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("rabbit://host/" if named == "transport_urls" else "0123456789abcdef")
    (folder / "vimfed.toml").write_text(text)
    environment = {one["name"]: one.get("value", "secret-0123456789") for one in container["env"]}
    for name in ("POD_NAME", "POD_IP"):
        environment.pop(name, None)
    return load_settings(folder / "vimfed.toml", environment)


@pytest.mark.parametrize("values", VALUES)
def test_every_process_can_use_its_settings_and_is_asked_where_it_listens(
    values: str, tmp_path: Path
) -> None:
    components = dict(pods(values))
    assert {"bridge", "worker"} <= components.keys()
    for component, template in components.items():
        (container,) = template["spec"]["containers"]
        folder = tmp_path / component
        folder.mkdir()
        settings = settings_in(template, values, folder)
        assert str(settings.state_dir) == "/var/lib/vimfed"
        command, *options = container["args"]
        assert command in main.commands
        refuse_exposed_secrets(settings, command)
        if command == "worker":
            refuse_open_door(settings.web)
        if command == "gateway":
            refuse_open_gateway(settings)
        given = dict(zip(options[::2], options[1::2], strict=True))
        section = getattr(settings, {"publisher": "dmaap", "worker": "web"}.get(command, command))
        assert section.host == "0.0.0.0"
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if command in ("worker", "gateway"):
            assert ports == {"http": section.port, "monitoring": section.monitoring_port}
        else:
            assert ports == {"monitoring": int(given.get("--port", section.port))}
        for probe, path in (
            ("readinessProbe", "/readyz"),
            ("livenessProbe", "/healthz"),
            ("startupProbe", "/healthz"),
        ):
            assert container[probe]["httpGet"] == {"path": path, "port": "monitoring"}
        if command == "publisher":
            assert given["--output"] in {output.name for output in settings.outputs()}


def test_each_pod_has_the_secrets_and_the_settings_of_its_process_alone(tmp_path: Path) -> None:
    has: dict[str, tuple[set[str], set[str]]] = {}
    found: dict[str, Settings] = {}
    for component, template in pods("everything"):
        (container,) = template["spec"]["containers"]
        mounted = {
            volume["secret"]["secretName"]
            for volume in template["spec"]["volumes"]
            if "secret" in volume
        }
        named = {
            one["valueFrom"]["secretKeyRef"]["name"]
            for one in container["env"]
            if "secretKeyRef" in one.get("valueFrom", {})
        }
        has[component] = mounted, named
        (tmp_path / component).mkdir()
        found[component] = settings_in(template, "everything", tmp_path / component)
    login = "r-vim-event-federation-{}-login".format
    assert has == {
        "bridge": (
            {"nova-region-one", "ceilometer", "kafka-bridge"},
            set(),
        ),  # has a Kafka user of its own
        "worker": ({"workers-tls", login("worker")}, {"vimfed-kafka", "keystone"}),
        "publisher-onap": (set(), {"vimfed-kafka", "onap"}),
        "publisher-mr-two": ({"message-router"}, {"vimfed-kafka"}),
        "publisher-metrics": (set(), {"vimfed-kafka"}),
        "gateway": ({login("gateway")}, {"vimfed-kafka", "onap"}),
    }
    assert {name: each.kafka.username for name, each in found.items()} == {
        "bridge": "bridge",
        **dict.fromkeys(has.keys() - {"bridge"}, "vimfed"),
    }
    worker, gateway = found["worker"], found["gateway"]
    assert [each.vim_id for each in worker.vims] == ["CloudOwner_RegionOne"]
    assert {each.name: each.carries for each in worker.outputs()} == {
        "mr.two": "events",
        "onap": "events",
        "metrics": "measurements",
    }
    assert worker.takes_samples
    assert not worker.vims[0].samples.rabbit.is_used
    (metrics,) = [each for each in found["publisher-metrics"].outputs() if each.name == "metrics"]
    assert metrics.carries == "measurements"
    assert gateway_cluster(gateway).bootstrap == "onap:9094"
    assert "portal.example" in gateway.web.allowed_hosts
    assert not gateway.vims


def test_each_section_of_the_settings_is_some_processes() -> None:
    template = (CHART / "templates" / "_settings.tpl").read_text()
    given = re.findall(r'"(?:bridge|worker|publisher|gateway)" \(list (.*?)\)', template)
    sections = {name for each in given for name in re.findall(r"\w+", each)}
    assert sections == set(Settings.__struct_fields__) - {"state_dir"}


def test_there_is_a_publisher_for_each_output() -> None:
    assert [name for name, _ in pods("default") if name.startswith("publisher")] == [
        "publisher-dmaap"
    ]
    assert [name for name, _ in pods("everything") if name.startswith("publisher")] == [
        "publisher-mr-two",
        "publisher-onap",
        "publisher-metrics",
    ]


def test_workers_keep_their_tables_and_have_names_of_their_own() -> None:
    (worker,) = of_kind("StatefulSet")
    (claim,) = worker["spec"]["volumeClaimTemplates"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/var/lib/vimfed"
    service = worker["spec"]["serviceName"]
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


def test_an_image_can_be_named_by_its_digest() -> None:
    digest = "0123456789abcdef" * 4
    images = {
        values: {template["spec"]["containers"][0]["image"] for _, template in pods(values)}
        for values in ("default", "everything")
    }
    assert images == {
        "default": {"vimfed:0.1.0"},
        "everything": {f"registry.example:5000/vimfed@sha256:{digest}"},
    }


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ("networkPolcy: {enabled: true}", "networkPolcy"),
        ("image: {digest: latest}", "digest"),
        ("settings: {kafak: {bootstrap: 'k:1'}}", "Additional property kafak is not allowed"),
        ("settings: {kafka: {password: x}}", "settings: password would be readable in a ConfigMap"),
        ("settings: {web: {auth: {peer_secret: x}}}", "settings: peer_secret would be readable"),
        (
            "settings: {vims: [{samples: {telemetry_secret: x}}]}",
            "settings: telemetry_secret would be readable",
        ),
        (
            "settings: {vims: [{samples: {prometheus: {bearer_token: x}}}]}",
            "settings: bearer_token would be readable",
        ),
        (
            "settings: {vims: [{rabbit: {transport_urls: ['rabbit://u:p@h/']}}]}",
            "the passwords in transport_urls would be readable",
        ),
        ("secretFiles: {nova: nova}", "secretFiles.nova: no settings name a file below"),
        ("secretFiles: {login: mine}", "login"),
        ("monitoring: {podMonitor: true}", "say from where Prometheus comes"),
    ],
)
def test_what_would_be_open_or_without_effect_is_refused(values: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        helm("template", "r", str(CHART), "--values", "-", stdin=values)


def test_a_password_may_stand_as_its_hash() -> None:
    user = f"{{name: one, password: '{hash_password('secret')}'}}"
    values = f"settings: {{web: {{auth: {{users: [{user}]}}}}}}"
    (config,) = [
        each
        for each in helm_chart.of_kind("ConfigMap", rendered(values))
        if each["metadata"]["name"].endswith("-worker")
    ]
    assert "scrypt$" in config["data"]["vimfed.toml"]
    assert "operator" not in config["data"]["vimfed.toml"]
    (secret,) = helm_chart.of_kind("Secret", rendered(values))
    assert list(secret["data"]) == ["peer-secret"]


def test_logins_of_the_clusters_own_are_used_instead_of_made_ones() -> None:
    values = "worker: {login: {name: me, existingSecret: ours}}"
    documents = rendered(values)
    assert not helm_chart.of_kind("Secret", documents)
    mounted = str(dict(helm_chart.pods(documents))["worker"]["spec"]["volumes"])
    assert "'secretName': 'ours'" in mounted


def test_made_logins_are_random_and_differ() -> None:
    made = [
        base64.b64decode(value)
        for document in helm_chart.of_kind("Secret", rendered("gateway: {enabled: true}"))
        for value in document["data"].values()
    ]
    assert len(made) == len(set(made)) == 3
    assert {len(each) for each in made} == {32}


def test_made_logins_are_kept_over_upgrades() -> None:
    kept = {"password": "a2VwdA==", "peer-secret": "b2xk"}
    there = {("Secret", "r-vim-event-federation-worker-login"): {"data": kept}}
    documents = helm_chart.upgraded("gateway: {enabled: true}", there, "secret.yaml")
    made = {each["metadata"]["name"]: each["data"] for each in documents}
    assert made["r-vim-event-federation-worker-login"] == kept
    (new,) = made["r-vim-event-federation-gateway-login"].values()
    assert len(base64.b64decode(new)) == 32


def test_what_is_told_after_the_installation_leads_to_the_logins(tmp_path: Path) -> None:
    values = "gateway: {enabled: true, login: {name: sdc, existingSecret: ours}}"
    told = helm_chart.notes(values, tmp_path)
    read = "{}:\n\n  kubectl -n default get secret {} -o jsonpath='{{.data.password}}'".format
    assert read("user, operator", "r-vim-event-federation-worker-login") in told
    assert read("user, sdc", "ours") in told
    assert "WARNING" not in told
