"""What the chart does so that queries are answered while pods come and go, and Kafka is away."""

from typing import Any

import pytest
import yaml

from tests.support.helm_chart import Document, of_kind, pods, rendered, upgraded
from vimfed.kafka.topics import TopicNames

GATEWAY = "gateway: {enabled: true, replicas: 2}\nbridge: {replicas: 2}\npublisher: {replicas: 2}\n"


def the_container(component: str, values: str = GATEWAY) -> Document:
    (container,) = dict(pods(rendered(values)))[component]["spec"]["containers"]
    found: Document = container
    return found


def workers() -> Any:
    (found,) = of_kind("StatefulSet", rendered(GATEWAY))
    return found["spec"]


def test_workers_find_each_other_by_addresses_which_no_cache_of_names_keeps() -> None:
    given = {each["name"]: each for each in the_container("worker")["env"]}
    assert given["VIMFED_WEB__CANONICAL_URL"]["value"] == "http://$(POD_IP):6066"
    assert given["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    names = list(given)
    assert names.index("POD_IP") < names.index("VIMFED_WEB__CANONICAL_URL")


def test_who_is_behind_a_service_answers_until_the_nodes_know_that_it_ends() -> None:
    for component, template in pods(rendered(GATEWAY)):
        (container,) = template["spec"]["containers"]
        grace = template["spec"]["terminationGracePeriodSeconds"]
        if component in ("worker", "gateway"):
            assert container["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "5"]}}}
            assert grace == 35
        else:
            assert "lifecycle" not in container
            assert grace == 30


def test_one_worker_is_replaced_at_a_time_and_has_been_ready_for_a_while() -> None:
    assert workers()["updateStrategy"] == {"type": "RollingUpdate"}
    assert workers()["minReadySeconds"] == 10


def test_stale_answers_are_had_while_no_worker_is_ready() -> None:
    services = {each["metadata"]["name"]: each for each in of_kind("Service", rendered(GATEWAY))}
    plain = services["r-vim-event-federation"]["spec"]
    stale = services["r-vim-event-federation-stale"]["spec"]
    assert "publishNotReadyAddresses" not in plain
    assert stale == {**plain, "publishNotReadyAddresses": True}
    for component in ("worker", "gateway"):
        (config,) = [
            each["data"]["vimfed.toml"]
            for each in of_kind("ConfigMap", rendered(GATEWAY))
            if each["metadata"]["name"] == f"r-vim-event-federation-{component}"
        ]
        assert '"r-vim-event-federation-stale.default.svc"' in config


def test_a_drain_does_not_wait_for_pods_that_are_not_ready() -> None:
    budgets = of_kind("PodDisruptionBudget", rendered(GATEWAY))
    assert {each["metadata"]["name"] for each in budgets} == {
        f"r-vim-event-federation-{component}"
        for component in ("bridge", "worker", "publisher-dmaap", "gateway")
    }
    assert {each["spec"]["unhealthyPodEvictionPolicy"] for each in budgets} == {"AlwaysAllow"}


AUTOSCALED = "worker: {replicas: 3, autoscaling: {enabled: true}}"
SET = ("StatefulSet", "r-vim-event-federation-worker")


@pytest.mark.parametrize(
    ("objects", "replicas"),
    [
        ({SET: {"spec": {"replicas": 3}}}, 3),
        ({SET: {"spec": {"replicas": 4}}}, 4),
        ({}, None),  # a new one: the autoscaler makes it minReplicas
    ],
)
def test_autoscaling_that_is_switched_on_ends_no_worker(
    objects: dict[tuple[str, str], Any], replicas: int | None
) -> None:
    documents = upgraded(AUTOSCALED, objects, "worker.yaml")
    (workers,) = of_kind("StatefulSet", documents)
    assert workers["spec"].get("replicas") == replicas
    (scaler,) = of_kind("HorizontalPodAutoscaler", documents)
    assert scaler["spec"]["minReplicas"] == 3


def test_an_autoscaler_that_could_run_less_than_it_must_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"maxReplicas is 4, which is less than the 5"):
        rendered("worker: {replicas: 5, autoscaling: {enabled: true}}")


BY_KEDA = """
settings:
  kafka: {bootstrap: "k1:9093,k2:9093", topic_prefix: jobs, security_protocol: SASL_SSL}
secretEnv: {VIMFED_KAFKA__PASSWORD: {name: kafka, key: password}}
worker:
  replicas: 3
  autoscaling:
    enabled: true
    maxReplicas: 6
    lag: 5000
    keda:
      enabled: true
      authentication:
        sasl: {name: keda-kafka, key: sasl}
        password: {name: kafka, key: password}
"""


def test_keda_scales_the_workers_by_what_waits_in_kafka_instead() -> None:
    documents = rendered(BY_KEDA)
    assert not of_kind("HorizontalPodAutoscaler", documents)
    (scaled,) = of_kind("ScaledObject", documents)
    (workers,) = of_kind("StatefulSet", documents)
    spec = scaled["spec"]
    assert spec["scaleTargetRef"]["name"] == workers["metadata"]["name"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (3, 6)
    (trigger,) = spec["triggers"]
    names = TopicNames("jobs")
    asked = trigger["metadata"]
    assert (asked["topic"], asked["consumerGroup"]) == (names.notifications, names.worker_group)
    assert (asked["bootstrapServers"], asked["lagThreshold"]) == ("k1:9093,k2:9093", "5000")
    (authentication,) = of_kind("TriggerAuthentication", documents)
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "password", "name": "kafka", "key": "password"},
        {"parameter": "sasl", "name": "keda-kafka", "key": "sasl"},
    ]
    (autoscaler,) = of_kind("HorizontalPodAutoscaler", rendered(AUTOSCALED))
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == autoscaler["spec"]["behavior"], "each change moves partitions"


SETTINGS: dict[str, Any] = {
    "kafka": {"bootstrap": "k:9092"},
    "vims": [{"cloud_owner": "A", "cloud_region_id": "B", "rabbit": {"prefetch": 10}}],
    "dmaap": {"outputs": [{"name": "one", "url": "https://mr/events/t"}]},
    "web": {"insecure": True},
    "gateway": {"insecure": True},
}
PUSHED = {"cloud_owner": "A", "cloud_region_id": "pushed"}
"""A cloud that no bridge follows: workers take what is pushed for it if they know its name."""
COMPONENTS = frozenset({"bridge", "worker", "publisher-one", "gateway"})


def checksums(values: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return by component the annotations by which its pods start anew."""
    text = yaml.safe_dump({"gateway": {"enabled": True}, **values})
    return {
        component: {
            name: value
            for name, value in template["metadata"]["annotations"].items()
            if name.startswith("checksum/")
        }
        for component, template in pods(rendered(text))
        if component in COMPONENTS
    }


@pytest.mark.parametrize(
    ("change", "started_anew"),
    [
        ({"vims": [{**SETTINGS["vims"][0], "rabbit": {"prefetch": 20}}]}, {"bridge"}),
        ({"bridge": {"stuck_after": 90.0}}, {"bridge"}),
        ({"worker": {"deleted_retention": 5}}, {"worker"}),
        ({"worker": {"stuck_after": 90.0}}, {"worker", "publisher-one"}),
        ({"gateway": {"insecure": True, "topics": ["a"]}}, {"gateway"}),
        ({"web": {"insecure": True, "live_clients": 5}}, {"worker"}),
        ({"alerts": {"host_labels": ["h"]}}, {"worker"}),
        ({"kafka": {"bootstrap": "other:9092"}}, COMPONENTS),
        (
            {"vims": [*SETTINGS["vims"], {**SETTINGS["vims"][0], "cloud_region_id": "C"}]},
            {"bridge"},
        ),
        ({"vims": [*SETTINGS["vims"], PUSHED]}, {"bridge", "worker"}),
        ({"vims": [{**SETTINGS["vims"][0], "samples": {"usage": True}}]}, {"bridge", "worker"}),
        (
            {
                "dmaap": {
                    "outputs": [*SETTINGS["dmaap"]["outputs"], {"name": "2", "url": "http://m"}]
                }
            },
            {"worker"},
        ),
    ],
)
def test_a_change_of_settings_starts_anew_who_reads_them(
    change: dict[str, Any], started_anew: set[str]
) -> None:
    before, after = checksums({"settings": SETTINGS}), checksums({"settings": SETTINGS | change})
    assert before.keys() == after.keys() == COMPONENTS
    assert {name for name, found in before.items() if found != after[name]} == started_anew


def test_a_secret_that_is_changed_starts_anew_who_has_it() -> None:
    values = """
secretEnv: {VIMFED_KAFKA__PASSWORD: {name: kafka, key: password}}
secretFiles: {cloud: region-one, tls: tls}
settings:
  web: {cert_file: /etc/vimfed/secrets/tls/tls.crt}
  vims:
    - cloud_owner: A
      cloud_region_id: B
      rabbit: {transport_urls_file: /etc/vimfed/secrets/cloud/u}
"""
    login = ("Secret", "r-vim-event-federation-worker-login")

    def found(**versions: str) -> dict[str, str]:
        objects: dict[tuple[str, str], Any] = {
            ("Secret", name): {"metadata": {"uid": "u", "resourceVersion": version}}
            for name, version in versions.items()
        }
        objects[login] = {"data": {"password": "eA==", "peer-secret": versions["kafka"]}}
        shown = ("bridge.yaml", "worker.yaml", "publisher.yaml")
        return {
            component: template["metadata"]["annotations"]["checksum/secrets"]
            for component, template in pods(upgraded(values, objects, *shown))
        }

    before = found(kafka="1", **{"region-one": "1", "tls": "1"})
    for changed, started_anew in (
        ({"kafka": "2"}, {"bridge", "worker", "publisher-dmaap"}),
        ({"region-one": "2"}, {"bridge"}),
        ({"tls": "2"}, {"worker"}),
        ({}, set()),
    ):
        after = found(**{"kafka": "1", "region-one": "1", "tls": "1", **changed})
        assert {name for name in before if before[name] != after[name]} == started_anew
