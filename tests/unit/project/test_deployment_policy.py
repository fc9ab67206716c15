"""The chart as it is shipped keeps the policy, and the policy sees what would break it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml

from tests.support.deployment_policy import Pod, violations
from tests.support.helm_chart import CHART, Document, of_kind, pods, rendered

GATEWAY = "gateway: {enabled: true}"
SHIPPED = ("", GATEWAY)
"""The values' defaults, and with the one component that they leave out."""


@pytest.mark.parametrize("values", SHIPPED)
def test_the_chart_as_shipped_keeps_the_policy(values: str) -> None:
    documents = rendered(values)
    assert {"bridge", "worker", "publisher-dmaap"} <= dict(pods(documents)).keys()
    assert violations(documents) == []


def test_no_address_of_a_service_leads_to_metrics() -> None:
    ports = [
        (port["port"], port["targetPort"])
        for service in of_kind("Service", rendered(GATEWAY))
        if service["spec"].get("clusterIP") != "None"
        for port in service["spec"]["ports"]
    ]
    assert sorted(set(ports)) == [(3904, "http"), (6066, "http")]


def test_values_tell_what_they_would_open() -> None:
    """What an operator can say in values is seen by the policy as well."""
    values = """
settings: {web: {auth: {allow_anonymous: true}}}
networkPolicy: {enabled: false}
"""
    told = violations(rendered(values))
    assert "worker: web lets everybody in" in told
    assert "worker: web is open at 0.0.0.0 without a login" in told
    assert "bridge: no NetworkPolicy for what comes in and goes out" in told


def worker_of(documents: Sequence[Document]) -> Document:
    found: Document = dict(pods(documents))["worker"]["spec"]
    return found


def _container(documents: Sequence[Document]) -> Document:
    (container,) = worker_of(documents)["containers"]
    found: Document = container
    return found


def _policy(documents: Sequence[Document]) -> Document:
    found: Document = next(
        each["spec"]
        for each in of_kind("NetworkPolicy", documents)
        if each["metadata"]["name"].endswith("-worker")
    )
    return found


def _share_a_secret(documents: Sequence[Document]) -> None:
    for _, template in pods(documents):
        template["spec"]["volumes"].append({"name": "all", "secret": {"secretName": "all"}})


BREACHES: dict[str, Callable[[Sequence[Document]], Any]] = {
    "worker: web lets everybody in": lambda all_: _container(all_)["env"].append(
        {"name": "VIMFED_WEB__AUTH__ALLOW_ANONYMOUS", "value": "true"}
    ),
    "worker: a rule lets everybody in, or to every port": lambda all_: _policy(all_)[
        "ingress"
    ].append({"ports": [{"port": 6066}]}),
    "worker: a rule does not tell the API from the metrics": lambda all_: _policy(all_)["ingress"][
        0
    ]["ports"].append({"port": 6166}),
    "worker: a rule lets it go out by every port": lambda all_: _policy(all_)["egress"].append(
        {"to": [{"podSelector": {}}]}
    ),
    "worker: no account of its own": lambda all_: worker_of(all_).pop("serviceAccountName"),
    "worker: its account mounts a token": lambda all_: of_kind("ServiceAccount", all_)[0].pop(
        "automountServiceAccountToken"
    ),
    "worker: it mounts a token": lambda all_: worker_of(all_).pop("automountServiceAccountToken"),
    "worker: it may run as root": lambda all_: worker_of(all_)["securityContext"].pop(
        "runAsNonRoot"
    ),
    "worker: no seccomp profile": lambda all_: worker_of(all_)["securityContext"].pop(
        "seccompProfile"
    ),
    "worker: hostNetwork is on": lambda all_: worker_of(all_).update(hostNetwork=True),
    "worker: its root file system can be written": lambda all_: _container(all_)[
        "securityContext"
    ].update(readOnlyRootFilesystem=False),
    "worker: it may gain privileges": lambda all_: _container(all_)["securityContext"].update(
        privileged=True
    ),
    "worker: it has capabilities": lambda all_: _container(all_)["securityContext"].update(
        capabilities={"add": ["NET_ADMIN"]}
    ),
    "worker: its memory has no limit": lambda all_: _container(all_)["resources"].pop("limits"),
    "worker: livenessProbe asks the API's port": lambda all_: _container(all_)["livenessProbe"][
        "httpGet"
    ].update(port="http"),
    "all: 3 components have this Secret": _share_a_secret,
}


@pytest.mark.parametrize("told", BREACHES)
def test_the_policy_sees_each_breach(told: str) -> None:
    documents = copy.deepcopy(rendered())
    BREACHES[told](documents)
    assert told in violations(documents)


def test_ports_of_the_network_are_those_of_the_settings() -> None:
    values = """
settings:
  kafka: {bootstrap: "k1:9092,k2:9193"}
  dmaap:
    outputs:
      - {name: mr, url: "https://mr/events/t"}
      - {name: ves, url: "ves+https://c1:8443,c2/eventListener/v7"}
      - {name: topics, url: "ves+kafka://k3:9094,k4:9095"}
      - {name: hook, url: "webhook+https://receiver.example/hooks"}
  web: {auth: {keystone: {url: "http://keystone:5001"}}}
  vims: [{cloud_owner: A, cloud_region_id: B}]
networkPolicy:
  monitoringFrom: [{namespaceSelector: {}}]
  egress: {clouds: {to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [5671]}}
"""
    documents = rendered(values)
    going, coming = {}, {}
    for component, template in pods(documents):
        (policy,) = Pod(component, template, documents).policies
        going[component] = [[each["port"] for each in rule["ports"]] for rule in policy["egress"]]
        coming[component] = [[each["port"] for each in rule["ports"]] for rule in policy["ingress"]]
    dns, kafka = [53, 53], [9092, 9193]
    assert going == {
        "bridge": [dns, kafka, [5671]],
        "worker": [dns, kafka, [6066], [6065, 6070, 3966], [5001]],
        "publisher-mr": [dns, kafka, [443]],
        "publisher-ves": [dns, kafka, [8443, 443]],
        "publisher-topics": [dns, kafka, [9094, 9095]],
        "publisher-hook": [dns, kafka, [443]],
    }
    assert coming == {
        "bridge": [[6065], [6065]],
        "worker": [[6066], [6066], [6166]],
        "publisher-mr": [[6070], [6070]],
        "publisher-ves": [[6070], [6070]],
        "publisher-topics": [[6070], [6070]],
        "publisher-hook": [[6070], [6070]],
    }


def test_defaults_let_in_the_own_namespace_alone_and_to_the_api_alone() -> None:
    policy = yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]
    assert policy["enabled"] is True
    assert policy["from"] == [{"podSelector": {}}]
    assert policy["monitoringFrom"] == []
