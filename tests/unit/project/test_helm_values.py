"""What can be said in the chart's values, and what is refused before anything is installed."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from click.testing import CliRunner

from tests.support.helm_chart import CHART, Document, of_kind, pods, rendered
from tests.support.paths import PROJECT
from tests.unit.project.test_helm_chart import EVERYTHING
from vimfed.cli import main
from vimfed.process.ports import own_url
from vimfed.settings import load_settings

NAME = "r-vim-event-federation"
SECRETS = "/etc/vimfed/secrets"


def test_what_is_made_of_the_settings_and_of_the_values_is_in_step() -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "deploy" / "helm" / "chart_files.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_value_has_a_text() -> None:
    rows = re.findall(
        r"^\| `([\w.]+)` \| .* \| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE
    )
    said = {key for key, text in rows if text}
    top = yaml.safe_load((CHART / "values.yaml").read_text()).keys()
    assert {key.partition(".")[0] for key in said} == top
    assert len(rows) > 80


def test_unknown_keys_are_refused_at_every_depth() -> None:
    """Helm tells all of them at once."""
    values = """
unknown-0: 1
image: {unknown-1: 1}
settings:
  unknown-2: 1
  kafka: {unknown-3: 1, retention: {unknown-4: 1}}
  vims: [{unknown-5: 1, poll: {unknown-6: 1}}]
  web: {auth: {keystone: {unknown-7: 1}, users: [{unknown-8: 1}]}}
bridge: {unknown-9: 1, settings: {bridge: {unknown-10: 1}}, resources: {unknown-11: 1}}
worker: {storage: {unknown-12: 1}, autoscaling: {unknown-13: 1}, probes: {startup: {unknown-14: 1}}}
publisher: {unknown-15: 1}
gateway: {login: {unknown-16: 1}, tolerations: [{unknown-17: 1}]}
service: {unknown-18: 1}
ingress: {unknown-19: 1}
check: {unknown-20: 1}
monitoring: {unknown-21: 1, dashboard: {unknown-22: 1}}
networkPolicy: {from: [{unknown-23: 1}], egress: {dns: {unknown-24: 1}}}
podSecurityContext: {unknown-25: 1}
"""
    with pytest.raises(AssertionError) as refused:
        rendered(values)
    told = set(re.findall(r"Additional property (unknown-\d+) is not allowed", str(refused.value)))
    assert told == {f"unknown-{number}" for number in range(26)}


def test_values_of_settings_are_those_that_the_settings_take() -> None:
    values = """
settings:
  kafka: {partitions: 0, security_protocol: TLS}
  vims: [{cloud_owner: "", cloud_region_id: B}]
  worker: {store: disk}
  log: {level: LOUD}
"""
    with pytest.raises(AssertionError) as refused:
        rendered(values)
    told = set(re.findall(r"- (settings\.[\w.]+)", str(refused.value)))
    assert {each.rstrip(".") for each in told} == {
        "settings.kafka.partitions",
        "settings.kafka.security_protocol",
        "settings.vims.0.cloud_owner",
        "settings.worker.store",
        "settings.log.level",
    }


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (("a.b", "a-b"), "a.b and a-b would both be r-vim-event-federation-publisher-a-b"),
        (("Mr", "mr"), "Mr and mr would both be"),
        (("x" * 60 + "1", "x" * 60 + "2"), "would both be r-vim-event-federation-publisher-xxx"),
    ],
)
def test_outputs_that_would_have_one_name_are_refused(outputs: tuple[str, str], names: str) -> None:
    listed = [{"name": name, "url": "https://mr/events/t"} for name in outputs]
    with pytest.raises(AssertionError, match=re.escape(names)):
        rendered(yaml.safe_dump({"settings": {"dmaap": {"outputs": listed}}}))


@pytest.mark.parametrize(
    ("values", "prefix", "enable_ssl"),
    [
        ("", "/api/multicloud", False),
        (
            "settings: {web: {prefix: /api/own, cert_file: /etc/vimfed/secrets/tls/pem}}\n"
            "secretFiles: {tls: tls}\n",
            "/api/own",
            True,
        ),
    ],
)
def test_the_workers_are_announced_to_onaps_bus_where_that_is_said(
    values: str, prefix: str, enable_ssl: bool
) -> None:
    name = "msb.onap.org/service-info"
    values += "service: {annotations: {own: 1}}\n"
    told = {}
    for more in ("", "msb: {enabled: true, serviceName: multicloud-own}"):
        told[more] = {
            each["metadata"]["name"]: each["metadata"].get("annotations", {})
            for each in of_kind("Service", rendered(values + more))
        }
    without, announced = told.values()
    assert not any(name in annotations for annotations in without.values())
    assert [each for each, annotations in announced.items() if name in annotations] == [NAME]
    assert announced[NAME]["own"] == "1"
    assert json.loads(announced[NAME][name]) == [
        {
            "serviceName": "multicloud-own",
            "version": version,
            "url": f"{prefix}/{version}",
            "protocol": "REST",
            "port": "6066",
            "enable_ssl": enable_ssl,
            "visualRange": "1",
        }
        for version in ("v0", "v1")
    ]


def test_annotations_and_labels_are_texts_whatever_yaml_takes_them_for() -> None:
    for component, template in pods(rendered(EVERYTHING)):
        annotations = template["metadata"]["annotations"]
        expected = {"a": "b", "port": "9102", "injected": "false", "big": "1000000"}
        assert {key: annotations.get(key) for key in expected} == expected
        assert annotations.get("own") == ("8080" if component == "worker" else None)
        assert template["metadata"]["labels"]["tier"] == "1"


def test_names_can_be_ones_own() -> None:
    renamed = rendered("fullnameOverride: vims\nnameOverride: federation\nmonitoring: {}")
    names = [each["metadata"]["name"] for each in renamed]
    assert all(re.match(r"vims(-|$)", name) for name in names)
    labels = {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in renamed}
    assert labels == {"federation"}
    (workers,) = of_kind("StatefulSet", renamed)
    assert workers["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == "federation"


def test_openshift_gives_the_user_itself() -> None:
    nobody = "podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}"
    documents = rendered(nobody)
    specs = [template["spec"] for _, template in pods(documents)]
    specs += [each["spec"]["template"]["spec"] for each in of_kind("Job", documents)]
    specs += [each["spec"] for each in of_kind("Pod", documents)]
    assert len(specs) == 5
    for spec in specs:
        assert spec["securityContext"].keys() == {
            "runAsNonRoot",
            "fsGroupChangePolicy",
            "seccompProfile",
        }


def worker(values: str = EVERYTHING) -> Document:
    found: Document = dict(pods(rendered(values)))["worker"]["spec"]
    return found


def test_a_component_can_be_placed_and_probed_and_extended_for_itself() -> None:
    spec = worker()
    (container,) = spec["containers"]
    assert container["startupProbe"] == {
        "httpGet": {"path": "/healthz", "port": "monitoring"},
        "timeoutSeconds": 5,
        "periodSeconds": 2,
        "failureThreshold": 300,
    }
    assert container["readinessProbe"]["periodSeconds"] == 2
    assert container["env"][-1] == {"name": "TZ", "value": "UTC"}
    assert container["volumeMounts"][-1] == {"name": "more", "mountPath": "/more"}
    assert spec["volumes"][-1] == {"name": "more", "emptyDir": {}}
    assert spec["priorityClassName"] == "first"
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert [each["topologyKey"] for each in spec["topologySpreadConstraints"]] == ["zone"]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    bridge = dict(pods(rendered(EVERYTHING)))["bridge"]["spec"]
    assert "affinity" not in bridge
    assert [each["topologyKey"] for each in bridge["topologySpreadConstraints"]] == [
        "kubernetes.io/hostname"
    ]


def test_volumes_can_go_with_the_workers() -> None:
    for values, retention in (
        ("", {"whenDeleted": "Retain", "whenScaled": "Retain"}),
        (EVERYTHING, {"whenDeleted": "Delete", "whenScaled": "Retain"}),
    ):
        (workers,) = of_kind("StatefulSet", rendered(values))
        assert workers["spec"]["persistentVolumeClaimRetentionPolicy"] == retention


def test_workers_answer_by_the_names_by_which_routes_reach_them() -> None:
    documents = rendered(EVERYTHING)
    (ingress,), (route,) = of_kind("Ingress", documents), of_kind("HTTPRoute", documents)
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["vims.example"]
    assert route["spec"]["hostnames"] == ["route.example"]
    (config,) = [
        each["data"]["vimfed.toml"]
        for each in of_kind("ConfigMap", documents)
        if each["metadata"]["name"] == f"{NAME}-worker"
    ]
    for name in ("portal.example", "vims.example", "route.example"):
        assert f'"{name}"' in config


def test_each_process_is_scraped_once_under_the_job_that_alerts_know() -> None:
    documents = rendered(EVERYTHING)
    (monitor,) = of_kind("ServiceMonitor", documents)
    selector = monitor["spec"]["selector"]
    assert monitor["spec"]["jobLabel"] == "vimfed/job"
    found = {}
    for service in of_kind("Service", documents):
        labels = service["metadata"]["labels"]
        if selector["matchLabels"].items() <= labels.items() and "vimfed/job" in labels:
            (port,) = service["spec"]["ports"]
            found[service["spec"]["selector"]["app.kubernetes.io/component"]] = port["port"]
    ports = {
        component: template["spec"]["containers"][0] for component, template in pods(documents)
    }
    assert found == {
        component: next(
            port["containerPort"] for port in one["ports"] if port["name"] == "monitoring"
        )
        for component, one in ports.items()
    }
    with pytest.raises(AssertionError, match="would scrape everything twice"):
        rendered(
            EVERYTHING.replace("serviceMonitor: true", "serviceMonitor: true\n  podMonitor: true")
        )


GAUGES_OF_VMS = """
settings:
  metrics: {vm_gauges: true}
  web: {prefix: /vims}
monitoring: {podMonitor: true, vms: {enabled: true, tokenSecret: {name: vm-gauges}}}
networkPolicy: {monitoringFrom: [{podSelector: {matchLabels: {app: prometheus}}}]}
"""


def test_the_gauges_of_vms_are_scraped_at_each_worker_with_a_login() -> None:
    documents = rendered(GAUGES_OF_VMS)
    (monitor,) = [
        each
        for each in of_kind("PodMonitor", documents)
        if each["metadata"]["name"].endswith("-vms")
    ]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == "/vims/v1/metrics/vms"
    assert endpoint["scheme"] == "http"
    assert endpoint["params"] == {"meter": ["cpu_util", "memory_util"]}
    assert endpoint["authorization"] == {"credentials": {"name": "vm-gauges", "key": "token"}}
    templates = dict(pods(documents))
    labels = templates["worker"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    ports = {
        port["name"]: port["containerPort"]
        for port in templates["worker"]["spec"]["containers"][0]["ports"]
    }
    assert endpoint["port"] in ports
    # Prometheus is let in there, and at the workers alone.
    let_in = {
        policy["metadata"]["name"].rpartition("-")[2]: [
            port["port"]
            for rule in policy["spec"]["ingress"]
            if {"podSelector": {"matchLabels": {"app": "prometheus"}}} in rule["from"]
            for port in rule["ports"]
        ]
        for policy in of_kind("NetworkPolicy", documents)
    }
    assert let_in["worker"] == [ports["monitoring"], ports["http"]]
    assert let_in["bridge"] == [6065]


@pytest.mark.parametrize(
    ("left_out", "complaint"),
    [
        ("metrics: {vm_gauges: true}", "scrapes nothing without settings.metrics.vm_gauges"),
        (", tokenSecret: {name: vm-gauges}", "name the Secret with the token of a login"),
        (
            "networkPolicy: {monitoringFrom: [{podSelector: {matchLabels: {app: prometheus}}}]}",
            "say from where Prometheus comes",
        ),
    ],
)
def test_gauges_of_vms_that_nobody_could_scrape_are_refused(left_out: str, complaint: str) -> None:
    assert left_out in GAUGES_OF_VMS
    with pytest.raises(AssertionError, match=complaint):
        rendered(GAUGES_OF_VMS.replace(left_out, ""))


def test_the_dashboard_is_grafanas() -> None:
    (config,) = [
        each
        for each in of_kind("ConfigMap", rendered(EVERYTHING))
        if each["metadata"]["name"].endswith("-dashboard")
    ]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = config["data"].values()
    grafana = PROJECT / "deploy" / "grafana" / "vim-event-federation.json"
    assert json.loads(text) == json.loads(grafana.read_text())


def test_the_chart_says_who_made_it_and_has_the_icon_of_the_pages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["maintainers"]
    icon = base64.b64decode(chart["icon"].removeprefix("data:image/svg+xml;base64,"))
    assert icon == (PROJECT / "web" / "static" / "icon.svg").read_bytes()


def materialised(
    container: Document, spec: Document, config: str, folder: Path
) -> tuple[Path, dict[str, str]]:
    """Write a container's settings and Secrets below a folder; return its settings and environment.

    Volumes are Secrets, of which each file holds what is right there, or the hook's own texts.
    """
    authority = trustme.CA()
    folder.mkdir()
    (folder / "vimfed.toml").write_text(config.replace(SECRETS, str(folder)))
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in container["volumeMounts"]:
        place = mount["mountPath"]
        if not place.startswith(SECRETS):
            continue
        at = Path(place.replace(SECRETS, str(folder)))
        at.mkdir(parents=True)
        texts = {
            "tls.crt": authority.issue_cert("w").private_key_and_cert_chain_pem.bytes().decode(),
            "transport_urls": "rabbit://nova:secret@rabbit:5672/",
        }
        for named in re.findall(rf"{place}/([\w.-]+)\"", config):
            (at / named).write_text(texts.get(named, "0123456789abcdef"))
        items = volumes[mount["name"]].get("configMap", {}).get("items", [])
        assert {item["path"] for item in items} in (set(), {"password", "peer-secret"})
    given = {one["name"]: one.get("value", "secret-0123456789") for one in container["env"]}
    return folder / "vimfed.toml", {k: v for k, v in given.items() if k.startswith("VIMFED_")}


def checked(
    values: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[int, str]]:
    """Return how each process's container of the hook would end, and what it would print."""
    documents = rendered(values)
    (job,) = of_kind("Job", documents)
    spec = job["spec"]["template"]["spec"]
    (config,) = [
        each
        for each in of_kind("ConfigMap", documents)
        if each["metadata"]["name"] == f"{NAME}-check"
    ]
    told = {}
    for container in spec["containers"]:
        component = container["name"]
        text = config["data"][f"{component}.toml"]
        file, environment = materialised(container, spec, text, folder / component)
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            done = CliRunner().invoke(main, ["--config", str(file), *container["args"]])
        told[component] = done.exit_code, done.output
    return told


def test_settings_are_looked_at_before_anything_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = rendered(EVERYTHING)
    hooks = {
        each["kind"]: each["metadata"]["annotations"]
        for each in documents
        if each["metadata"]["name"] == f"{NAME}-check"
    }
    assert hooks.keys() == {"ConfigMap", "Job"}
    for annotations in hooks.values():
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(hooks["ConfigMap"]["helm.sh/hook-weight"]) < 0
    told = checked(EVERYTHING, tmp_path, monkeypatch)
    assert told.keys() == dict(pods(documents)).keys()
    assert {component: code for component, (code, _) in told.items()} == dict.fromkeys(told, 0), (
        told
    )


def test_a_setting_with_which_a_process_would_not_start_ends_the_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "settings: {filter: {kinds: [BOOM]}, vims: [{cloud_owner: A, cloud_region_id: B}]}"
    told = checked(wrong, tmp_path, monkeypatch)
    codes = {component: code for component, (code, _) in told.items()}
    assert codes == {"bridge": 0, "worker": 2, "publisher-dmaap": 2}
    assert "BOOM" in told["worker"][1]


def test_the_check_can_try_all_connections_or_be_left_out() -> None:
    (job,) = of_kind("Job", rendered("check: {connections: true}"))
    containers = job["spec"]["template"]["spec"]["containers"]
    assert [each["args"] for each in containers] == [
        ["check", "--process", process] for process in ("bridge", "worker", "publisher")
    ]
    assert not of_kind("Job", rendered("check: {enabled: false}"))


@pytest.mark.parametrize("values", ["", EVERYTHING])
def test_helm_test_asks_the_service_as_the_settings_user(values: str, tmp_path: Path) -> None:
    documents = rendered(values)
    (pod,) = of_kind("Pod", documents)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    kept = pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert kept == "before-hook-creation"  # helm test --logs reads it when it is done
    (container,) = pod["spec"]["containers"]
    (name,) = [each["configMap"]["name"] for each in pod["spec"]["volumes"] if "configMap" in each]
    assert name == f"{NAME}-worker"
    (config,) = [
        each for each in of_kind("ConfigMap", documents) if each["metadata"]["name"] == name
    ]
    text = config["data"]["vimfed.toml"]
    file, environment = materialised(container, pod["spec"], text, tmp_path / "pod")
    web = load_settings(file, environment).web
    scheme = "https" if values else "http"
    assert own_url(web.host, web.port, web.scheme) == f"{scheme}://{NAME}.default.svc:6066"
    if values:  # Keystone's users alone
        assert container["command"][-2] == f"https://{NAME}.default.svc:6066/readyz"
        compile(container["command"][2], "answers.yaml", "exec")
    else:
        assert container["args"] == ["status", "--once"]
        assert web.auth.users[0].password


def test_the_last_words_of_every_container_are_kept() -> None:
    documents = rendered(EVERYTHING)
    specs = [template["spec"] for _, template in pods(documents)]
    specs += [each["spec"]["template"]["spec"] for each in of_kind("Job", documents)]
    specs += [each["spec"] for each in of_kind("Pod", documents)]
    policies = {
        container["terminationMessagePolicy"] for spec in specs for container in spec["containers"]
    }
    assert policies == {"FallbackToLogsOnError"}


def addresses() -> dict[str, str]:
    (container,) = worker()["containers"]
    given: dict[str, Any] = {each["name"]: each.get("value") for each in container["env"]}
    return dict(each.split("=") for each in given["VIMFED_STATUS_AT"].split())


def test_status_in_a_worker_finds_the_other_processes() -> None:
    documents = rendered(EVERYTHING)
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind("Service", documents)}
    components = {
        "bridge": "bridge",
        "publisher.mr.two": "publisher-mr-two",
        "publisher.onap": "publisher-onap",
        "publisher.metrics": "publisher-metrics",
        "gateway": "gateway",
    }
    assert addresses().keys() == components.keys()
    for process, url in addresses().items():
        match = re.fullmatch(r"http://([\w-]+)\.default\.svc:(\d+)", url)
        assert match, url
        service = services[match[1]]
        assert service["selector"]["app.kubernetes.io/component"] == components[process]
        assert [port["port"] for port in service["ports"]] == [int(match[2])]
        assert service["publishNotReadyAddresses"] is True


def test_who_traces_may_reach_the_collector() -> None:
    def reaching(values: str) -> set[str]:
        return {
            policy["metadata"]["name"].removeprefix(f"{NAME}-")
            for policy in of_kind("NetworkPolicy", rendered(values))
            for rule in policy["spec"]["egress"]
            if {"port": 4318, "protocol": "TCP"} in rule["ports"]
        }

    assert reaching("settings: {tracing: {enabled: true}}\ngateway: {enabled: true}") == {
        "bridge",
        "worker",
        "publisher-dmaap",
    }
    assert not reaching("")


def test_policies_let_workers_ask_how_the_others_are() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in of_kind("NetworkPolicy", rendered(EVERYTHING))
    }
    out = {port["port"] for rule in policies[f"{NAME}-worker"]["egress"] for port in rule["ports"]}
    for component, port in (("bridge", 6065), ("publisher-onap", 6070), ("gateway", 3966)):
        assert port in out
        askers = {
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            for rule in policies[f"{NAME}-{component}"]["ingress"]
            if [each["port"] for each in rule["ports"]] == [port]
            for peer in rule["from"]
            if "podSelector" in peer
        }
        assert askers == {"worker", "test"}
